"""Which differences between measured systems are real. No torch in here.

Word errors are compared on the same utterances, whoever measured them when; times only through a system that
was measured in the same run as each of the two, as minutes and machines differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.core.statistics import Interval, quotient, time_ratio
from myqasr.core.storage import sha256_of
from myqasr.runtime_bench.results.quality import labelled_errors, wer_difference
from myqasr.runtime_bench.results.report import (
    BenchReport,
    SystemResult,
    latest_reports,
    load_report,
)

MAX_RATIO_ERROR = 0.1
"""A time ratio whose bounds are further than this from it isn't valid."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One system against another. wer: of the first minus the other's; better_on, worse_on: utterances.

    wer is None without reference texts. time: how long the first takes relative to the other; None when there
    is nothing to compare. time_problem: why the ratio isn't to be relied on; None when it is.
    """

    system: str
    against: str
    wer: Interval | None
    better_on: int
    worse_on: int
    time: Interval | None
    time_problem: str | None
    size_ratio: float | None

    @property
    def wer_differs(self) -> bool:
        """Whether the paired bootstrap says that the word error rates differ."""
        return self.wer is not None and self.wer.excludes(0.0)

    @property
    def time_differs(self) -> bool:
        """Whether one is faster than the other, on timings that can be relied on."""
        return self.time is not None and self.time_problem is None and self.time.excludes(1.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """A system of a report under a name that is its own among all that are compared."""

    label: str
    report: BenchReport
    result: SystemResult


def time_ratios(report: BenchReport, against: str) -> dict[str, Interval]:
    """Time of every timed system relative to one of them, by name; empty when that one wasn't timed."""
    base = report.system(against)
    if not base.seconds:
        return {}
    return {
        system.name: time_ratio(system.seconds, base.seconds)
        for system in report.systems
        if system.seconds
    }


def result_file(path: Path) -> Path:
    """A result file as given, or the newest of a run folder; raises UserError when there is none."""
    return latest_reports(path / "bench")[0] if path.is_dir() else path


def checked_report(path: Path) -> BenchReport:
    """A result whose exported files are still those that were measured.

    A result that was moved away from its run speaks for itself. Raises UserError naming both hashes when a
    file of the run was changed since, and as `load_report`.
    """
    report = load_report(path)
    run = path.parent.parent
    for system in report.systems:
        artifact = system.artifact
        if artifact is None:
            continue
        files = [run / folder / artifact.file for folder in ("exports", "controls")]
        found = {file: sha256_of(file) for file in files if file.exists()}
        if found and artifact.sha256 not in found.values():
            file, now = next(iter(found.items()))
            raise UserError(
                f"{path} measured {file} when its sha256 was {artifact.sha256}; now it is {now}; "
                "run `myqasr bench` again"
            )
    return report


def measured_systems(reports: Sequence[tuple[str, BenchReport]]) -> list[Measured]:
    """All systems of the reports, labelled; those of torch only once, they are the same model.

    reports: with the name of their run. Raises UserError naming both hashes when they are about other
    recordings, texts or models, and both normalizers when their words were counted after different ones.
    """
    (_, first), *others = reports
    for name, report in others:
        for what in ("audio_hash", "text_hash", "weights_hash"):
            one, other = getattr(first.provenance, what), getattr(report.provenance, what)
            if one != other:
                raise UserError(
                    f"{reports[0][0]} and {name} can't be compared: their {what} is {one} and {other}; "
                    "bench the same model on the same clips"
                )
        if first.normalizer != report.normalizer:
            raise UserError(
                f"{reports[0][0]} and {name} can't be compared: their words were counted after normalizers "
                f"{first.normalizer} and {report.normalizer}; bench both with one --normalizer"
            )
    found: dict[str, Measured] = {}
    for name, report in reports:
        for result in report.systems:
            known = found.get(result.name)
            if known is not None and _same_in_torch(known.result, result):
                continue
            label = result.name if known is None else f"{result.name} of {name}"
            if label in found:
                label = f"{label}, {report.provenance.created}"
            found[label] = Measured(label, report, result)
    return list(found.values())


def _same_in_torch(one: SystemResult, other: SystemResult) -> bool:
    """Whether two results are of one torch model."""
    return one.artifact is other.artifact is None and one.transcripts == other.transcripts


def compare(one: Measured, other: Measured) -> Difference:
    """Hold one system against another of the same or another report on the same clips."""
    wer, better, worse = _errors(one, other)
    time, problem = _time(one, other)
    sizes = one.result.size_bytes, other.result.size_bytes
    return Difference(
        system=one.label,
        against=other.label,
        wer=wer,
        better_on=better,
        worse_on=worse,
        time=time,
        time_problem=problem,
        size_ratio=None if sizes[0] is None or not sizes[1] else sizes[0] / sizes[1],
    )


def _errors(one: Measured, other: Measured) -> tuple[Interval | None, int, int]:
    """Difference in WER, and on how many utterances the first has fewer and more errors."""
    found = labelled_errors(one.report, one.result.name)
    expected = labelled_errors(other.report, other.result.name)
    if one.report.utterances != other.report.utterances:
        # Another run may have read the clips in another order; name and text tell them apart.
        places = {(each.clip, each.text): i for i, each in enumerate(one.report.utterances)}
        keys = [(each.clip, each.text) for each in other.report.utterances]
        if places.keys() != set(keys) or len(set(keys)) < len(keys):
            return None, 0, 0
        expected = {places[keys[place]]: errors for place, errors in expected.items()}
    if not found:
        return None, 0, 0
    better = sum(found[place].errors < expected[place].errors for place in found)
    worse = sum(found[place].errors > expected[place].errors for place in found)
    return wer_difference(found, expected), better, worse


def _time(one: Measured, other: Measured) -> tuple[Interval | None, str | None]:
    """Ratio of times and what stands against it."""
    if not one.result.seconds or not other.result.seconds:
        return None, None
    if one.report is other.report:
        ratio = time_ratio(one.result.seconds, other.result.seconds)
        problems = [*one.report.problems]
    else:
        anchor = _anchor(one.report, other.report)
        if anchor is None:
            return None, None
        ratio = quotient(
            time_ratio(one.result.seconds, one.report.system(anchor).seconds),
            time_ratio(other.result.seconds, other.report.system(anchor).seconds),
        )
        problems = [*one.report.problems, *other.report.problems]
        for what in ("device", "threads"):
            if getattr(one.report, what) != getattr(other.report, what):
                problems.append(f"the two ran on another {what}")
    return ratio, ratio_problem(ratio, problems)


def ratio_problem(ratio: Interval, problems: Sequence[str]) -> str | None:
    """Why a ratio isn't to be relied on: what its runs say, or bounds further than 10 % off."""
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return problems[0] + more
    off = max(ratio.high / ratio.value, ratio.value / ratio.low) - 1
    if off > MAX_RATIO_ERROR:
        return (
            f"too noisy: the ratio is only known to {off:.0%}, {MAX_RATIO_ERROR:.0%} is the limit"
        )
    return None


def _anchor(one: BenchReport, other: BenchReport) -> str | None:
    """A timed system without a file that both have: the same model in torch."""
    timed = {system.name for system in other.systems if system.seconds and not system.artifact}
    for system in one.systems:
        if system.name in timed and system.seconds and system.artifact is None:
            return system.name
    return None
