"""What the page is about: a run's newest result, its plans, and earlier results on the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.core.storage import record_hash
from myqasr.personalize.adapted import adaptation_of
from myqasr.personalize.adapting.describe import in_words
from myqasr.personalize.planning.plan import Plan, Profile
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.page.charts import FilePoint, LayerRow
from myqasr.runtime_bench.results.compare import Difference, Measured, checked_report, compare
from myqasr.runtime_bench.results.report import (
    BenchReport,
    SystemResult,
    latest_reports,
    load_report,
)


@dataclass(frozen=True, slots=True)
class Story:
    """own: names of the systems that ran files of the run's plans, in the order of the report.

    plans: by target, of the files that were measured. differences: every other system against the baseline.
    earlier: files of earlier results on the same clips. adapting: sentences on what learning from a teacher
    did; none without one.
    """

    name: str
    result_name: str
    report: BenchReport
    profile: Profile
    plans: dict[str, Plan]
    own: tuple[str, ...]
    differences: dict[str, Difference]
    earlier: tuple[FilePoint, ...]
    adapting: tuple[str, ...] = ()


def tell(folder: RunFolder) -> Story:
    """Gather what is known of a run.

    Raises UserError when there is no result, it is of another version, or a file was changed since: both
    hashes are named.
    """
    newest, *older = latest_reports(folder.bench)
    report = checked_report(newest)
    profile = folder.load_costs()
    plans = {target: folder.load_plan(target, profile) for target in folder.planned_targets()}
    hashes = {record_hash(plan): target for target, plan in plans.items()}
    own = tuple(
        system.name
        for system in report.systems
        if system.artifact is not None and system.artifact.plan_hash in hashes
    )
    measured = {
        system.artifact.target
        for system in report.systems
        if system.name in own and system.artifact is not None
    }
    adaptation = adaptation_of(folder)
    base = Measured(report.baseline, report, report.system(report.baseline))
    return Story(
        name=folder.name,
        result_name=newest.name,
        report=report,
        profile=profile,
        plans={target: plan for target, plan in plans.items() if target in measured},
        own=own,
        differences={
            system.name: compare(Measured(system.name, report, system), base)
            for system in report.systems
            if system.name != report.baseline
        },
        earlier=_earlier_files(older, report),
        adapting=() if adaptation is None else tuple(in_words(adaptation)),
    )


def file_points(story: Story) -> list[FilePoint]:
    """Files with a WER: those of the newest result, then those of earlier ones that are other files."""
    points = [
        _point(system, system.name in story.own)
        for system in story.report.systems
        if system.size_bytes is not None and system.words is not None
    ]
    return [*points, *story.earlier]


def layer_table(plan: Plan, profile: Profile) -> list[LayerRow]:
    """The plan's layers in the model's order, with their cost at the precision that would cost most."""
    rows = []
    for layer in profile.layers:
        spec = plan.layers.get(layer.shape.name)
        if spec is None:
            continue
        at = max(layer.costs, key=lambda label: layer.costs[label]) if layer.costs else ""
        cost = layer.costs[at] if layer.costs else 0.0
        rows.append(
            LayerRow(layer.shape.name, spec.label, spec.bits, layer.shape.weights, cost, at)
        )
    return rows


def _point(system: SystemResult, own: bool, earlier: bool = False) -> FilePoint:
    words, size_bytes = system.words, system.size_bytes
    if words is None or size_bytes is None:
        raise UserError(f"{system.name} has no word errors or no file")
    return FilePoint(system.name, size_bytes, words.rate, own, earlier)


def _earlier_files(paths: Sequence[Path], report: BenchReport) -> tuple[FilePoint, ...]:
    """Other files that were measured before on the same clips; results of other versions are left out."""
    known = {system.sha256 for system in report.systems}
    found: list[FilePoint] = []
    for path in paths:
        try:
            before = load_report(path)
        except UserError:
            continue
        one, other = report.provenance, before.provenance
        if (one.audio_hash, one.text_hash, one.weights_hash, report.normalizer) != (
            other.audio_hash,
            other.text_hash,
            other.weights_hash,
            before.normalizer,
        ):
            continue
        for system in before.systems:
            if system.sha256 in known or system.artifact is None or system.words is None:
                continue
            known.add(system.sha256)
            found.append(_point(system, own=False, earlier=True))
    return tuple(found)
