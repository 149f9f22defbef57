"""Runners by their records: a new one is a module and a record, and all keep to the base class."""

import importlib
import inspect
import sys
import types
from dataclasses import dataclass, replace
from typing import get_type_hints

import numpy as np
import pytest

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.exporters.target import TARGETS
from myqasr.runtime_bench.measure.bench import BenchOptions, bench
from myqasr.runtime_bench.measure.peak_memory import startup_here
from myqasr.runtime_bench.results.protocol import TimingOptions
from myqasr.runtime_bench.runners.base import Runner, System, open_system, own_seconds
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS, AudioInput, runners_of
from myqasr.runtime_bench.runners.records import (
    RUNNERS,
    RunnerRecord,
    record_of,
    runs_here,
    timed_here,
)
from tests.material.bench_material import LETTERS, noise_features, noise_recording, provenance


@dataclass(frozen=True, slots=True)
class ToyRunner(Runner):
    """Hears the letter that is its source."""

    letter: int

    def logits(self, features: np.ndarray) -> np.ndarray:
        return np.eye(4, dtype=np.float32)[[0, self.letter]]


@dataclass(frozen=True, slots=True)
class TimedToy(ToyRunner):
    """The same with a clock of its own, which says one second for every inference."""

    def seconds(self, features: np.ndarray) -> float:
        self.logits(features)
        return 1.0

    @property
    def load_ms(self) -> float:
        return 7.0


def open_toy(system: System, threads: int) -> ToyRunner:
    kind = TimedToy if system.runner == "timed-toy" else ToyRunner
    return kind("toy", threads, LETTERS.symbols.index(system.source))


@pytest.fixture
def toys(monkeypatch) -> RunnerRecord:
    """Two runners more, for as long as a test takes: one module, one record for each."""
    module = types.ModuleType("toy_runners")
    module.open_runner = open_toy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_runners", module)
    record = RunnerRecord("toy", "toy_runners", lambda: "1.0", also_runs=("litert",))
    for name in ("toy", "timed-toy"):
        monkeypatch.setitem(RUNNERS, name, replace(record, name=name))
    return record


def toy(letter: str, runner: str = "toy") -> System:
    return System(f"{runner} {letter}", runner, letter)


def test_a_record_is_all_that_a_new_runner_needs_to_be_opened_and_to_run_files(toys):
    runner = open_system(toy("b"), 2)
    assert (runner.description, runner.threads) == ("toy", 2)
    assert runner.logits(noise_features(400)).argmax(1).tolist() == [0, 3]
    assert runners_of("litert") == ("litert", "arm64", "toy", "timed-toy")
    assert "toy" not in runners_of("xnnpack")
    assert timed_here("toy") and runs_here("toy:somewhere")
    with pytest.raises(
        UserError, match=r"unknown runner 'joy'; known: executorch, .*, toy, timed-"
    ):
        open_system(System("x", "joy", "a"), 1)


def test_a_new_runner_is_benched_like_any_other(toys):
    recordings = [noise_recording(f"{i}.wav", 8_000, "a") for i in range(3)]
    report = bench(
        [toy("a"), toy("b"), toy("a", "timed-toy")],
        recordings,
        AudioInput(True, 400, 16_000),
        LETTERS,
        BenchOptions(1, 2, TimingOptions(warmup=1, runs=4, seconds=0.0), False, False),
        provenance(recordings),
        {},
    )
    assert [system.transcripts for system in report.systems] == [(t,) * 3 for t in "aba"]
    assert [system.device for system in report.systems] == [None] * 3
    by_our_clock, _, by_its_own = (system.seconds for system in report.systems)
    assert set(by_its_own) == {1.0}
    assert max(by_our_clock) < 1.0


def test_startup_is_measured_here_unless_the_runner_knows_better(toys):
    here = startup_here(toy("a"), noise_features(400), 1)
    assert 0 < here.baseline_rss_bytes <= here.peak_rss_bytes
    assert here.load_ms != 7.0
    assert startup_here(toy("a", "timed-toy"), noise_features(400), 1).load_ms == 7.0


def test_time_by_the_own_clock_is_of_all_inputs_or_none():
    inputs = [noise_features(400)] * 3
    assert own_seconds(TimedToy("toy", 1, 2), inputs) == 3.0
    assert own_seconds(ToyRunner("toy", 1, 2), inputs) is None


@pytest.mark.parametrize("name", RUNNERS)
def test_every_record_names_a_module_that_opens_a_runner(name):
    record = RUNNERS[name]
    assert record.name == name
    module = importlib.import_module(record.module)
    assert list(inspect.signature(module.open_runner).parameters)[:2] == ["system", "threads"]
    assert issubclass(get_type_hints(module.open_runner)["return"], Runner)
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__.startswith("myqasr.runtime_bench.runners") and hasattr(found, "logits"):
            assert issubclass(found, Runner), found


@pytest.mark.parametrize("name", RUNNERS)
def test_every_record_fits_the_others_and_tells_its_version(name):
    record = RUNNERS[name]
    assert set(record.also_runs) <= set(RUNNERS) - {name}
    assert record.float16_runner is None or record.float16_runner in RUNNERS
    try:
        assert record.version()[-1].isalnum()
    except NotInstalledError as error:
        assert error.mend


def test_runners_of_files_are_the_targets_own_and_those_that_also_run_them():
    assert set(TARGET_RUNNERS) == set(TARGETS)
    assert runners_of("xnnpack") == ("executorch", "executorch-cpp", "arm64", "adb")
    assert runners_of("tflite-runtime") == ("tflite-runtime", "arm64")
    assert runners_of("coreml-pte") == ("coreml",)


def test_what_emulates_or_is_elsewhere_does_not_run_here():
    assert [name for name in RUNNERS if record_of(name).source == "file" and runs_here(name)] == [
        *("executorch", "executorch-cpp", "litert", "tflite-runtime", "onnxruntime", "whisper-cpp"),
        *(["coreml"] if sys.platform == "darwin" else []),
    ]
    assert timed_here("adb:1234") and not runs_here("adb:1234")
    assert not timed_here("arm64:cortex-a53")
