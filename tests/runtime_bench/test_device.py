"""The chain to a phone, against a real adbd: push, run, pull, and what can go wrong on the way.

`make device-test` runs these; they need root, as the device gets a folder and a network of its own.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from myqasr.core.errors import UserError
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.measure.run_bench import bench_run, held_out_recordings
from myqasr.runtime_bench.results.protocol import TimingOptions
from myqasr.runtime_bench.runners.adb import AdbRunner, open_runner
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.datasets import find_clips
from tests.material.virtual_device import (
    SERIAL,
    VirtualDevice,
    device_files,
    private_adb_server,
    why_not,
)

RUNNER = f"adb:{SERIAL}"
pytestmark = pytest.mark.skipif(
    os.environ.get("MYQASR_DEVICE_TEST") != "1", reason="needs root and packages: make device-test"
)


@pytest.fixture(scope="module")
def device() -> Iterator[VirtualDevice]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    try:
        files = device_files()
    except UserError as error:
        pytest.skip(f"no packages for the virtual device: {error}")
    found = VirtualDevice(files)
    with private_adb_server(15_099):
        try:
            found.start()
            yield found
        finally:
            found.stop()


@pytest.fixture(scope="module")
def pte(finished_run) -> Path:
    (path,) = (finished_run / "exports").glob("*.pte")
    return path


def features(samples: int = 16_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def opened(pte: Path) -> AdbRunner:
    return open_runner(exported_file(pte, runner=RUNNER).system, 1)


def runner_pids(device: VirtualDevice) -> list[int]:
    return [pid for pid, line in device.processes().items() if "./runner" in line]


def quick_bench(run: Path, clips: Path, runs: int = 1, runners: tuple[str, ...] = (RUNNER,)):
    folder = RunFolder(run)
    heard = held_out_recordings(folder.load_settings(), find_clips([clips]), limit=2)
    options = BenchOptions(
        threads=1, timing=TimingOptions(warmup=0, runs=runs, seconds=0), startup=False
    )
    return bench_run(folder, heard, None, options, runners=runners)


def test_a_bench_runs_on_the_device_and_leaves_nothing_there(device, run_copy, test_clips):
    report, path = quick_bench(run_copy, test_clips, runners=("arm64", RUNNER))
    here = report.system("alice (xnnpack, arm64)")
    remote = report.system(f"alice (xnnpack, {RUNNER})")
    assert remote.transcripts == here.transcripts
    assert remote.latency is not None and here.latency is None
    assert remote.device is not None and remote.device.emulated
    assert remote.device.name == "Debian virtual device, Android 13"
    assert remote.device.cpu["CPU part"] == ["0xd0b"]
    assert remote.device.before.temperature_celsius == 31.2
    assert remote.device.after.battery_percent == 87 and remote.device.after.plugged
    assert any("emulated processor" in problem for problem in report.problems)
    assert path.is_file()
    assert device.files() == [] and runner_pids(device) == []


def test_load_time_and_memory_are_the_devices(device, pte):
    startup = opened(pte).startup(features(), 0.0, 0)
    assert startup.load_ms > 0 and startup.first_inference_ms > 0
    assert startup.peak_rss_bytes > startup.baseline_rss_bytes > 0


def test_a_device_that_is_pulled_out_in_mid_run_leaves_no_half_result(
    device, run_copy, test_clips, pte
):
    def pull_out() -> None:
        while not runner_pids(device):
            time.sleep(0.05)
        time.sleep(1)
        device.pull_out()

    thread = threading.Thread(target=pull_out)
    thread.start()
    try:
        begin = time.monotonic()
        with pytest.raises(
            UserError, match=f"device {SERIAL} went away while it ran.*nothing was kept"
        ):
            quick_bench(run_copy, test_clips, runs=10_000)
        assert time.monotonic() - begin < 60
    finally:
        thread.join()
        device.stop()
        device.start()
    assert list((run_copy / "bench").rglob("*")) == []
    (left,) = device.files()  # nobody could clean up, until the next run does
    runner = opened(pte)
    assert left not in device.files()
    runner.close()
    assert device.files() == []


def test_a_full_device_is_refused_before_anything_is_pushed(device, pte):
    with (
        device.small_disk("4m"),
        pytest.raises(
            UserError, match=f"device {SERIAL} has 4.19 MB free in /data/local/tmp, this needs"
        ),
    ):
        opened(pte)


def test_a_device_that_fills_up_while_it_runs_says_so_and_is_cleaned(device, pte):
    with device.small_disk("60m"):
        runner = opened(pte)
        runner.logits(features())
        device.fill()
        with pytest.raises(UserError, match=r"is full: .*doesn't fit|No space left on device"):
            runner.logits(features(32_000, seed=1))
        runner.close()
        assert device.files() == ["filler"]


def test_a_runner_that_crashes_on_the_device_is_named_by_its_signal(device, pte):
    runner = opened(pte)
    (pid,) = runner_pids(device)
    os.kill(pid, signal.SIGSEGV)
    with pytest.raises(
        UserError, match=rf"device {SERIAL} crashed \(SIGSEGV\).*nothing was measured"
    ):
        runner.logits(features())
    runner.close()
    assert device.files() == []


def test_a_file_that_the_runtime_refuses_is_cleaned_up_too(device, pte, tmp_path):
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes(pte.read_bytes()[:5_000])
    system = exported_file(pte, runner=RUNNER).system
    with pytest.raises(UserError, match=r"can't load model\.pte"):
        open_runner(replace(system, source=str(damaged)), 1)
    assert device.files() == []
