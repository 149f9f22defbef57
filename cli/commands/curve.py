"""`myqasr curve`: what a budget buys, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.cli.terminal.output import console, print_json, say
from myqasr.cli.terminal.rules import listed

if TYPE_CHECKING:
    from myqasr.exporters.target import Target
    from myqasr.personalize.planning.plan import Plan, PlanRules, Profile
    from myqasr.personalize.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Point:
    """The best plan for one budget. expected_cost: in the profile's unit."""

    budget_bytes: int
    predicted_bytes: int
    mean_bits: float
    expected_cost: float


def run(
    run_folder: Path, target_name: str, budgets: str, steps: int, rules: PlanRules, as_json: bool
) -> None:
    """Solve for every budget and print the curve."""
    from myqasr.exporters.target import load_target
    from myqasr.personalize.run_folder import RunFolder

    points = curve_points(RunFolder(run_folder), load_target(target_name), budgets, steps, rules)
    if as_json:
        print_json(points)
    else:
        _print(points, target_name)


def curve_points(
    folder: RunFolder, target: Target, budgets: str, steps: int, rules: PlanRules
) -> list[Point]:
    """One point a budget. Raises UserError for a run without a profile or a budget out of range."""
    from myqasr.personalize import profiling as planning
    from myqasr.personalize.planning.exact import plan_mean_bits

    with folder.lock("`myqasr curve`", alone=False):
        profile = folder.load_costs()
        overhead_bytes = _overhead_bytes(folder, profile, target)
    sizes = planning.sizes_with(profile, target, overhead_bytes, rules)
    if budgets:
        wanted = [planning.budget_in_range(text, sizes, target.name) for text in listed(budgets)]
    else:
        wanted = equal_ratios(sizes.smallest_bytes, sizes.float_bytes, steps)
    plans = planning.curve(profile, target, sizes.overhead_bytes, wanted, rules)
    return [_point(plan, plan_mean_bits(profile, plan)) for plan in plans]


def equal_ratios(first: int, last: int, count: int) -> list[int]:
    """Budgets from `first` to `last`, each as many times the one before: most is decided at the small end."""
    ratio = (last / first) ** (1 / (count - 1))
    return [first, *(round(first * ratio**step) for step in range(1, count - 1)), last]


def _point(plan: Plan, bits: float) -> Point:
    return Point(plan.budget_bytes, plan.predicted_bytes, round(bits, 3), plan.expected_cost)


def _overhead_bytes(folder: RunFolder, profile: Profile, target: Target) -> int:
    """As measured by an export, else as the run's plan or the model itself lets expect."""
    from myqasr.personalize import profiling as planning

    measured = planning.known_overhead(folder, profile, target, say)
    if measured is not None:
        return measured
    if folder.plan(target.name).is_file():
        return folder.load_plan(target.name, profile).overhead_bytes
    from myqasr.personalize.adapted import run_model

    return target.overhead_bytes(run_model(folder))


def _print(points: list[Point], target: str) -> None:
    from rich.table import Table

    from myqasr.personalize.planning.budget import format_bytes

    table = Table(title=f"Best plans for {target}")
    for column in (
        "budget",
        "file",
        "bits a weight",
        "expected divergence",
        "against the row above",
    ):
        table.add_column(column, justify="right")
    before = None
    for point in points:
        gain = ""
        if before is not None and before.expected_cost > 0:
            gain = f"{point.expected_cost / before.expected_cost:.0%}"
        table.add_row(
            format_bytes(point.budget_bytes),
            f"{point.predicted_bytes:,}",
            f"{point.mean_bits:.2f}",
            f"{point.expected_cost:.2e}",
            gain,
        )
        before = point
    console.print(table)
