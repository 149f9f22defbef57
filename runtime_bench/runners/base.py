"""What a runner offers, and how to open one: a model in memory, a waveform in, logits out."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.exporters.target import remedy
from myqasr.runtime_bench.runners.process import ProcessRunner
from myqasr.speech.decoding import Autoregression

RUNNERS = {
    "executorch": "myqasr.runtime_bench.runners.executorch",
    "executorch-cpp": "myqasr.runtime_bench.runners.executorch_cpp",
    "arm64": "myqasr.runtime_bench.runners.arm64",
    "adb": "myqasr.runtime_bench.runners.adb",
    "litert": "myqasr.runtime_bench.runners.litert",
    "tflite-runtime": "myqasr.runtime_bench.runners.tflite_runtime",
    "coreml": "myqasr.runtime_bench.runners.coreml.reference",
    "coreml-float16": "myqasr.runtime_bench.runners.coreml.reference",
    "torch-float": "myqasr.runtime_bench.runners.torch_models",
    "torch-int8-dynamic": "myqasr.runtime_bench.runners.torch_models",
    "torch-reference": "myqasr.runtime_bench.runners.torch_models",
    "torch-reference-float32": "myqasr.runtime_bench.runners.torch_models",
    "torch-reference-float16": "myqasr.runtime_bench.runners.torch_models",
}
"""Runner name -> module with `open_runner(system, threads) -> Runner`. Importing it loads the runtime.

What follows a colon says where: `arm64:cortex-a53`, `adb:SERIAL`.
"""
TIMED_ON: dict[str, tuple[str, ...]] = {
    "arm64": (),
    "torch-reference": (),
    "torch-reference-float32": (),
    "torch-reference-float16": (),
    "coreml": ("darwin",),
    "coreml-float16": (),
}
"""Runner -> operating systems, as `sys.platform` calls them, where it is the runtime itself.

Elsewhere it emulates or simulates, and its latency says nothing. Those not listed are themselves everywhere.
"""
REMOTE_RUNNERS = ("adb",)
"""On another device."""


@dataclass(frozen=True, slots=True)
class System:
    """One row of a benchmark: what to run and how, in words that another process understands.

    runner: a key of RUNNERS, perhaps with a place after a colon. source: an exported file, or a model's
    folder or id. codes: safetensors of the plan's integers, for `torch-reference` (float16 layers round
    activations, too), its float32 kind (they don't) and its float16 kind (everything is float16).
    sha256, size_bytes: of the file, where there is one. timed: False for simulations, whose latency says
    nothing. autoregression: for exported files of models that write token by token.
    """

    name: str
    runner: str
    source: str
    codes: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    timed: bool = True
    autoregression: Autoregression | None = None


class Runner(Protocol):
    """A loaded model. `threads` is what the runtime itself reports."""

    @property
    def description(self) -> str:
        """Runtime and precision in a few words."""
        ...

    @property
    def threads(self) -> int:
        """Threads that an inference uses."""
        ...

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [frames, vocab], or [tokens written, vocab], of one utterance's features [samples]."""
        ...


def kind_of(runner: str) -> str:
    """A runner's name without the place after the colon."""
    return runner.partition(":")[0]


def timed_here(runner: str) -> bool:
    """Whether a runner's latency on this machine says anything."""
    systems = TIMED_ON.get(kind_of(runner))
    return systems is None or sys.platform in systems


def existing_file(system: System) -> Path:
    """The system's file; raises UserError when it doesn't exist."""
    path = Path(system.source).absolute()
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    return path


def own_seconds(runner: Runner, inputs: Sequence[NDArray[np.float32]]) -> float | None:
    """Run the model on all inputs; the time by its own clock, None for a runner without one."""
    if isinstance(runner, ProcessRunner):
        return sum(runner.seconds(features) for features in inputs)
    for features in inputs:
        runner.logits(features)
    return None


def runner_module(name: str) -> ModuleType:
    """Import a runner's module and with it its runtime (seconds).

    Raises UserError listing the known names, NotInstalledError saying what to install.
    """
    module = RUNNERS.get(kind_of(name))
    if module is None:
        raise UserError(f"unknown runner {name!r}; known: {', '.join(RUNNERS)}")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotInstalledError(f"runner {name} needs {error.name}", remedy(error)) from error


def open_system(system: System, threads: int) -> Runner:
    """Load a system's model into memory, running on `threads` threads.

    Raises UserError when the runner is unknown or the file or model can't be loaded.
    """
    if threads < 1:
        raise UserError(f"can't run on {threads} threads; ask for at least one")
    runner: Runner = runner_module(system.runner).open_runner(system, threads)
    return runner
