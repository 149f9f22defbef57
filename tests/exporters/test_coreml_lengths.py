"""Core ML files that take only listed lengths: filled input, trimmed output, and nothing else accepted."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.exporters.audit import compare
from myqasr.exporters.coreml.mlpackage import MODEL, read_programs
from myqasr.exporters.export import export_run
from myqasr.exporters.manifest import load_artifact
from myqasr.exporters.target import ExportOptions, load_target
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.reference import build_half_reference
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.results.report import load_report
from myqasr.runtime_bench.runners.coreml.lengths import ListedLengths
from myqasr.runtime_bench.runners.coreml.reference import reference_of
from myqasr.speech.lengths import GAP_SAMPLES, filled, next_length
from myqasr.speech.models import load_model
from myqasr.speech.models.base import min_input_samples
from tests.conftest import invoke
from tests.material.model_folders import save_model
from tests.material.tiny_models import layer_shapes, noise, random_codes, tiny_ctc

LENGTHS = (6_400, 19_200, 32_000)
FLOAT32_SUMS = 1e-5


@pytest.fixture(scope="module")
def model():
    return tiny_ctc(0)


def written(model, path, lengths, target_name="coreml"):
    target = load_target(target_name)
    codes = random_codes(model, target, dict.fromkeys(layer_shapes(model), QuantSpec(8)))
    options = ExportOptions(model.min_samples, lengths[-1], lengths)
    order = target.write(model, codes, path, options)
    assert compare(target.read(path), codes, order, model) == []
    return codes


@pytest.mark.parametrize(
    ("target_name", "lengths"),
    [
        ("coreml", LENGTHS),
        ("coreml-ios16", LENGTHS),
        ("coreml-pte", LENGTHS),
        ("coreml", (19_200,)),
    ],
)
def test_a_file_says_its_lengths_and_computes_the_filled_input_without_the_frames_beyond_the_clip(
    model, target_name, lengths, tmp_path
):
    path = tmp_path / f"a{load_target(target_name).suffix}"
    codes = written(model, path, lengths, target_name)
    assert read_programs(path)["main"].lengths == lengths
    reference, runner = build_half_reference(model, codes), reference_of(path)
    for samples in (900, 6_400, 6_401, 19_000):
        features = model.features(noise(samples)[0].numpy())
        length = next_length(lengths, features.shape[1])
        whole = torch.from_numpy(filled(features[0].numpy(), length))[None]
        with torch.inference_mode():
            expected = reference.module(whole)[0].numpy()
        found = runner.logits(features[0].numpy())
        assert np.abs(found - expected[: len(found)]).max() < FLOAT32_SUMS
        frames = len(model.logits(noise(samples)[0].numpy()))
        assert frames <= len(found) <= frames + 1


def test_input_beyond_the_longest_length_is_refused_with_both_numbers(model, tmp_path):
    written(model, tmp_path / "a.mlpackage", LENGTHS)
    runner = reference_of(tmp_path / "a.mlpackage")
    with pytest.raises(UserError, match=r"32,000 samples at most, this input has 32,001"):
        runner.logits(noise(32_001)[0].numpy())


def test_a_file_with_a_range_of_lengths_fills_and_cuts_nothing(model, tmp_path):
    target = load_target("coreml")
    codes = random_codes(model, target, dict.fromkeys(layer_shapes(model), QuantSpec(8)))
    target.write(model, codes, tmp_path / "a.mlpackage", ExportOptions(650, 32_000))
    assert read_programs(tmp_path / "a.mlpackage")["main"].lengths == ()
    assert ListedLengths((), 0).filled(np.ones(5, np.float32)).tolist() == [1] * 5
    assert len(ListedLengths((), 0).trimmed(np.ones((7, 2), np.float32), 5)) == 7


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 8)), min_size=1, max_size=7),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
)
def test_of_a_stack_of_convolutions_every_frame_of_the_clip_stays_and_at_most_one_more(
    layers, beyond, padding
):
    kernels, strides = zip(*layers, strict=True)

    def frames(samples: int) -> int:
        for kernel, stride in layers:
            samples = (samples - kernel) // stride + 1
        return samples

    samples = min_input_samples(kernels, strides) + beyond
    total = int(np.prod(strides))
    logits = np.zeros((frames(samples + padding), 2), np.float32)
    kept = ListedLengths((samples + padding,), total).trimmed(logits, samples)
    assert frames(samples) <= len(kept) <= frames(samples) + 1


@given(st.integers(1, 9_000), st.integers(0, 30_000))
def test_what_fills_the_input_is_a_gap_and_the_clip_again_and_the_clip_itself_stays(
    samples, beyond
):
    clip = np.arange(1, samples + 1, dtype=np.float32)
    whole = filled(clip, samples + beyond)
    assert whole.dtype == np.float32
    assert len(whole) == samples + beyond
    period = samples + GAP_SAMPLES
    expected = np.concatenate((clip, np.zeros(GAP_SAMPLES, np.float32)))
    assert np.array_equal(whole, expected[np.arange(len(whole)) % period])


def test_a_classifier_keeps_its_only_frame(tmp_path):
    save_model("wav2vec2 classifier", tmp_path)
    model = load_model(str(tmp_path))
    written(model, tmp_path / "a.mlpackage", (16_000, 32_000))
    runner = reference_of(tmp_path / "a.mlpackage")
    assert runner.logits(noise(1_300)[0].numpy()).shape == (1, len(model.tokens.symbols))


def test_a_package_that_lists_lengths_but_no_stride_is_refused_not_cut_wrongly(model, tmp_path):
    path = tmp_path / "a.mlpackage"
    written(model, path, LENGTHS)
    data = (path / MODEL).read_bytes()
    assert b"myqasr.stride_samples" in data
    (path / MODEL).write_bytes(data.replace(b"myqasr.stride_samples", b"other1.stride_samples"))
    with pytest.raises(UserError, match="doesn't say how long a frame is"):
        reference_of(path).logits(noise(900)[0].numpy())


@pytest.fixture(scope="module")
def listed_run(tmp_path_factory, coreml_run):
    """A run exported for Core ML with lengths of its own."""
    out = shutil.copytree(coreml_run, tmp_path_factory.mktemp("lengths") / "bob")
    done = invoke("export", out, "--lengths", "6, 2,4")
    assert done.exit_code == 0, done.output
    return out


def test_the_lengths_of_the_command_are_in_manifest_package_and_golden_inputs(listed_run):
    package = listed_run / "exports" / "bob.mlpackage"
    _, artifact = load_artifact(package)
    assert artifact.lengths == (32_000, 64_000, 96_000)
    assert artifact.max_samples == 96_000
    assert read_programs(package)["main"].lengths == artifact.lengths
    kit = listed_run / "exports" / "bob.mac"
    assert json.loads((kit / "layers.json").read_text())["lengths"] == [32_000, 64_000, 96_000]
    runner = reference_of(package)
    with np.load(kit / "golden.npz") as golden:
        inputs = {key: golden[key] for key in golden if key.endswith(".input")}
        sizes = {key: array.shape[1] for key, array in inputs.items()}
        assert set(sizes.values()) <= set(artifact.lengths)
        assert (sizes["shortest.input"], sizes["longest.input"]) == (32_000, 96_000)
        for key, array in inputs.items():
            expected = golden[key.replace("input", "logits")][0]
            assert np.abs(runner.logits(array[0]) - expected).max() < FLOAT32_SUMS


def test_bench_runs_clips_of_any_length_on_a_file_with_listed_lengths(listed_run, test_clips):
    done = invoke(
        "bench", listed_run, "--data", test_clips, "--limit", 2, "--runs", 2, "--seconds", 0
    )
    assert done.exit_code == 0, done.output
    report = load_report(next((listed_run / "bench").iterdir()))
    assert report.system("bob (coreml)").words is not None


@pytest.mark.parametrize(
    ("lengths", "reason"),
    [
        ("2,five", "'five' is no number of seconds"),
        ("2,-1", "'-1' is no number of seconds"),
        ("0.01,2", "--lengths 0.01 is 0 samples"),
        (",".join(str(1 + each / 10) for each in range(129)), "128 lengths at most"),
    ],
)
def test_lengths_that_make_no_sense_are_refused_by_name(listed_run, lengths, reason):
    done = invoke("export", listed_run, "--lengths", lengths)
    assert done.exit_code == 2
    assert reason in " ".join(done.output.split())


def test_other_targets_say_that_they_take_any_length(coreml_run):
    run = RunFolder(coreml_run)
    model = load_model(run.load_settings().model)
    with pytest.raises(UserError, match="xnnpack files take any length; --lengths is for coreml"):
        export_run(run, model, run.load_measurement(), load_target("xnnpack"), 6, lengths=(2, 4))
