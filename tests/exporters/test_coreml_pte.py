"""ExecuTorch files with a Core ML delegate: in them lies the package that we checked, and nothing else."""

import contextlib
import json
import random
import shutil

import numpy as np
import pytest
from executorch.backends.apple.coreml import executorchcoreml
from executorch.runtime import Runtime
from hypothesis import given, settings
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.core.storage import sha256_of, size_of
from myqasr.exporters.audit import compare
from myqasr.exporters.coreml import ios18 as coreml
from myqasr.exporters.coreml.files import METADATA, PACKAGE, package_files
from myqasr.exporters.coreml.inmemory_files import flattened, unflattened
from myqasr.exporters.coreml.mlpackage import WEIGHTS, read_programs
from myqasr.exporters.executorch.pte import DelegateCall, Pte
from myqasr.exporters.manifest import load_artifact
from myqasr.exporters.target import ExportOptions, load_target
from myqasr.personalize.planning.plan import FLOAT32, QuantSpec
from myqasr.personalize.prior import load_prior
from myqasr.personalize.rounding.reference import build_half_reference
from myqasr.runtime_bench.results.report import latest_reports, load_report
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.coreml.reference import reference_of
from myqasr.runtime_bench.runners.executorch import open_runner
from myqasr.speech.datasets import find_clips, read_clips
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model
from tests.conftest import USERS, invoke
from tests.material.model_folders import save_model
from tests.material.tiny_models import layer_shapes, noise, random_codes, tiny_ctc

TARGET = load_target("coreml-pte")
PACKAGES = load_target("coreml")
OPTIONS = ExportOptions(min_samples=650, max_samples=32_000)
FLOAT32_SUMS = 1e-5


@pytest.fixture(scope="module")
def model():
    return tiny_ctc(0)


def drawn(model, seed: int) -> dict[str, QuantSpec]:
    draw = random.Random(seed)
    return {
        name: draw.choice([spec for spec in TARGET.menu(shape) if spec != FLOAT32] or [FLOAT32])
        for name, shape in layer_shapes(model).items()
    }


def written(model, specs, path, options=OPTIONS):
    codes = random_codes(model, TARGET, specs)
    return codes, TARGET.write(model, codes, path, options)


def delegate_data(path) -> bytes:
    (method,) = Pte(memoryview(path.read_bytes())).methods()
    (call,) = method.calls()
    assert isinstance(call, DelegateCall)
    return bytes(call.data)


def test_the_package_inside_is_the_one_that_target_coreml_writes_byte_for_byte(model, tmp_path):
    for seed in range(2):
        path, package = tmp_path / f"{seed}.coreml.pte", tmp_path / f"{seed}.mlpackage"
        codes, order = written(model, drawn(model, seed), path)
        assert PACKAGES.write(model, codes, package, OPTIONS) == order
        assert package_files(path) == package_files(package)
        assert compare(TARGET.read(path), codes, order, model) == []
        reference, runner = build_half_reference(model, codes), reference_of(path)
        for samples in (1_290, 7_777, 32_000):
            waveform = noise(samples)[0].numpy()
            found = runner.logits(model.features(waveform)[0].numpy())
            assert np.abs(found - reference.logits(waveform)).max() < FLOAT32_SUMS


def test_executorchs_own_reader_finds_model_and_metadata_where_its_delegate_looks(model, tmp_path):
    path, folder = tmp_path / "a.coreml.pte", tmp_path / "out"
    folder.mkdir()
    codes, order = written(model, drawn(model, 4), path)
    assert executorchcoreml.unflatten_directory_contents(delegate_data(path), str(folder))
    (root,) = folder.iterdir()
    assert sorted(each.name for each in root.iterdir()) == [METADATA, PACKAGE]
    assert compare(PACKAGES.read(root / PACKAGE), codes, order, model) == []
    about = json.loads((root / METADATA).read_text())
    identifier = about.pop("identifier")
    assert about == {"inputNames": ["waveform"], "outputNames": ["logits"]}
    assert identifier.endswith(sha256_of(root / PACKAGE))


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b.json", "c/d", "c/e.bin", "c/f/g", "h/i j"]),
        st.binary(min_size=1, max_size=40),
        min_size=1,
    )
)
def test_files_in_memory_come_back_from_both_writers_in_both_readers(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("files")
    for name, content in files.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(content)
    theirs = executorchcoreml.flatten_directory_contents(str(folder / "in"))
    for data in (theirs, flattened(files)):
        found = unflattened(memoryview(data))
        assert {name: bytes(content) for name, content in found.items()} == files
    (folder / "out").mkdir()
    assert executorchcoreml.unflatten_directory_contents(flattened(files), str(folder / "out"))
    (root,) = (folder / "out").iterdir()
    assert {name: (root / name).read_bytes() for name in files} == files


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_list_of_files_is_refused_or_harmless_but_never_a_crash(place, value):
    data = bytearray(flattened({"a/b": b"12345", "c": b"67"}))
    data[place % len(data)] = value
    with contextlib.suppress(ValueError):
        unflattened(memoryview(bytes(data)))


def test_executorchs_runtime_takes_the_program_and_lacks_nothing_but_core_ml(model, tmp_path):
    path = tmp_path / "a.coreml.pte"
    written(model, drawn(model, 1), path)
    program = Runtime.get().load_program(path)
    assert program.method_names == {"forward"}
    about = program.metadata("forward")
    assert about.input_tensor_meta(0).sizes() == (1, OPTIONS.max_samples)
    frames = len(model.logits(noise(OPTIONS.max_samples)[0].numpy()))
    assert about.output_tensor_meta(0).sizes() == (1, frames, len(model.tokens.symbols))
    with pytest.raises(UserError, match=r"a\.coreml\.pte can't be loaded by ExecuTorch"):
        open_runner(System("file", "executorch", str(path)), 1)


def test_bytes_are_foretold_on_random_plans_but_for_the_program_text(model, tmp_path):
    shapes, path = layer_shapes(model), tmp_path / "a.coreml.pte"
    constants, rests, containers = set(), [], []
    for seed in range(6):
        specs = drawn(model, seed)
        written(model, specs, path)
        files = package_files(path)
        inside = sum(len(content) for content in files.values())
        containers.append(size_of(path) - inside)
        layers = sum(coreml.weight_bytes(shapes[name], spec) for name, spec in specs.items())
        constants.add(len(files[str(WEIGHTS)]) - layers)
        predicted = sum(TARGET.layer_bytes(shapes[name], spec) for name, spec in specs.items())
        rests.append(size_of(path) - predicted)
    assert len(constants) == 1
    assert max(rests) - min(rests) < 300
    assert max(containers) < 3_000


def test_the_same_plan_gives_the_same_bytes(model, tmp_path):
    hashes = set()
    for name in ("a", "b"):
        written(model, drawn(model, 5), tmp_path / f"{name}.coreml.pte")
        hashes.add(sha256_of(tmp_path / f"{name}.coreml.pte"))
    assert len(hashes) == 1


def test_one_changed_byte_of_the_weights_is_seen_and_the_layer_named(model, tmp_path):
    path, victim = tmp_path / "a.coreml.pte", "wav2vec2.encoder.layers.1.feed_forward.output_dense"
    codes, order = written(model, dict.fromkeys(layer_shapes(model), QuantSpec(8)), path)
    data = bytearray(path.read_bytes())
    place = data.find(codes[victim].codes.numpy().tobytes())
    assert place > 0, "the codes lie in the file as they are"
    data[place + 5] ^= 0x10
    path.write_bytes(bytes(data))
    (mismatch,) = compare(TARGET.read(path), codes, order, model)
    assert mismatch.layer == victim


@pytest.mark.parametrize("keep", [0, 10, 5_000, -1, -300])
def test_a_truncated_file_is_named(model, keep, tmp_path):
    path = tmp_path / "a.coreml.pte"
    written(model, dict.fromkeys(layer_shapes(model), QuantSpec(8)), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.coreml\.pte"):
        TARGET.read(path)


def test_a_pte_of_another_target_is_refused_by_what_it_runs(model, tmp_path):
    other = load_target("xnnpack")
    codes = random_codes(model, other, dict.fromkeys(layer_shapes(model), FLOAT32))
    other.write(model, codes, tmp_path / "a.pte", OPTIONS)
    with pytest.raises(UserError, match=r"runs .*XnnpackBackend"):
        TARGET.read(tmp_path / "a.pte")


def test_the_embedded_model_says_from_a_pte_what_its_reference_says(tmp_path):
    model = load_model("default")
    path = tmp_path / "a.coreml.pte"
    lengths = ExportOptions(model.min_samples, 240_000)
    codes, order = written(model, drawn(model, 3), path, lengths)
    assert compare(TARGET.read(path), codes, order, model) == []
    reference = build_half_reference(model, codes)
    runner = open_system(System("file", "coreml", str(path)), threads=1)
    recordings, _ = read_clips(find_clips(USERS / "synth-ada" / "test"))
    heard = set()
    for recording in recordings[:12]:
        logits = runner.logits(model.features(recording.waveform)[0].numpy())
        heard.add(greedy_text(logits, model.tokens))
        assert greedy_text(logits, model.tokens) == reference.transcribe(recording.waveform)
    assert len(heard) > 5


def test_whispers_two_methods_share_one_package(tmp_path):
    save_model("whisper", tmp_path)
    model, path = load_model(str(tmp_path)), tmp_path / "a.coreml.pte"
    codes, order = written(model, drawn(model, 2), path)
    assert compare(TARGET.read(path), codes, order, model) == []
    assert size_of(path) < 1.1 * sum(len(content) for content in package_files(path).values())
    programs = read_programs(path)
    heard = [name for name in programs["decode"].inputs if name.startswith("heard")]
    assert list(programs["encode"].outputs) == heard
    about = Runtime.get().load_program(path)
    assert about.method_names == {"encode", "decode"}
    assert about.metadata("encode").num_outputs() == len(heard)
    reference, how = build_half_reference(model, codes), model.tokens.autoregression
    waveform = noise(20_000)[0].numpy()
    found = reference_of(path, autoregression=how).logits(model.features(waveform)[0].numpy())
    assert np.abs(found - reference.logits(waveform)).max() < FLOAT32_SUMS


def test_a_run_is_planned_exported_inspected_benched_and_heard_as_a_pte_within_its_budget(
    coreml_run, tiny_model, tune_clips, test_clips, tmp_path
):
    run = shutil.copytree(coreml_run, tmp_path / "bob")
    file = run / "exports" / "bob.coreml.pte"
    for command in (
        ("personalize", tiny_model, tune_clips, "--budget", "0.25x", "--target", "coreml-pte",
         "--clips", 2, "--out", run),
        ("export", run, "--target", "coreml-pte", "--max-seconds", 6),
        ("inspect", file),
        ("bench", run, "--target", "coreml-pte", "--data", test_clips, "--limit", 2,
         "--runs", 2, "--seconds", 0),
        ("transcribe", file, test_clips / "000.ogg"),
    ):  # fmt: skip
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    manifest, artifact = load_artifact(file)
    assert artifact.size_bytes == size_of(file) <= artifact.budget_bytes
    assert "coremltools" in manifest.versions
    report = load_report(latest_reports(run / "bench")[0])
    system = report.system("bob (coreml-pte)")
    assert system.latency is None
    assert system.transcripts == report.system("its reference (torch, coreml-pte)").transcripts


def test_the_embedded_models_prior_has_a_cost_for_every_precision_of_this_target():
    model = load_model("default")
    costs = {layer.shape.name: layer.costs for layer in load_prior(None, model).profile.layers}
    for name, shape in layer_shapes(model).items():
        assert {spec.label for spec in TARGET.menu(shape)} <= {*costs[name], "fp32"}


def test_on_a_mac_executorch_runs_the_file_with_input_of_the_listed_lengths(
    model, tmp_path, monkeypatch
):
    """ExecuTorch's runtime is replaced by the evaluator, as there is no Core ML here."""
    from myqasr.runtime_bench.runners import executorch
    from myqasr.runtime_bench.runners.coreml import device as coreml_device

    path = tmp_path / "a.coreml.pte"
    written(model, drawn(model, 6), path, ExportOptions(650, 32_000, (12_800, 32_000)))
    here, asked = reference_of(path), []

    class Stand:
        threads = 1

        def logits(self, features):
            asked.append(len(features))
            return here.logits(features)

    monkeypatch.setattr(executorch, "open_runner", lambda system, threads: Stand())
    runner = coreml_device.open_device(System("file", "coreml", str(path)), 1)
    features = model.features(noise(9_000)[0].numpy())[0].numpy()
    assert np.array_equal(runner.logits(features), here.logits(features))
    assert asked == [12_800]
