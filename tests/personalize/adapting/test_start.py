"""`myqasr adapt` once for many people, and `--start`: each person's learning begins with those weights."""

from pathlib import Path

import pytest

from myqasr import adapt_model, api
from myqasr.core.storage import sha256_of_file
from myqasr.personalize.adapted import adaptation_of, run_model, start_of
from myqasr.personalize.adapting.adapt import AdaptOptions, adapt
from myqasr.personalize.adapting.learning import Schedule
from myqasr.personalize.adapting.weights import adapted, differences
from myqasr.personalize.hearing import EVERY_CLIP, recordings_for
from myqasr.personalize.measuring.sensitivity import ProfileOptions
from myqasr.personalize.run_folder import RunFolder
from myqasr.speech.models import load_model
from tests.cli.test_bad_input import fails, personalize_arguments
from tests.conftest import USERS, invoke
from tests.material.model_folders import save_model

QUICK = ProfileOptions(label_draws=1)


@pytest.fixture(scope="module")
def many(tmp_path_factory, tiny_model) -> Path:
    """What the tiny model learned from other people."""
    out = tmp_path_factory.mktemp("runs") / "many"
    said = invoke("adapt", tiny_model, USERS / "synth-dan", "--teacher", "default", "--out", out)
    assert said.exit_code == 0, said.output
    words = " ".join(said.stdout.split())
    assert "Adapted in" in words
    assert f"--start {out}" in words
    return out


def test_a_person_begins_with_what_the_model_learned_from_many(
    many, tiny_model, tune_clips, tmp_path
):
    model = load_model(str(tiny_model))
    start = start_of(many, model)
    found = api.personalize_model(
        tiny_model, tune_clips, budget="0.5x", out=tmp_path / "alice", teacher="default", start=many,
        options=QUICK,
    )  # fmt: skip
    assert found.adaptation is not None
    assert found.adaptation.start == "many"
    assert found.adaptation.adapted_hash not in (None, start.adapted_hash)
    # The first loss is that of the weights begun with, the one to beat that of the float ones.
    assert found.adaptation.history[0] < found.adaptation.choice.before
    run = RunFolder(tmp_path / "alice")
    assert run.load_settings().float_hash == model.weights_hash()
    assert run_model(run).weights_hash() == found.adaptation.adapted_hash
    assert adaptation_of(run) == found.adaptation


def test_without_a_teacher_the_file_is_of_the_weights_begun_with(
    many, tiny_model, tune_clips, tmp_path
):
    out = tmp_path / "alice"
    arguments = personalize_arguments(tiny_model, tune_clips, out)
    assert invoke(*arguments, "--start", many).exit_code == 0
    run = RunFolder(out)
    assert sha256_of_file(run.adapted) == sha256_of_file(RunFolder(many).adapted)
    assert (
        run.load_settings().weights_hash == start_of(many, load_model(str(tiny_model))).adapted_hash
    )
    assert adaptation_of(run) is None
    # And without it the same folder is of the float weights again.
    assert invoke(*arguments).exit_code == 0
    assert run.load_settings().float_hash is None


def test_weights_begun_with_stay_where_a_person_teaches_them_nothing(many, tiny_model, tune_clips):
    model, teacher = load_model(str(tiny_model)), load_model("default")
    start = start_of(many, model)
    clips = recordings_for(tune_clips, EVERY_CLIP, 32, model)[0]
    still = AdaptOptions(schedule=Schedule(epochs=1, rate=0.0))
    found, added = adapt(model, clips, teacher, still, start=start)
    assert (found.epochs, found.choice.strength, found.retrained) == (0, 0.0, False)
    assert found.adapted_hash == adapted(model, added, model.weights_hash()).weights_hash()
    kept = adapted(model, start.added, model.weights_hash())
    for mine, theirs in zip(
        kept.module.parameters(), adapted(model, added, "").module.parameters(), strict=True
    ):
        assert abs(mine - theirs).max() < 1e-6


def test_half_of_the_way_begins_where_learning_did(many, tiny_model):
    model = load_model(str(tiny_model))
    start = start_of(many, model)
    begun = adapted(model, start.added, model.weights_hash())
    learned = {name: weight + 0.5 for name, weight in begun.module.named_parameters()}
    half = differences(learned, model, 0.5, begun)
    for name in start.added:
        assert abs(half[name].astype(float) - start.added[name] - 0.25).max() < 1e-3
    assert not any(differences(learned, begun, 0.0)[name].any() for name in half)


def test_what_cannot_be_begun_with_is_named_before_anything_is_heard(
    many, tiny_model, tune_clips, tmp_path
):
    arguments = personalize_arguments(tiny_model, tune_clips, tmp_path / "out")
    assert "has no adapted.json" in fails(*arguments, "--start", tmp_path)
    other = personalize_arguments("default", tune_clips, tmp_path / "out")
    assert "learned from weights" in fails(*other, "--start", many)
    damaged = RunFolder(tmp_path / "damaged")
    damaged.path.mkdir()
    damaged.adaptation.write_bytes(RunFolder(many).adaptation.read_bytes())
    assert "adapted.safetensors is gone" in fails(*arguments, "--start", damaged.path)
    assert not (tmp_path / "out" / "run.json").exists()


def test_adapt_again_learns_nothing_anew_and_is_refused_without_a_text_to_learn(
    many, tiny_model, tmp_path
):
    before = sha256_of_file(RunFolder(many).adapted)
    adapt_model(tiny_model, USERS / "synth-dan", teacher="default", out=many)
    assert sha256_of_file(RunFolder(many).adapted) == before
    (tmp_path / "m5").mkdir()
    save_model("m5", tmp_path / "m5")
    said = fails(
        "adapt", tmp_path / "m5", USERS / "synth-dan", "--teacher", "self", "--out", tmp_path / "o"
    )
    assert "can't learn from a teacher's text" in said
