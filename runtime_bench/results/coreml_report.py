"""What `bench_macos.py` found on a Mac, as a frozen record. No torch in here."""

from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.core.storage import load_record
from myqasr.runtime_bench.results.protocol import Latency, summarize

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """One golden input on one set of units.

    max_error: of the logits, against the float32 reference. same_best: share of frames whose best token is
    the reference's. predict_ms: of each prediction after the first. heard_error: of what the function
    `encode` gives, for models that have one; then a prediction is all of a text.
    """

    name: str
    audio_seconds: float
    max_error: float
    same_best: float
    predict_ms: tuple[float, ...]
    heard_error: float | None = None


@dataclass(frozen=True, slots=True)
class PlacedOperation:
    """Where Core ML means to run an operation, and its share of the estimated cost if it has one."""

    kind: str
    output: str
    device: str | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class UnitResult:
    """One choice of compute units: `ALL`, `CPU_AND_NE`, `CPU_AND_GPU` or `CPU_ONLY`."""

    units: str
    load_ms: tuple[float, ...]
    golden: tuple[GoldenResult, ...]
    operations: tuple[PlacedOperation, ...]

    @property
    def latency(self) -> Latency:
        """As other runners' latencies are summed up."""
        turns = [
            (place, ms / 1e3) for place, each in enumerate(self.golden) for ms in each.predict_ms
        ]
        return summarize(
            [place for place, _ in turns],
            [seconds for _, seconds in turns],
            [each.audio_seconds for each in self.golden],
        )


@dataclass(frozen=True, slots=True)
class MacReport:
    """A package on one Mac. package_sha256: as in manifest.json, computed from the files that ran."""

    schema_version: int
    created: str
    machine: str
    system: str
    versions: dict[str, str]
    package: str
    package_sha256: str
    units: tuple[UnitResult, ...]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise UserError(
                f"report of schema {self.schema_version}, this version reads {SCHEMA_VERSION}; take "
                "bench_macos.py from a new `myqasr export`"
            )


def load_mac_report(path: Path) -> MacReport:
    """Raises UserError when the file is missing or something else."""
    return load_record(path, MacReport, seal=False)
