"""Benchmarks: fair timing, right scores, reports that come back whole, and the real runtimes."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from exporters.manifest import SCHEMA_VERSION, Artifact, InputSpec, Manifest, save_artifact
from personalize.codes import LayerCodes, save_codes
from personalize.plan import FLOAT32
from runtime_bench.bench import BenchOptions, bench
from runtime_bench.exported import AudioInput, Exported, common_input, exported_file
from runtime_bench.peak_memory import measure_startup
from runtime_bench.protocol import Latency, TimingOptions, interleaved_times, summarize
from runtime_bench.quality import agreement, errors_of
from runtime_bench.report import BenchReport, load_report, save_report, timing_problems
from runtime_bench.runners.base import Runner, System, open_system
from runtime_bench.transcription import model_inputs, transcribe
from speech.datasets import Clip, Recording
from speech.decoding import Tokens
from speech.errors import UserError
from speech.models import load_model
from speech.scoring import ErrorCounts
from speech.storage import sha256_of_file
from tests.tiny_models import TOKENS, tiny_ctc

MAX_SAMPLES = 32_000


# --- timing protocol ---


class Bench:
    """Systems on a clock that only moves when they work; remembers who worked on what."""

    def __init__(self, **seconds: float) -> None:
        self.now = 0.0
        self.log: list[tuple[str, int]] = []
        self.systems = {name: self.work(name, cost) for name, cost in seconds.items()}

    def work(self, name: str, cost: float) -> Callable[[int], None]:
        def process(utterance: int) -> None:
            self.log.append((name, utterance))
            self.now += cost * (utterance + 1)

        return process

    def times(self, utterances: int, options: TimingOptions) -> dict[str, list[list[float]]]:
        return interleaved_times(self.systems, utterances, options, lambda: self.now)


def test_systems_take_turns_on_every_utterance() -> None:
    clocked = Bench(a=1.0, b=2.0)
    times = clocked.times(3, TimingOptions(warmup=1, repeats=2))
    assert times == {"a": [[1, 1], [2, 2], [3, 3]], "b": [[2, 2], [4, 4], [6, 6]]}
    assert clocked.log[:2] == [("a", 0), ("b", 0)]  # warm-up
    rounds = [clocked.log[i : i + 2] for i in range(2, len(clocked.log), 2)]
    assert [{name for name, _ in both} for both in rounds] == [{"a", "b"}] * 6
    assert [both[0][1] for both in rounds] == [0, 1, 2, 0, 1, 2]
    assert [both[0][0] for both in rounds] == ["a", "b", "a", "b", "a", "b"]


def test_the_time_limit_stops_between_utterances_and_measures_at_least_one() -> None:
    times = Bench(a=1.0, b=1.0).times(4, TimingOptions(warmup=0, repeats=5, max_seconds=0.5))
    assert times == {"a": [[1], [], [], []], "b": [[1], [], [], []]}
    times = Bench(a=1.0, b=1.0).times(2, TimingOptions(warmup=0, repeats=5, max_seconds=7))
    assert [len(seconds) for seconds in times["a"]] == [2, 1]


def test_nothing_to_time_gives_nothing() -> None:
    assert interleaved_times({}, 3, TimingOptions()) == {}
    assert Bench(a=1.0).times(0, TimingOptions()) == {"a": []}


@pytest.mark.parametrize("bad", [{"warmup": -1}, {"repeats": 0}, {"max_seconds": 0.0}])
def test_senseless_timing_options_are_refused(bad: dict) -> None:
    with pytest.raises(UserError, match="can't time"):
        TimingOptions(**bad)


def test_latency_figures_are_those_of_the_definition() -> None:
    times = [[0.1, 0.1, 0.4], [0.2, 0.2, 0.2], [1.0], []]
    latency = summarize(times, [1.0, 4.0, 5.0, 100.0])
    assert latency.utterances == 3
    assert latency.repeats == 1
    assert latency.audio_seconds == 10
    assert latency.median_ms == pytest.approx(200)
    assert latency.p90_ms == pytest.approx(200 + 0.8 * 800)
    assert latency.rtf == pytest.approx(1.3 / 10)
    assert latency.rtf_median == pytest.approx(0.1)
    assert latency.spread == pytest.approx(np.quantile([1, 1, 4, 1, 1, 1, 1], 0.9))
    with pytest.raises(UserError, match="nothing was timed"):
        summarize([[]], [1.0])


# --- scores ---


def test_agreement_needs_no_reference_text() -> None:
    assert agreement(["a", "b", "c", ""], ["a", "x", "c", ""]) == 0.75
    with pytest.raises(UserError):
        agreement([], [])


def test_only_labelled_utterances_are_scored() -> None:
    words, characters = errors_of(["one two", None], ["one", "noise"])
    assert words == ErrorCounts(0, 0, 1, 2)
    assert characters == ErrorCounts(0, 0, 4, 7)
    assert errors_of([None], ["noise"]) == (None, None)


# --- bench over fake systems ---

LETTERS = Tokens(("<pad>", "|", "a", "b"), blank=0)


@dataclass(frozen=True)
class FakeRunner:
    """Hears one letter per piece."""

    letter: int
    seen: list[int]
    description: str = "fake"
    threads: int = 1

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen.append(len(features))
        return np.eye(4, dtype=np.float32)[[0, self.letter, self.letter]]


def noise_recording(name: str, samples: int, text: str | None) -> Recording:
    seed = sum(name.encode())
    waveform = np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    return Recording(Clip(Path("/home/ann/set/user/test") / name, "ann", text), waveform)


def fake_bench(
    recordings: list[Recording], repeats: int = 3, threads: int = 1, systems: str = "ab"
) -> tuple[BenchReport, dict[str, FakeRunner]]:
    runners = {name: FakeRunner(2 + "ab".index(name), []) for name in systems}
    options = BenchOptions(threads, 3, TimingOptions(repeats=repeats), startup=False)
    stages: list[str] = []
    report = bench(
        [System(name, "fake", "nowhere") for name in systems],
        recordings,
        AudioInput(True, 400, 16_000),
        LETTERS,
        options,
        lambda stage, done, total: stages.append(stage),
        lambda system, threads: runners[system.name],
    )
    assert set(stages) == {"load", "transcribe", "time"}
    return report, runners


def test_every_system_gets_the_same_pieces_and_is_scored_on_all_clips(tmp_path: Path) -> None:
    recordings = [
        noise_recording("1.wav", 40_000, "A a, A"),
        noise_recording("2.wav", 100, "b"),
        noise_recording("3.wav", 16_000, None),
        *(noise_recording(f"{i}.wav", 8_000, "a") for i in range(4, 9)),
    ]
    report, runners = fake_bench(recordings)
    assert runners["a"].seen == runners["b"].seen
    assert max(runners["a"].seen) <= 16_000
    assert min(runners["a"].seen) == 400  # zero-padded
    heard = report.system("a").transcripts
    assert heard[0] == " ".join("a" * 3)
    assert heard[1:] == ("a",) * 7
    assert report.system("a").words == ErrorCounts(1, 0, 0, 9)
    assert report.system("b").words == ErrorCounts(8, 0, 0, 9)
    assert report.system("a").agreement == 1
    assert report.system("b").agreement == 0
    latency = report.system("b").latency
    assert latency is not None
    assert (latency.utterances, latency.repeats) == (3, 3)
    assert report.time_ratio("a", "a") == 1
    assert any("3 utterances timed, 5 are needed" in problem for problem in report.problems)
    assert not report.valid
    save_report(report, tmp_path / "bench.json")
    assert load_report(tmp_path / "bench.json") == report
    assert "/home/ann" not in (tmp_path / "bench.json").read_text()


def test_unlabelled_clips_still_give_agreement_and_latency() -> None:
    report, _ = fake_bench([noise_recording("1.wav", 8_000, None)])
    assert report.system("a").words is None
    assert report.system("a").latency is not None


def test_a_system_that_computes_nan_is_an_error_not_an_empty_transcript() -> None:
    class Broken(FakeRunner):
        def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.full((3, 4), np.nan, np.float32)

    with pytest.raises(UserError, match="broken gives NaN"):
        transcribe(Broken(2, [], "broken"), [noise_features(400)], LETTERS)


def test_bench_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="2 systems on 0 recordings"):
        fake_bench([])
    with pytest.raises(UserError, match="different names: a, a"):
        fake_bench([noise_recording("1.wav", 8_000, "a")], systems="aa")
    with pytest.raises(UserError, match="0 threads"):
        BenchOptions(threads=0)


def test_timings_that_can_not_be_relied_on_are_marked() -> None:
    report, _ = fake_bench([noise_recording("1.wav", 8_000, "a")])
    good = Latency(9, 5, 30.0, 10.0, 12.0, 0.1, 0.1, 1.1)
    system = replace(report.system("a"), latency=good, threads=2)
    assert timing_problems((system,), 2, 0.0, 4) == ()
    for bad, reason in [
        (replace(system, threads=4), "on 4 threads instead of 2"),
        (replace(system, latency=replace(good, spread=1.8)), "spread 1.80-fold"),
        (replace(system, latency=replace(good, repeats=2)), "2 repeats"),
        (replace(system, latency=replace(good, utterances=4)), "4 utterances"),
    ]:
        (problem,) = timing_problems((bad,), 2, 0.0, 4)
        assert reason in problem
    assert "other programs kept 3.2 of 4 cores busy" in timing_problems((system,), 2, 3.2, 4)[0]


def test_a_report_of_another_version_is_refused(tmp_path: Path) -> None:
    report, _ = fake_bench([noise_recording("1.wav", 8_000, "a")])
    save_report(report, tmp_path / "bench.json")
    stored = json.loads((tmp_path / "bench.json").read_text())
    stored["schema_version"] = 99
    (tmp_path / "bench.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match="schema 99"):
        load_report(tmp_path / "bench.json")
    with pytest.raises(UserError, match="no system 'c' in this report; it has: a, b"):
        report.system("c")


# --- the real runtimes ---


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a user has it: a folder with config, weights, vocabulary, preprocessor."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Wav2Vec2ForCTC(tiny_ctc(layers=1).module.model.config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    vocabulary = {symbol: index for index, symbol in enumerate(TOKENS.symbols)}
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


def noise_features(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


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
    other = Exported(one.system, AudioInput(True, 700, 99_000), one.tokens)
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


def test_the_whole_bench_runs_file_and_model_side_by_side(pte: Path, model_folder: Path) -> None:
    exported = exported_file(pte, "mine")
    report = bench(
        [System("float", "torch-float", str(model_folder)), exported.system],
        [noise_recording(f"{i}.wav", 12_000 + 3_000 * i, "some words") for i in range(6)],
        exported.audio,
        exported.tokens,
        BenchOptions(threads=2, timed_clips=5, timing=TimingOptions(repeats=3)),
    )
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
    assert set(report.versions) >= {"python", "torch", "executorch"}


def test_a_system_that_dies_in_its_own_process_is_named_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine failed in its own process: .*gone\.pte does not"):
        measure_startup(
            System("mine", "executorch", str(tmp_path / "gone.pte")), noise_features(8_000), 1
        )


def test_deciding_what_to_bench_imports_no_torch() -> None:
    modules = (
        "protocol, runtime_bench.report, runtime_bench.quality, runtime_bench.exported, "
        "runtime_bench.runners.base, runtime_bench.peak_memory"
    )
    code = f"import sys, runtime_bench.{modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
