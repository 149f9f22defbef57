"""The result of one benchmark run as a frozen record, one JSON file. No torch in here."""

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from runtime_bench.protocol import Latency
from speech.errors import UserError
from speech.scoring import ErrorCounts, normalize_text
from speech.storage import load_record, save_record

SCHEMA_VERSION = 2
Task = Literal["transcription", "classification"]
MIN_UTTERANCES = 5
MIN_REPEATS = 3
MAX_SPREAD = 1.5


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
class Startup:
    """One system in a fresh process that has its runtime imported but no model loaded yet.

    load_ms: file to model in memory. first_inference_ms: on the longest input, after that.
    baseline_rss_bytes: resident memory before loading. peak_rss_bytes: highest from then on.
    """

    load_ms: float
    first_inference_ms: float
    baseline_rss_bytes: int
    peak_rss_bytes: int

    @property
    def model_rss_bytes(self) -> int:
        """Peak memory that loading and running the model added to the runtime's own."""
        return max(self.peak_rss_bytes - self.baseline_rss_bytes, 0)


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One system on all utterances.

    transcripts: as decoded, in the order of the report's utterances. words, characters: None when the
    clips have no reference texts. agreement: share of utterances with the same transcript as the
    report's baseline. latency: None when not timed. startup: None when not measured.
    """

    name: str
    runner: str
    description: str
    sha256: str | None
    size_bytes: int | None
    threads: int
    transcripts: tuple[str, ...]
    words: ErrorCounts | None
    characters: ErrorCounts | None
    agreement: float
    latency: Latency | None
    startup: Startup | None


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was said. clip: the last parts of its path. text: the reference, if there is one."""

    clip: str
    seconds: float
    text: str | None


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All systems on the same utterances in one run.

    task: what the model does; a classifier's transcripts are labels.
    busy_cores: what other programs used just before. audio_hash: sha256 over the decoded samples.
    baseline: the system that agreement refers to.
    problems: why the timings are not to be relied on; none means valid.
    """

    schema_version: int
    task: Task
    created: str
    device: Device
    versions: dict[str, str]
    threads: int
    busy_cores: float
    audio_hash: str
    utterances: tuple[Utterance, ...]
    baseline: str
    systems: tuple[SystemResult, ...]
    problems: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise UserError(
                f"bench report of schema {self.schema_version}, this version reads "
                f"{SCHEMA_VERSION}; run `myqasr bench` again"
            )
        names = [system.name for system in self.systems]
        if len(set(names)) != len(names) or self.baseline not in names:
            raise UserError(f"systems of a report need different names, got: {', '.join(names)}")

    @property
    def valid(self) -> bool:
        """Whether the timings can be relied on."""
        return not self.problems

    @property
    def audio_seconds(self) -> float:
        """Length of all utterances."""
        return sum(utterance.seconds for utterance in self.utterances)

    def system(self, name: str) -> SystemResult:
        """The result of one system; raises UserError listing the names there are."""
        for result in self.systems:
            if result.name == name:
                return result
        known = ", ".join(result.name for result in self.systems)
        raise UserError(f"no system {name!r} in this report; it has: {known}")

    def accuracy(self, name: str) -> float | None:
        """Share of the labelled utterances whose text is right as a whole; None when none is labelled."""
        pairs = [
            (normalize_text(utterance.text), normalize_text(transcript))
            for utterance, transcript in zip(
                self.utterances, self.system(name).transcripts, strict=True
            )
            if utterance.text is not None
        ]
        return sum(text == heard for text, heard in pairs) / len(pairs) if pairs else None

    def time_ratio(self, name: str, other: str) -> float | None:
        """Processing time of one system relative to another's; None when either wasn't timed."""
        latencies = self.system(name).latency, self.system(other).latency
        if latencies[0] is None or latencies[1] is None:
            return None
        return latencies[0].rtf / latencies[1].rtf


def save_report(report: BenchReport, path: Path) -> None:
    """Write the report as JSON, whole or not at all."""
    save_record(report, path)


def load_report(path: Path) -> BenchReport:
    """Read a report back; raises UserError when missing, damaged or of another version."""
    return load_record(path, BenchReport)


def timing_problems(
    systems: tuple[SystemResult, ...], threads: int, busy_cores: float, usable_cores: int
) -> tuple[str, ...]:
    """Why timings are not to be relied on, one line each."""
    problems = []
    if busy_cores + threads > usable_cores + 0.5:
        problems.append(
            f"other programs kept {busy_cores:.1f} of {usable_cores} cores busy before the run, "
            f"which wants {threads}; close them and run again"
        )
    for system in systems:
        latency = system.latency
        if latency is None:
            continue
        if system.threads != threads:
            problems.append(f"{system.name} ran on {system.threads} threads instead of {threads}")
        if latency.utterances < MIN_UTTERANCES:
            problems.append(
                f"{system.name}: {latency.utterances} utterances timed, {MIN_UTTERANCES} are needed"
            )
        if latency.repeats < MIN_REPEATS:
            problems.append(f"{system.name}: {latency.repeats} repeats, {MIN_REPEATS} are needed")
        if latency.spread > MAX_SPREAD:
            problems.append(
                f"{system.name}: timings spread {latency.spread:.2f}-fold (90 % over median), "
                f"{MAX_SPREAD} is the limit; close other programs and run again"
            )
    return tuple(problems)


def this_device() -> Device:
    """CPU, memory and operating system of this machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Device(
        cpu=_cpu_name(),
        machine=platform.machine(),
        cores=os.cpu_count() or 1,
        usable_cores=usable or 1,
        memory_bytes=int(psutil.virtual_memory().total),
        system=f"{platform.system()} {platform.release()}",
    )


def busy_cores_now() -> float:
    """Cores' worth of work that the machine is doing, over half a second in which this process sleeps."""
    return psutil.cpu_percent(interval=0.5) / 100 * (os.cpu_count() or 1)


def runtime_versions() -> dict[str, str]:
    """Version of Python and of each distribution that computes something here."""
    found = {"python": platform.python_version()}
    for name in (
        "myqasr",
        "torch",
        "executorch",
        "ai-edge-litert",
        "torchao",
        "transformers",
        "numpy",
    ):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Hardware") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
