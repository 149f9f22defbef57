"""A run serves one target at first, others when asked; what was measured or rounded is never lost."""

import shutil

import pytest
import torch

from myqasr.core import storage
from myqasr.core.errors import UserError
from myqasr.exporters.target import load_target, measured_for, measured_together
from myqasr.personalize.measuring.sensitivity import ProfileOptions
from myqasr.personalize.planning.plan import FLOAT32
from myqasr.personalize.prior import Prior
from myqasr.personalize.profiling import profile_speaker
from myqasr.personalize.rounding import layers
from myqasr.personalize.rounding.layers import stored_scale
from myqasr.personalize.run_folder import RunFolder
from myqasr.speech.datasets import choose_clips, find_clips
from myqasr.speech.models import load_model

OPTIONS = ProfileOptions(label_draws=4)


class KilledError(Exception):
    """Stands for a signal."""


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(str(tiny_model))


@pytest.fixture(scope="module")
def recordings(tune_clips):
    return choose_clips(find_clips(tune_clips), 3)[0]


@pytest.fixture(scope="module")
def for_xnnpack(model, recordings, tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("runs") / "alice")
    profile_speaker(run, model, "m", recordings, measured_for("xnnpack"), OPTIONS)
    return run


@pytest.fixture
def run(for_xnnpack, tmp_path):
    shutil.copytree(for_xnnpack.path, tmp_path / "alice")
    return RunFolder(tmp_path / "alice")


def labels_of(target: str, layer) -> set[str]:
    return {spec.label for spec in load_target(target).menu(layer.shape) if spec != FLOAT32}


def test_only_the_asked_targets_precisions_are_measured_and_rounded(for_xnnpack):
    measured = for_xnnpack.load_measurement()
    for layer in measured.profile.layers:
        assert set(layer.costs) == labels_of("xnnpack", layer)
        stored = set(measured.rounding.layers.get(layer.shape.name, {}))
        assert stored == {
            s.stored.label for s in load_target("xnnpack").menu(layer.shape) if s.scheme == "int"
        }


def test_another_target_is_measured_on_and_nothing_that_was_there_changes(run, model, recordings):
    before = run.load_measurement()
    said = []
    after = profile_speaker(
        run, model, "m", recordings, measured_for("litert"), OPTIONS, say=said.append
    )
    assert "was measured for other targets" in said[0] and "for litert" in said[0]
    whole = profile_speaker(
        RunFolder(run.path.parent / "both"), model, "m", recordings, measured_together(), OPTIONS
    )
    assert run.load_profile() == after.profile
    for old, new, once in zip(
        before.profile.layers, after.profile.layers, whole.profile.layers, strict=True
    ):
        assert set(new.costs) == labels_of("xnnpack", new) | labels_of("litert", new)
        assert old.costs.items() <= new.costs.items()
        assert new.statistics == old.statistics
        for label, cost in new.costs.items():
            assert cost == pytest.approx(once.costs[label], rel=1e-4, abs=1e-12)
        for label, (codes, scales) in before.rounding.layers.get(new.shape.name, {}).items():
            kept = after.rounding.layers[new.shape.name][label]
            assert torch.equal(kept[0], codes) and torch.equal(kept[1], scales)
    said.clear()
    for target in ("xnnpack", "litert"):
        again = profile_speaker(
            run, model, "m", recordings, measured_for(target), OPTIONS, say=said.append
        )
        assert again.profile == after.profile
    assert not said


def test_core_mls_coarser_scales_do_not_lose_the_costs_of_other_targets(run, model, recordings):
    before = run.load_profile()
    after = profile_speaker(run, model, "m", recordings, measured_for("coreml"), OPTIONS)
    for old, new in zip(before.layers, after.profile.layers, strict=True):
        assert set(new.costs) == labels_of("xnnpack", new) | labels_of("coreml", new)
        assert set(new.errors) == set(new.costs)
        assert set(old.costs) <= set(new.costs)
        for label, (_, scales) in after.rounding.layers.get(new.shape.name, {}).items():
            assert label.startswith("lut") or torch.equal(stored_scale(scales, "float16"), scales)


def test_killed_while_rounding_it_goes_on_with_the_layers_it_had(
    for_xnnpack, model, recordings, tmp_path, monkeypatch
):
    run, said = RunFolder(tmp_path / "bob"), []

    def kill_at_the_tenth_layer(stage: str, done: int, total: int) -> None:
        if stage == "rounding" and done == 10:
            raise KilledError

    measuring = (model, "m", recordings, measured_for("xnnpack"), OPTIONS)
    with pytest.raises(KilledError):
        profile_speaker(run, *measuring, kill_at_the_tenth_layer)
    assert not run.profile.exists()
    kept = [path.stem for path in (run.partial_rounding / "first").iterdir()]
    assert len(kept) == 10  # of the codes made for every other clip, which come first
    rounded = []
    really = layers._rounded
    monkeypatch.setattr(
        layers, "_rounded", lambda weight, *rest: rounded.append(weight) or really(weight, *rest)
    )
    resumed = profile_speaker(run, *measuring, say=said.append)
    assert "going on where it was stopped: 10 layers rounded, 0 clips" in said[0]
    names = {id(module.weight): name for name, module in model.layers().items()}
    assert sorted([names[id(weight)] for weight in rounded] + kept) == sorted([*names.values()] * 3)
    expected = for_xnnpack.load_measurement()
    assert resumed.profile.layers == expected.profile.layers or all(
        one.costs == pytest.approx(other.costs, rel=1e-4)
        for one, other in zip(resumed.profile.layers, expected.profile.layers, strict=True)
    )
    assert not run.partial_rounding.exists() and not [*run.path.glob("layers.*.json")]


def test_killed_while_measuring_it_neither_listens_nor_rounds_again(
    model, recordings, tmp_path, monkeypatch
):
    run, stages = RunFolder(tmp_path / "bob"), []

    def kill_at_the_second_clip(stage: str, done: int, total: int) -> None:
        if stage == "measuring" and done == 2:
            raise KilledError

    monkeypatch.setattr(storage, "MOST_OF_THE_TIME", 1e9)
    measuring = (model, "m", recordings, measured_for("xnnpack"), OPTIONS)
    with pytest.raises(KilledError):
        profile_speaker(run, *measuring, kill_at_the_second_clip)
    profile_speaker(run, *measuring, lambda stage, done, total: stages.append(stage))
    assert set(stages) == {"measuring", "checking"}


def test_codes_of_other_recordings_are_not_gone_on_with(model, recordings, tmp_path):
    run, said = RunFolder(tmp_path / "bob"), []

    def kill(stage: str, done: int, total: int) -> None:
        if stage == "measuring":
            raise KilledError

    with pytest.raises(KilledError):
        profile_speaker(run, model, "m", recordings[:2], measured_for("xnnpack"), OPTIONS, kill)
    profile_speaker(run, model, "m", recordings, measured_for("xnnpack"), OPTIONS, say=said.append)
    assert not said


def test_a_prior_without_the_targets_costs_is_refused_before_anything_is_measured(
    run, for_xnnpack, model, recordings, tmp_path
):
    prior = Prior(for_xnnpack.load_profile(), ())
    empty = RunFolder(tmp_path / "empty")
    with pytest.raises(UserError, match=r"the prior has no cost of .* --target"):
        profile_speaker(empty, model, "m", recordings, measured_for("litert"), OPTIONS, prior=prior)
    assert not empty.path.exists()
    # A run that was measured for more targets than the prior still serves the one that both know.
    profile_speaker(run, model, "m", recordings, measured_for("litert"), OPTIONS)
    mixed = profile_speaker(
        RunFolder(run.path), model, "m", recordings, measured_for("xnnpack"), OPTIONS, prior=prior
    )
    assert all(set(x.costs) == labels_of("xnnpack", x) for x in mixed.profile.layers)
