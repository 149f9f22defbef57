"""Exported files and models in the real runtimes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from myqasr.core.errors import UserError
from myqasr.core.storage import sha256_of_file
from myqasr.exporters.manifest import SCHEMA_VERSION, Artifact, InputSpec, Manifest, save_artifact
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32
from myqasr.personalize.rounding.codes import LayerCodes, save_codes
from myqasr.runtime_bench.measure.bench import BenchOptions, bench
from myqasr.runtime_bench.measure.peak_memory import measure_startup
from myqasr.runtime_bench.measure.transcription import model_inputs, transcribe
from myqasr.runtime_bench.runners.base import Runner, System, open_system
from myqasr.runtime_bench.runners.exported import AudioInput, common_input, exported_file
from myqasr.speech.datasets import Clip, Recording, audio_hash, read_clips
from myqasr.speech.models import load_model
from tests.material.bench_material import LETTERS, QUICK, measured_file, noise_features, provenance
from tests.material.tiny_models import TOKENS, VOCABULARY, tiny_ctc

MAX_SAMPLES = 32_000


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a user has it: a folder with config, weights, vocabulary, preprocessor."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Wav2Vec2ForCTC(tiny_ctc(layers=1).module.model.config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    vocabulary = {symbol: index for index, symbol in enumerate(VOCABULARY)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return folder


@pytest.fixture(scope="module")
def pte(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in float as a .pte for XNNPACK, with its manifest."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from torch.export import Dim, export

    model = load_model(str(model_folder))
    samples = Dim("samples", min=model.min_samples + model.stride_samples, max=MAX_SAMPLES)
    with torch.backends.mkldnn.flags(enabled=False):  # its choice of kernel limits the length
        exported = export(
            model.module,
            (torch.zeros(1, MAX_SAMPLES),),
            dynamic_shapes=({1: samples},),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    program = to_edge_transform_and_lower(
        exported,
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    ).to_executorch()
    path = tmp_path_factory.mktemp("exports") / "tiny.pte"
    path.write_bytes(program.buffer)
    write_manifest(path)
    return path


def write_manifest(path: Path, target: str = "xnnpack") -> None:
    size_bytes = path.stat().st_size
    layers = dict.fromkeys(tiny_ctc(layers=1).layers(), FLOAT32)
    artifact = Artifact(
        target=target,
        file=path.name,
        sha256=sha256_of_file(path),
        size_bytes=size_bytes,
        predicted_bytes=size_bytes,
        budget_bytes=size_bytes,
        mean_bits=32.0,
        min_samples=640,
        max_samples=MAX_SAMPLES,
        plan_hash="plan",
        profile_hash="profile",
        layers=layers,
    )
    spec = InputSpec(16_000, normalize=True, stride_samples=640)
    save_artifact(
        path.parent, Manifest(SCHEMA_VERSION, "tiny", "weights", TOKENS, spec, {}, (artifact,))
    )


@pytest.mark.parametrize("samples", [640, 9_999, MAX_SAMPLES])
def test_the_exported_file_computes_what_torch_computes(
    pte: Path, model_folder: Path, samples: int
) -> None:
    features = noise_features(samples)
    runner = open_system(exported_file(pte).system, threads=2)
    expected = open_system(System("float", "torch-float", str(model_folder)), 2).logits(features)
    found = runner.logits(features)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert runner.threads == 2


def test_results_of_one_call_survive_the_next(pte: Path) -> None:
    runner = open_system(exported_file(pte).system, threads=1)
    first = runner.logits(noise_features(8_000))
    kept = first.copy()
    runner.logits(noise_features(8_000, seed=1))
    np.testing.assert_array_equal(first, kept)
    assert runner.threads == 1


def test_torch_int8_and_the_plan_reference_run_beside_float(
    model_folder: Path, tmp_path: Path
) -> None:
    features = noise_features(16_000)
    codes = {name: LayerCodes(FLOAT32) for name in load_model(str(model_folder)).layers()}
    save_codes(codes, "plan", tmp_path / "codes.safetensors")
    systems: dict[str, Runner] = {
        runner: open_system(
            System(runner, runner, str(model_folder), str(tmp_path / "codes.safetensors")), 2
        )
        for runner in ("torch-float", "torch-int8-dynamic", "torch-reference")
    }
    logits = {name: runner.logits(features) for name, runner in systems.items()}
    np.testing.assert_allclose(logits["torch-reference"], logits["torch-float"], atol=1e-5)
    off = np.abs(logits["torch-int8-dynamic"] - logits["torch-float"]).max()
    assert 0 < off < 0.2
    with pytest.raises(UserError, match="needs the file with the plan's codes"):
        open_system(System("plan", "torch-reference", str(model_folder)), 2)


def test_a_reference_of_stored_float16_rounds_weights_and_no_activations(
    model_folder: Path, tmp_path: Path
) -> None:
    features, model = noise_features(16_000), load_model(str(model_folder))
    codes = {name: LayerCodes(FLOAT16) for name in model.layers()}
    save_codes(codes, "plan", tmp_path / "codes.safetensors")
    kinds = ("torch-reference", "torch-reference-float32")
    systems = [System(k, k, str(model_folder), str(tmp_path / "codes.safetensors")) for k in kinds]
    rounded, stored = (open_system(system, 2).logits(features) for system in systems)
    for layer in model.layers().values():
        layer.weight.data = layer.weight.data.half().float()
    with torch.inference_mode():
        expected = model.module(torch.from_numpy(features)[None])[0].numpy()
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    assert np.abs(rounded - expected).max() > 1e-5


def test_a_changed_file_is_refused_naming_both_hashes(pte: Path, tmp_path: Path) -> None:
    copy = tmp_path / pte.name
    copy.write_bytes(pte.read_bytes())
    (tmp_path / "manifest.json").write_bytes((pte.parent / "manifest.json").read_bytes())
    was = exported_file(copy).system.sha256
    changed = bytearray(copy.read_bytes())
    changed[-1] ^= 1
    copy.write_bytes(changed)
    with pytest.raises(UserError) as caught:
        exported_file(copy)
    assert str(was) in str(caught.value)
    assert sha256_of_file(copy) in str(caught.value)


def test_a_file_without_runner_or_manifest_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    with pytest.raises(UserError, match=r"manifest\.json does not exist"):
        exported_file(path)
    write_manifest(path, target="abacus")
    with pytest.raises(UserError, match="target abacus; there are runners for: xnnpack"):
        exported_file(path)
    with pytest.raises(UserError, match="unknown runner 'abacus'; known: executorch"):
        open_system(System("a", "abacus", str(path)), 1)


def test_a_damaged_program_and_too_long_input_are_one_line_errors(
    pte: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes(pte.read_bytes()[:500])
    with pytest.raises(UserError, match=r"damaged\.pte can't be loaded by ExecuTorch"):
        open_system(System("a", "executorch", str(damaged)), 1)
    with pytest.raises(UserError, match=r"gone\.pte does not exist"):
        open_system(System("a", "executorch", str(tmp_path / "gone.pte")), 1)
    runner = open_system(exported_file(pte).system, 1)
    with pytest.raises(UserError, match=f"can't run {2 * MAX_SAMPLES} samples"):
        runner.logits(noise_features(2 * MAX_SAMPLES))


def test_a_program_that_needs_an_unknown_kernel_is_refused_by_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from executorch.exir import EdgeCompileConfig, to_edge

    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x

    program = to_edge(
        torch.export.export(Twice(), (torch.ones(1, 8),)),
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    ).to_executorch()
    path = tmp_path / "future.pte"
    path.write_bytes(bytes(program.buffer).replace(b"aten::add", b"aten::zzz"))
    with pytest.raises(UserError, match="no kernel for aten::zzz"):
        open_system(System("a", "executorch", str(path)), 1)
    path.write_bytes(program.buffer)
    capfd.readouterr()
    assert (
        open_system(System("a", "executorch", str(path)), 2).logits(np.ones(8, np.float32))[0] == 2
    )
    assert capfd.readouterr().err == ""


def test_files_are_benched_within_the_limits_of_all_of_them(pte: Path) -> None:
    one = exported_file(pte)
    other = replace(one, audio=AudioInput(True, 700, 99_000))
    assert common_input([one, other]) == (AudioInput(True, 700, MAX_SAMPLES), TOKENS)
    with pytest.raises(UserError, match="different models"):
        common_input([one, replace(other, tokens=LETTERS)])
    with pytest.raises(UserError, match="no exported file"):
        common_input([])


def test_long_audio_is_transcribed_piece_by_piece(pte: Path) -> None:
    exported = exported_file(pte)
    runner = open_system(exported.system, 2)
    waveform = noise_features(3 * MAX_SAMPLES)
    inputs = model_inputs(waveform, exported.audio)
    assert len(inputs) >= 3
    assert sum(len(piece) for piece in inputs) == len(waveform)
    assert all(abs(piece.mean()) < 1e-4 and abs(piece.std() - 1) < 1e-3 for piece in inputs)
    whole = transcribe(runner, inputs, exported.tokens)
    parts = [transcribe(runner, [piece], exported.tokens) for piece in inputs]
    assert whole == " ".join(part for part in parts if part)


def wave_file(path: Path, samples: int) -> Recording:
    """Noise that really lies on disk, as it is read back."""
    soundfile.write(path, 0.1 * noise_features(samples), 16_000)
    (recording,), _ = read_clips([Clip(path, "ann", "some words")])
    return recording


def test_the_whole_bench_runs_file_and_model_side_by_side(
    pte: Path, model_folder: Path, tmp_path: Path
) -> None:
    exported = exported_file(pte, "mine")
    recordings = [wave_file(tmp_path / f"{i}.wav", 12_000 + 3_000 * i) for i in range(6)]
    report = bench(
        [System("float", "torch-float", str(model_folder)), exported.system],
        recordings,
        exported.audio,
        exported.tokens,
        BenchOptions(threads=2, timed_clips=5, timing=replace(QUICK, runs=15)),
        provenance(recordings),
        {"mine": measured_file(pte.name, sha256_of_file(pte))},
    )
    assert report.provenance.audio_hash == audio_hash(recordings)
    assert len(report.turns) == 15
    assert set(report.turns) < set(range(6))
    mine = report.system("mine")
    assert mine.sha256 == sha256_of_file(pte)
    assert mine.size_bytes == pte.stat().st_size
    assert mine.agreement == 1
    assert mine.words == report.system("float").words
    for result in report.systems:
        assert result.startup is not None, report.problems
        assert 0 < result.startup.baseline_rss_bytes <= result.startup.peak_rss_bytes
        assert result.startup.load_ms > 0
        assert result.startup.first_inference_ms > 0
        assert result.latency is not None
        assert result.latency.rtf > 0
        assert result.latency.runs == 15
        assert result.latency.repeats == 3
        assert result.end_to_end is not None
        assert result.end_to_end.runs == 5
        assert result.flips.tokens == report.system("float").flips.tokens > 0
    assert report.cores or not hasattr(os, "sched_setaffinity")


def test_a_system_that_dies_in_its_own_process_is_named_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine failed in its own process: .*gone\.pte does not"):
        measure_startup(
            System("mine", "executorch", str(tmp_path / "gone.pte")), noise_features(8_000), 1
        )


def test_deciding_what_to_bench_imports_no_torch() -> None:
    modules = (
        "results.protocol, myqasr.runtime_bench.results.report, myqasr.runtime_bench.results.quality, "
        "myqasr.runtime_bench.runners.exported, "
        "myqasr.runtime_bench.runners.base, myqasr.runtime_bench.measure.peak_memory"
    )
    code = f"import sys, myqasr.runtime_bench.{modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
