"""What there is to know of each runner without loading it: one record each. No runtime and no torch here.

A new runner is a module with `open_runner(system, threads) -> Runner`, and a record here.
"""

import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from myqasr.core.errors import UserError
from myqasr.runtime_bench.devices.android import adb_version, need_adb, need_device
from myqasr.runtime_bench.devices.emulator import emulator_version, need_compiler, need_emulator
from myqasr.runtime_bench.devices.emulator_files import need_all
from myqasr.runtime_bench.devices.environments import ENVIRONMENTS, environment_python
from myqasr.runtime_bench.devices.native import runtime_version

_HERE = "myqasr.runtime_bench.runners"


@dataclass(frozen=True, slots=True)
class RunnerRecord:
    """One way of running a model.

    module: has `open_runner`; importing it loads the runtime. version: of the runtime or emulator, by name
    and number where there is doubt; raises where it isn't installed. source: what it opens: an exported file,
    a model, or a model with a plan's codes. needs: checks to make before it is tried, each of which raises
    NotInstalledError saying what is missing. also_runs: runners whose targets' files it runs, too.
    timed_on: operating systems, as `sys.platform` calls them, where it is the runtime itself; elsewhere it
    emulates or simulates, and its latency says nothing; None: itself everywhere. remote: on another device.
    float16_runner: the one that runs the same files with every result rounded to float16.
    """

    name: str
    module: str
    version: Callable[[], str]
    source: Literal["file", "model", "codes"] = "file"
    needs: tuple[Callable[[], object], ...] = ()
    also_runs: tuple[str, ...] = ()
    timed_on: tuple[str, ...] | None = None
    remote: bool = False
    float16_runner: str | None = None


def _package(name: str) -> Callable[[], str]:
    """Version of an installed package."""
    return lambda: importlib.metadata.version(name)


_RECORDS = (
    RunnerRecord("executorch", f"{_HERE}.executorch", runtime_version),
    RunnerRecord(
        "executorch-cpp", f"{_HERE}.executorch_cpp", runtime_version, also_runs=("executorch",)
    ),
    RunnerRecord(
        "arm64",
        f"{_HERE}.arm64",
        lambda: f"QEMU {emulator_version(need_emulator())}",
        needs=(need_compiler, need_emulator, need_all),
        also_runs=("executorch", "litert", "tflite-runtime"),
        timed_on=(),
    ),
    RunnerRecord(
        "adb",
        f"{_HERE}.adb",
        lambda: adb_version(need_adb()),
        needs=(need_adb, need_device, need_compiler),
        also_runs=("executorch",),
        remote=True,
    ),
    RunnerRecord("litert", f"{_HERE}.litert", _package("ai-edge-litert")),
    RunnerRecord(
        "tflite-runtime",
        f"{_HERE}.tflite_runtime",
        lambda: ENVIRONMENTS["tflite-runtime"][0].partition("==")[2],
        needs=(lambda: environment_python("tflite-runtime"),),
    ),
    RunnerRecord("onnxruntime", f"{_HERE}.onnx_runtime", _package("onnxruntime")),
    RunnerRecord("whisper-cpp", f"{_HERE}.whisper_cpp", _package("pywhispercpp")),
    RunnerRecord(
        "coreml",
        f"{_HERE}.coreml.reference",
        _package("coremltools"),
        timed_on=("darwin",),
        float16_runner="coreml-float16",
    ),
    RunnerRecord(
        "coreml-float16", f"{_HERE}.coreml.reference", _package("coremltools"), timed_on=()
    ),
    RunnerRecord("torch-float", f"{_HERE}.torch_models", _package("torch"), "model"),
    RunnerRecord("torch-int8-dynamic", f"{_HERE}.torch_models", _package("torch"), "model"),
    *(
        RunnerRecord(name, f"{_HERE}.torch_models", _package("torch"), "codes", timed_on=())
        for name in ("torch-reference", "torch-reference-float32", "torch-reference-float16")
    ),
)
RUNNERS: dict[str, RunnerRecord] = {record.name: record for record in _RECORDS}
"""Runner name -> its record. What follows a colon says where: `arm64:cortex-a53`, `adb:SERIAL`."""


def kind_of(runner: str) -> str:
    """A runner's name without the place after the colon."""
    return runner.partition(":")[0]


def record_of(runner: str) -> RunnerRecord:
    """A runner's record; raises UserError listing the known names."""
    record = RUNNERS.get(kind_of(runner))
    if record is None:
        raise UserError(f"unknown runner {runner!r}; known: {', '.join(RUNNERS)}")
    return record


def others_running(runner: str) -> tuple[str, ...]:
    """Other runners of the files that a runner runs, in the order of `RUNNERS`."""
    return tuple(record.name for record in RUNNERS.values() if runner in record.also_runs)


def timed_here(runner: str) -> bool:
    """Whether a runner's latency says anything when it is started from this machine."""
    systems = record_of(runner).timed_on
    return systems is None or sys.platform in systems


def runs_here(runner: str) -> bool:
    """Whether a runner is the runtime itself on this machine's own processor."""
    return timed_here(runner) and not record_of(runner).remote
