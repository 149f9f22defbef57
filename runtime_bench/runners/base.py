"""What a runner offers, and how to open one: a model in memory, a waveform in, logits out."""

import contextlib
import importlib
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from myqasr.core.children import scratch_folder
from myqasr.core.errors import BrokenFileError, NotInstalledError, UserError
from myqasr.core.reading import reason
from myqasr.core.storage import sha256_of
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
    activations, too), its float32 kind (they don't) and its float16 kind (everything is float16); codes_plan:
    hash of the plan that they must be of. sha256, size_bytes: of the file, where there is one. timed: False
    for simulations, whose latency says nothing. autoregression: for exported files of models that write token
    by token. weights_hash: that the model must have. adapted: for models in torch, the file of what a run
    added to their weights. copy: of the source, opened in its stead; see `held`.
    """

    name: str
    runner: str
    source: str
    codes: str | None = None
    codes_plan: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    timed: bool = True
    autoregression: Autoregression | None = None
    weights_hash: str | None = None
    adapted: str | None = None
    copy: str | None = None

    @property
    def file(self) -> Path:
        """What is opened."""
        return Path(self.source if self.copy is None else self.copy)


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
    path = system.file.absolute()
    if not path.is_file():
        raise UserError(f"{system.source} does not exist")
    return path


@contextlib.contextmanager
def held(systems: Sequence[System]) -> Iterator[list[System]]:
    """The systems with copies of their files, which nobody changes while they are measured.

    What is opened is what was hashed, whatever happens at the file's own place. Raises BrokenFileError naming
    both hashes when a file isn't the one that was exported any more.
    """
    with scratch_folder("bench") as folder:
        yield [_with_copies(system, folder / str(index)) for index, system in enumerate(systems)]


def _with_copies(system: System, folder: Path) -> System:
    if system.sha256 is not None and system.copy is None:
        copy = folder / Path(system.source).name
        _copy(Path(system.source), copy)
        found = sha256_of(copy)
        if found != system.sha256:
            raise BrokenFileError(
                f"{system.source} is not the file that was exported: its sha256 was {system.sha256}, it has "
                f"{found}; run `myqasr export` again"
            )
        system = replace(system, copy=str(copy))
    codes, adapted = (_own_copy(each, folder) for each in (system.codes, system.adapted))
    return replace(system, codes=codes, adapted=adapted)


def _own_copy(file: str | None, folder: Path) -> str | None:
    """Where the copy of a file is; one that isn't there is left to its runner to name."""
    if file is None or not Path(file).is_file():
        return file
    _copy(Path(file), folder / Path(file).name)
    return str(folder / Path(file).name)


def _copy(source: Path, place: Path) -> None:
    try:
        place.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place)
        else:
            shutil.copyfile(source, place)
    except (OSError, shutil.Error) as error:
        raise UserError(f"{source} can't be copied for the bench: {reason(error)}") from error


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
