"""What a runner offers, and how to open one: a model in memory, a waveform in, logits out."""

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.exporters.target import remedy
from myqasr.runtime_bench.devices.android import RemoteDevice
from myqasr.runtime_bench.devices.machine import peak_rss_bytes
from myqasr.runtime_bench.results.report import Startup
from myqasr.runtime_bench.runners.records import record_of
from myqasr.speech.decoding import Autoregression


@dataclass(frozen=True, slots=True)
class System:
    """One row of a benchmark: what to run and how, in words that another process understands.

    runner: of `records.RUNNERS`, perhaps with a place after a colon. source: an exported file, or a model's
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


@dataclass(frozen=True, slots=True)
class Runner(ABC):
    """A loaded model, by default in this process, with no clock of its own and nothing to clean up.

    description: runtime and precision in a few words. threads: that an inference uses, as the runtime
    itself reports.
    """

    description: str
    threads: int

    @abstractmethod
    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [frames, vocab], or [tokens written, vocab], of one utterance's features [samples].

        Raises UserError when the model can't take or run them.
        """

    def seconds(self, features: NDArray[np.float32]) -> float | None:
        """Run the model on features [samples]; the time by its own clock, None where the caller's counts."""
        self.logits(features)
        return None

    @property
    def load_ms(self) -> float | None:
        """Time from file to model in memory by its own clock; None where the caller's counts."""
        return None

    def startup(
        self, features: NDArray[np.float32], load_ms: float, baseline_rss_bytes: int
    ) -> Startup:
        """Time of the first inference and peak memory of the process that the model lives in: this one.

        features: [samples], the first there are. load_ms, baseline_rss_bytes: what this process measured
        as it loaded the model, and before.
        """
        start = time.perf_counter()
        self.logits(features)
        first_ms = 1e3 * (time.perf_counter() - start)
        return Startup(load_ms, first_ms, baseline_rss_bytes, peak_rss_bytes())

    def device(self) -> RemoteDevice | None:
        """The device that the model runs on and its state by now; None for this machine."""
        return None

    def close(self) -> None:  # noqa: B027  most have nothing to free
        """Free what outlives this object; logits can't be computed any more where there is such."""


def existing_file(system: System) -> Path:
    """The system's file; raises UserError when it doesn't exist."""
    path = Path(system.source).absolute()
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    return path


def own_seconds(runner: Runner, inputs: Sequence[NDArray[np.float32]]) -> float | None:
    """Run the model on all inputs; the time by its own clock, None for a runner without one."""
    times = [runner.seconds(features) for features in inputs]
    known = [seconds for seconds in times if seconds is not None]
    return sum(known) if known else None


def runner_module(name: str) -> ModuleType:
    """Import a runner's module and with it its runtime (seconds).

    Raises UserError listing the known names, NotInstalledError saying what to install.
    """
    record = record_of(name)
    try:
        return importlib.import_module(record.module)
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
