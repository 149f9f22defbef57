"""The result of one benchmark run as a frozen record, one JSON file. No torch in here.

Result files are only added: a file is named by its time and content, holds the sha256 of its content, and is
never written again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.reading import json_object, reading
from myqasr.core.storage import converter, record_hash, save_record, unsealed
from myqasr.runtime_bench.devices.android import RemoteDevice
from myqasr.runtime_bench.devices.machine import Device, Load
from myqasr.runtime_bench.results.protocol import Latency, TimingOptions
from myqasr.speech.normalizers import DEFAULT_NORMALIZER, normalizer
from myqasr.speech.scoring import ErrorCounts

SCHEMA_VERSION = 3
Task = Literal["transcription", "classification"]


@dataclass(frozen=True, slots=True)
class Startup:
    """One system in a fresh process that has its runtime imported but no model loaded yet.

    load_ms: file to model in memory, the median of `loads`. first_inference_ms: on the longest input,
    after the first load. baseline_rss_bytes: resident memory before loading. peak_rss_bytes: highest from
    then on to the end of that inference.
    """

    load_ms: float
    first_inference_ms: float
    baseline_rss_bytes: int
    peak_rss_bytes: int
    loads: int = 1

    @property
    def model_rss_bytes(self) -> int:
        """Peak memory that loading and running the model added to the runtime's own."""
        return max(self.peak_rss_bytes - self.baseline_rss_bytes, 0)


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """The exported file that a system ran: what its manifest said of it, and its hash when it was opened."""

    file: str
    target: str
    sha256: str
    size_bytes: int
    mean_bits: float
    plan_hash: str
    profile_hash: str


@dataclass(frozen=True, slots=True)
class TokenFlips:
    """Best tokens that aren't the baseline's. tokens: output frames, or tokens written, compared."""

    flipped: int
    tokens: int

    @property
    def share(self) -> float:
        """Of the tokens compared."""
        return self.flipped / self.tokens if self.tokens else 0.0


@dataclass(frozen=True, slots=True)
class OperationTime:
    """One operation of the program. kernel: what the runtime says it executed. ms: of one inference."""

    name: str
    kernel: str
    calls: int
    ms: float


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One system on all utterances.

    transcripts: as decoded, in the order of the report's utterances. words, characters: None when the
    clips have no reference texts. agreement: share of utterances with the same transcript as the
    report's baseline. not_worse: share of the labelled utterances with no more word errors than the
    baseline has there. flips: against the baseline. latency: of the model alone; end_to_end: from audio
    file to text; None when not timed. seconds: the model's timings on the report's `turns`. startup: None
    when not measured. operations: where the runtime tells. device: where it isn't the report's.
    """

    name: str
    runner: str
    description: str
    artifact: MeasuredFile | None
    sha256: str | None
    size_bytes: int | None
    threads: int
    transcripts: tuple[str, ...]
    words: ErrorCounts | None
    characters: ErrorCounts | None
    agreement: float
    not_worse: float | None
    flips: TokenFlips
    latency: Latency | None
    end_to_end: Latency | None
    seconds: tuple[float, ...]
    startup: Startup | None
    operations: tuple[OperationTime, ...] = ()
    device: RemoteDevice | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was said. clip: the last parts of its path. text: the reference, if there is one."""

    clip: str
    seconds: float
    text: str | None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the figures come from. command: as it was typed, paths shortened.

    weights_hash: of the float model. audio_hash: over the decoded samples; text_hash: over the references.
    """

    command: str
    created: str
    versions: dict[str, str]
    model: str
    weights_hash: str
    audio_hash: str
    text_hash: str


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All systems on the same utterances in one run.

    task: what the model does; a classifier's transcripts are labels. cores: those pinned to; none where
    the system can't pin. turns: number of the utterance that was timed, [turn]. baseline: the system that
    agreement, flips and `not_worse` refer to. problems: why the timings are not to be relied on.
    normalizer: what words and characters were compared after.
    """

    schema_version: int
    task: Task
    provenance: Provenance
    device: Device
    threads: int
    cores: tuple[int, ...]
    load: Load
    timing: TimingOptions
    utterances: tuple[Utterance, ...]
    turns: tuple[int, ...]
    baseline: str
    systems: tuple[SystemResult, ...]
    problems: tuple[str, ...]
    normalizer: str = DEFAULT_NORMALIZER

    def __post_init__(self) -> None:
        names = [system.name for system in self.systems]
        if len(set(names)) != len(names) or self.baseline not in names:
            raise UserError(f"systems of a report need different names, got: {', '.join(names)}")
        for system in self.systems:
            if len(system.transcripts) != len(self.utterances) or (
                system.seconds and len(system.seconds) != len(self.turns)
            ):
                raise UserError(
                    f"{system.name} has {len(system.transcripts)} transcripts and {len(system.seconds)} "
                    f"timings in a report of {len(self.utterances)} utterances and {len(self.turns)} turns"
                )

    @property
    def valid(self) -> bool:
        """Whether the timings can be relied on."""
        return not self.problems

    @property
    def threads_in_words(self) -> str:
        """E.g. `2 pinned threads`."""
        kind = "pinned " if self.cores else ""
        return f"{self.threads} {kind}thread{'' if self.threads == 1 else 's'}"

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
        normalize = normalizer(self.normalizer)
        pairs = [
            (normalize(utterance.text), normalize(transcript))
            for utterance, transcript in zip(
                self.utterances, self.system(name).transcripts, strict=True
            )
            if utterance.text is not None
        ]
        return sum(text == heard for text, heard in pairs) / len(pairs) if pairs else None


def add_report(report: BenchReport, folder: Path) -> Path:
    """Write the report as a new file of the folder, whole or not at all; files there stay as they are."""
    path = report_path(report, folder)
    if not path.exists():  # else it is this very report
        save_record(report, path)
    return path


def report_path(report: BenchReport, folder: Path) -> Path:
    """Where in a folder a report is kept: named by its time and content."""
    stamp = report.provenance.created.replace("-", "").replace(":", "").replace("+0000", "Z")
    return folder / f"{stamp}-{record_hash(report)[:8]}.json"


def load_report(path: Path) -> BenchReport:
    """Read a report back.

    Raises UserError when it is missing or damaged, of another version (both are named), or when its content
    isn't what was written (both hashes are named).
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    mend = "run `myqasr bench` again"
    what, which = "is not a bench report", "name a file of a run's bench folder"
    with reading(path, what, which):
        stored = json_object(path, what, which)
        version = stored["schema_version"]
        if version != SCHEMA_VERSION:
            raise BrokenFileError(
                f"{path} is a bench report of schema {version}, this version reads {SCHEMA_VERSION}; {mend}"
            )
        return converter.structure(unsealed(stored, path, mend), BenchReport)


def latest_reports(folder: Path) -> list[Path]:
    """Result files of a run's bench folder, newest first; raises UserError when there is none."""
    found = sorted(folder.glob("*.json"), reverse=True)
    if not found:
        raise UserError(
            f"{folder} holds no results; make one with `myqasr bench {folder.parent} --data CLIPS`"
        )
    return found
