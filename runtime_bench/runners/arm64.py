"""Exported .pte and .tflite files on emulated ARM64: `arm64` or `arm64:CPU`. Texts and costs, never time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.exporters.tflite import litert, tflite_runtime
from myqasr.runtime_bench.devices.emulator import (
    DEFAULT_CPU,
    Program,
    cpp_program,
    emulated,
    known_cpu,
    tflite_program,
)
from myqasr.runtime_bench.devices.emulator_files import LITERT, OLD_TFLITE
from myqasr.runtime_bench.devices.session import open_session
from myqasr.runtime_bench.runners.base import System, existing_file
from myqasr.runtime_bench.runners.process import ProcessRunner, new_folder

_COUNTS = "counts"


@dataclass(frozen=True, slots=True)
class Instructions:
    """What an emulated CPU executed: to start and load the model, and for each inference."""

    load: int
    inferences: tuple[int, ...]


def open_runner(system: System, threads: int) -> ProcessRunner:
    """Emulate the file's runtime and load the file; raises UserError when any of it fails."""
    cpu = known_cpu(system.runner.partition(":")[2] or DEFAULT_CPU)
    return _open(system, cpu, threads, None)


def count_instructions(
    system: System, cpu: str, inputs: list[NDArray[np.float32]]
) -> tuple[Instructions, list[NDArray[np.float32]]]:
    """Instructions of a file on one thread, one inference of each input [samples], and the logits.

    The first inference comes on top of the others' costs when kernels set themselves up in it; run an input
    twice to see. Raises UserError as `open_runner` does.
    """
    runner = _open(system, cpu, 1, _COUNTS)
    logits = [runner.logits(features) for features in inputs]
    totals = [int(line) for line in runner.session.place.get(_COUNTS).split()]
    runner.close()
    before = totals[-len(inputs) - 1]  # after loading, and being told how to write tokens
    steps = np.diff([before, *totals[-len(inputs) :]])
    return Instructions(before, tuple(int(step) for step in steps)), logits


def _open(system: System, cpu: str, threads: int, counts: str | None) -> ProcessRunner:
    """Load the file on a CPU model. counts: file of the runner's folder for `emulated`."""
    path = existing_file(system)
    program = _program(path)
    folder = new_folder(f"{program.name} on emulated {cpu}", emulated(program, cpu, counts))
    session = open_session(folder, str(path), threads, system.autoregression, name=system.source)
    loaded = session.loaded
    description = f"{program.name} {loaded['version']} on emulated {cpu}"
    return ProcessRunner(description, loaded["threads"], session)


def _program(path: Path) -> Program:
    """What runs a file, by how its name ends."""
    if path.name.endswith(litert.SUFFIX):
        return tflite_program(LITERT)
    if path.name.endswith(tflite_runtime.SUFFIX):
        return tflite_program(OLD_TFLITE)
    return cpp_program()
