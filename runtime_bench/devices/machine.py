"""What a benchmark runs on, and what else runs there: device facts, pinning, other programs' share. No torch.

Pinning: timings of a process that the system moves between cores say more about the system than about the
model. Linux pins; elsewhere nothing does, and the report says so.
"""

import contextlib
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from myqasr.core.errors import UserError

VERSIONED = (
    *("myqasr", "torch", "executorch", "ai-edge-litert", "coremltools", "torchao", "transformers"),
    "numpy",
)
"""Distributions whose versions results name, where they are installed."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the benchmark ran on. usable_cores: those this process may use."""

    cpu: str
    machine: str
    cores: int
    usable_cores: int
    memory_bytes: int
    system: str


@dataclass(frozen=True, slots=True)
class Load:
    """What else the machine did. Shares are of the cores that the benchmark was pinned to (or all usable).

    busy_cores: cores' worth of other work just before. others_share: of other programs while timing.
    stolen_share: taken by the host of a virtual machine while timing.
    """

    busy_cores: float
    others_share: float
    stolen_share: float


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """A moment: clock, CPU seconds of this process and its children, busy and stolen ones of some cores."""

    clock: float
    own: float
    busy: float
    stolen: float


def this_device() -> Device:
    """CPU, memory and operating system of this machine."""
    return Device(
        cpu=_cpu_name(),
        machine=platform.machine(),
        cores=os.cpu_count() or 1,
        usable_cores=len(usable_cores()),
        memory_bytes=int(psutil.virtual_memory().total),
        system=f"{platform.system()} {platform.release()}",
    )


def usable_cores() -> tuple[int, ...]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def idle_cores(count: int, interval: float = 0.5) -> tuple[tuple[int, ...], float]:
    """The `count` least busy of the usable cores, and how many cores' worth of work the machine is doing.

    Measured over `interval` seconds in which this process sleeps. Fewer cores when there are fewer.
    """
    busy = psutil.cpu_percent(interval=interval, percpu=True)
    usable = [core for core in usable_cores() if core < len(busy)]
    chosen = sorted(usable, key=lambda core: (busy[core], core))[:count]
    return tuple(sorted(chosen)), sum(busy) / 100


@contextlib.contextmanager
def pinned(cores: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Keep every thread of this process, and those it starts, on these cores; yields those it is kept to.

    Yields nothing, an empty tuple, where the system can't.
    """
    if not hasattr(os, "sched_setaffinity") or not cores:
        yield ()
        return
    before = usable_cores()
    try:
        _move_threads(cores)
    except OSError as error:
        raise UserError(f"can't pin to cores {cores}: {error.strerror}") from error
    try:
        yield cores
    finally:
        _move_threads(before)


def core_times(cores: tuple[int, ...]) -> CoreTimes:
    """Now, for the difference of two moments."""
    this = psutil.Process()
    times = this.cpu_times()
    own = (
        times.user + times.system + times.children_user + times.children_system
    )  # those that ended
    for child in this.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            own += sum(child.cpu_times()[:4])
    per_core = psutil.cpu_times(percpu=True)
    busy = stolen = 0.0
    for core in cores or usable_cores():
        spent = per_core[core]
        busy += spent.user + spent.system
        busy += sum(getattr(spent, name, 0.0) for name in ("nice", "irq", "softirq"))
        stolen += getattr(spent, "steal", 0.0)
    return CoreTimes(time.perf_counter(), own, busy, stolen)


def load_between(
    begin: CoreTimes, end: CoreTimes, cores: tuple[int, ...], busy_cores: float
) -> Load:
    """What other programs and the host took of the cores between two moments."""
    available = max((end.clock - begin.clock) * len(cores or usable_cores()), 1e-9)
    others = (end.busy - begin.busy) - (end.own - begin.own)
    return Load(
        busy_cores=busy_cores,
        others_share=min(max(others / available, 0.0), 1.0),
        stolen_share=min(max((end.stolen - begin.stolen) / available, 0.0), 1.0),
    )


def runtime_versions() -> dict[str, str]:
    """Version of Python and of each distribution that computes something here."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _move_threads(cores: tuple[int, ...]) -> None:
    """Threads that exist keep their cores when only the process is told, so each one is."""
    tasks = Path("/proc/self/task")
    threads = [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):  # it ended in between
            os.sched_setaffinity(thread, cores)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Let the peak start from now; where the system can't, the peak of the imports stays in it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
