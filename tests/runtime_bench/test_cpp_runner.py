"""The C++ runner: the same numbers as Python's runtime, faults in one line, and which kernels ran."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from myqasr.core.errors import UserError
from myqasr.exporters.manifest import load_manifest
from myqasr.personalize.planning.plan import FLOAT32, QuantSpec
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.devices import native
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.measure.kernels import kernel_fits, profile_kernels, with_layers
from myqasr.runtime_bench.measure.peak_memory import measure_startup
from myqasr.runtime_bench.measure.run_bench import bench_run, held_out_recordings
from myqasr.runtime_bench.results.protocol import TimingOptions
from myqasr.runtime_bench.runners.base import System, open_system, own_seconds
from myqasr.runtime_bench.runners.executorch_cpp import open_runner
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.runtime_bench.runners.process import ProcessRunner
from myqasr.speech.datasets import find_clips
from tests.conftest import invoke


@pytest.fixture(scope="module")
def pte(finished_run) -> Path:
    """A tiny model's mixed-precision file with its manifest."""
    (path,) = (finished_run / "exports").glob("*.pte")
    return path


def features(samples: int = 16_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def cpp(path: Path, threads: int = 1) -> ProcessRunner:
    return open_runner(System("cpp", "executorch-cpp", str(path)), threads)


def work_folders() -> set[str]:
    import tempfile

    return {
        name for name in os.listdir(tempfile.gettempdir()) if name.startswith("myqasr-scratch-")
    }


@pytest.mark.parametrize("samples", [2_000, 16_000, 65_000])
def test_cpp_and_python_compute_the_same_numbers(pte, samples):
    runner = cpp(pte, threads=2)
    python = open_system(System("python", "executorch", str(pte)), 2)
    for seed in (0, 1):
        np.testing.assert_array_equal(
            runner.logits(features(samples, seed)), python.logits(features(samples, seed))
        )
    assert runner.threads == 2


def test_a_runner_times_itself(pte):
    runner = cpp(pte)
    begin = time.perf_counter()
    seconds = own_seconds(runner, [features(), features(seed=1)])
    assert seconds is not None and 0 < seconds < time.perf_counter() - begin


def test_memory_and_load_time_are_those_of_the_process_that_runs_the_model(pte):
    system = System("cpp", "executorch-cpp", str(pte))
    found = measure_startup(system, features(), 1)
    assert found.load_ms > 0 and found.first_inference_ms > 0
    assert 1e6 < found.baseline_rss_bytes < found.peak_rss_bytes < 60e6  # Python alone has 200 MB


def test_exit_codes_tell_bad_calls_from_failed_commands(pte):
    program = native.host_runner().path
    bad = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (bad.returncode, "error" in json.loads(bad.stdout)) == (2, True)
    for commands, code in (("memory\n", 0), ("memory\nnonsense\nmemory\n", 1)):
        done = subprocess.run(
            [program, pte, "1", "forward"],
            input=commands,
            capture_output=True,
            text=True,
            check=False,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == 1 + commands.count("\n")
        assert (done.returncode, any("error" in one for one in answers)) == (code, code == 1)


def test_too_long_input_is_refused_and_the_next_one_runs(pte):
    runner = cpp(pte)
    with pytest.raises(UserError, match="the C\\+\\+ runner: forward of 200000 inputs: "):
        runner.logits(features(200_000))
    assert np.isfinite(runner.logits(features())).all()


def test_a_full_disk_is_an_error_not_half_a_result(pte):
    with pytest.raises(UserError, match="can't write /dev/full: No space left on device"):
        cpp(pte).session.run(features(), "/dev/full")


def test_a_crash_is_named_by_its_signal(pte):
    runner = cpp(pte)
    os.kill(runner.session.process.pid, signal.SIGSEGV)
    with pytest.raises(
        UserError, match=r"the C\+\+ runner crashed \(SIGSEGV\) on .*\.pte.*nothing was measured"
    ):
        runner.logits(features())
    with pytest.raises(UserError, match="crashed"):
        runner.logits(features())


def test_files_that_can_not_be_loaded_leave_nothing_behind(pte, tmp_path):
    before = work_folders()
    with pytest.raises(UserError, match=r"nowhere\.pte does not exist"):
        cpp(tmp_path / "nowhere.pte")
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes(pte.read_bytes()[:5_000])
    with pytest.raises(UserError, match=r"can't load .*damaged\.pte"):
        cpp(damaged)
    assert work_folders() <= before


def test_a_closed_runner_removes_its_folder(pte):
    runner = cpp(pte)
    folder = runner.session.place.path
    runner.logits(features())
    runner.close()
    assert not folder.exists()
    with pytest.raises(UserError, match="ended with exit code 0"):
        runner.session.command("memory")


def test_without_a_compiler_the_way_out_is_named(monkeypatch, pte):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"'no-such-compiler' .*: apt-get install g\+\+"):
        cpp(pte)


def test_source_that_does_not_compile_says_what_the_compiler_says(monkeypatch, tmp_path, pte):
    broken = tmp_path / "runner.cpp"
    broken.write_text("int main() { return nonsense; }\n")
    monkeypatch.setattr(native, "SOURCE", broken)
    monkeypatch.setenv("MYQASR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"can't build the C\+\+ runner: .*nonsense"):
        cpp(pte)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_changed_source_is_compiled_anew(monkeypatch, tmp_path):
    first = native.host_runner()
    assert native.host_runner().path == first.path
    changed = tmp_path / "runner.cpp"
    changed.write_text(native.SOURCE.read_text() + "// changed\n")
    monkeypatch.setattr(native, "SOURCE", changed)
    monkeypatch.setattr(native, "_compile", lambda *args: args[-1].write_text(""))
    monkeypatch.setenv("MYQASR_CACHE", str(tmp_path))
    assert native.host_runner().path.parent.name != first.path.parent.name


def test_one_bench_runs_a_file_on_several_runners_and_names_its_kernels(run_copy, test_clips):
    folder = RunFolder(run_copy)
    heard = held_out_recordings(folder.load_settings(), find_clips([test_clips]), limit=2)
    timing = TimingOptions(warmup=0, runs=1, seconds=0)
    options = BenchOptions(threads=1, timing=timing, startup=False, operations=True)
    report, _ = bench_run(folder, heard, None, options, runners=["executorch", "executorch-cpp"])
    python = report.system("alice (xnnpack, executorch)")
    ours = report.system("alice (xnnpack, executorch-cpp)")
    assert ours.transcripts == python.transcripts
    assert ours.latency is not None
    assert ours.end_to_end is not None
    layers = RunFolder(run_copy).load_plan("xnnpack").layers
    assert ours.operations == ()  # one profile of the file is enough
    assert set(layers) <= {operation.name for operation in python.operations}
    times = [operation.ms for operation in python.operations]
    assert times == sorted(times, reverse=True)


def test_a_runner_that_can_not_run_the_file_is_refused(pte):
    with pytest.raises(
        UserError, match="'torch-float' doesn't run xnnpack files; these do: executorch, "
    ):
        exported_file(pte, runner="torch-float")


# --- kernels ---


INT4_GROUPS, INT4 = (
    QuantSpec(4, "int", 32, "int8-dynamic"),
    QuantSpec(4, activation="int8-dynamic"),
)
INT8, STATIC = (QuantSpec(8, activation="int8-dynamic"), QuantSpec(8, activation="int8-static"))
KERNELS = {
    "Fully Connected (NC, QD8, F32, QB4W) GEMM": INT4_GROUPS,
    "Fully Connected (NC, QDU8, F32, QC4W) GEMM": INT4,
    "Fully Connected (NC, QD8, F32, QC8W) GEMM": INT8,
    "Convolution (NHWC, QC8) IGEMM": STATIC,
    "Fully Connected (NC, F16) GEMM": QuantSpec(16, "float"),
    "Convolution (NHWC, F32) IGEMM": FLOAT32,
    "native_call_embedding_4bit.out": QuantSpec(4, "int", 32),
    "native_call_embedding_byte.out": QuantSpec(8),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_fits_its_own_precision_and_no_other(kernel):
    fitting = [spec for spec in KERNELS.values() if kernel_fits(kernel, spec)]
    assert fitting == [KERNELS[kernel]]


def test_every_layer_ran_on_a_kernel_of_its_planned_precision(pte):
    found = profile_kernels(pte, features(), repeats=3)
    layers = {one.layer: one.planned for one in found if one.layer is not None}
    (artifact,) = load_manifest(pte.parent).artifacts
    assert layers == artifact.layers
    assert len({spec.label for spec in layers.values()}) > 1
    assert all(one.right for one in found)
    assert sum(one.microseconds for one in found) > 0


def test_a_kernel_of_another_precision_is_found_out():
    ran = [[("Softmax (NC, F32)", 1.0), ("Fully Connected (NC, QD8, F32, QC8W) GEMM", 5.0)]]
    (_, layer) = with_layers(ran, [("lm_head", INT4)])
    assert (layer.layer, layer.right) == ("lm_head", False)
    with pytest.raises(UserError, match="1 kernels with weights ran, the plan has 2 layers"):
        with_layers(ran, [("a", INT8), ("b", INT8)])


def test_profile_prints_layers_and_their_kernels(pte, test_clips):
    done = invoke("profile", pte, sorted(test_clips.iterdir())[0], "--repeats", 2)
    assert done.exit_code == 0, done.output
    assert "layers ran on kernels of the planned precision" in done.output
