"""What a runner offers, and how to open one: a model in memory, a waveform in, logits out."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exporters.target import remedy
from speech.decoding import Autoregression
from speech.errors import UserError

RUNNERS = {
    "executorch": "runtime_bench.runners.executorch",
    "coreml": "runtime_bench.runners.coreml_reference",
    "coreml-float16": "runtime_bench.runners.coreml_reference",
    "torch-float": "runtime_bench.runners.torch_models",
    "torch-int8-dynamic": "runtime_bench.runners.torch_models",
    "torch-reference": "runtime_bench.runners.torch_models",
    "torch-reference-float16": "runtime_bench.runners.torch_models",
}
"""Runner name -> module with `open_runner(system, threads) -> Runner`. Importing it loads the runtime."""


@dataclass(frozen=True, slots=True)
class System:
    """One row of a benchmark: what to run and how, in words that another process understands.

    runner: a key of RUNNERS. source: an exported file, or a model's folder or id. codes: safetensors
    of the plan's integers, for `torch-reference` and its float16 kind. sha256, size_bytes: of the file,
    where there is one. timed: False for simulations, whose latency says nothing. autoregression: for
    exported files of models that write token by token.
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


def runner_module(name: str) -> ModuleType:
    """Import a runner's module and with it its runtime (seconds).

    Raises UserError listing the known names, or saying what to install.
    """
    module = RUNNERS.get(name)
    if module is None:
        raise UserError(f"unknown runner {name!r}; known: {', '.join(RUNNERS)}")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"runner {name} needs {error.name}: {remedy(error)}") from error


def open_system(system: System, threads: int) -> Runner:
    """Load a system's model into memory, running on `threads` threads.

    Raises UserError when the runner is unknown or the file or model can't be loaded.
    """
    if threads < 1:
        raise UserError(f"can't run on {threads} threads; ask for at least one")
    runner: Runner = runner_module(system.runner).open_runner(system, threads)
    return runner
