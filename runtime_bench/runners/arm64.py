"""Exported .pte files on emulated ARM64: `arm64` or `arm64:CPU`. Texts and costs, never time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime_bench.arm64 import DEFAULT_CPU, arm64_runner, emulated, known_cpu
from runtime_bench.runners.base import System
from runtime_bench.runners.executorch_cpp import CppRunner, existing_file, new_folder
from runtime_bench.session import open_session

_COUNTS = "counts"


@dataclass(frozen=True, slots=True)
class Instructions:
    """What an emulated CPU executed: to start and load the model, and for each inference."""

    load: int
    inferences: tuple[int, ...]


def open_runner(system: System, threads: int) -> CppRunner:
    """Build and emulate the runner and load a .pte; raises UserError when any of it fails."""
    path = existing_file(system)
    cpu = known_cpu(system.runner.partition(":")[2] or DEFAULT_CPU)
    runner = arm64_runner()
    folder = new_folder(f"the ARM64 runner on {cpu}", emulated((str(runner.path),), cpu))
    session = open_session(folder, str(path), threads, system.autoregression)
    description = f"ExecuTorch {runner.version} C++ on emulated {cpu}"
    return CppRunner(description, session.loaded["threads"], session)


def count_instructions(
    system: System, cpu: str, inputs: list[NDArray[np.float32]]
) -> tuple[Instructions, list[NDArray[np.float32]]]:
    """Instructions of a .pte on one thread, one inference of each input [samples], and the logits.

    The first inference comes on top of the others' costs when kernels set themselves up in it; run an input
    twice to see. Raises UserError as `open_runner` does.
    """
    path = existing_file(system)
    runner = arm64_runner()
    folder = new_folder(f"the ARM64 runner on {cpu}", ())
    counts = folder.path / _COUNTS
    counted = type(folder)(folder.name, emulated((str(runner.path),), cpu, counts), folder.path)
    session = open_session(counted, str(path), 1, system.autoregression)
    cpp = CppRunner(cpu, 1, session)
    logits = [cpp.logits(features) for features in inputs]
    totals = [int(line) for line in Path(counts).read_text().split()]
    session.close()
    before = totals[-len(inputs) - 1]  # after loading, and being told how to write tokens
    steps = np.diff([before, *totals[-len(inputs) :]])
    return Instructions(before, tuple(int(step) for step in steps)), logits
