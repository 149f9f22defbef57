"""`myqasr compare`: results side by side, and which differences are real."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.cli.terminal.output import console, print_json

if TYPE_CHECKING:
    from myqasr.runtime_bench.results.compare import Difference, Measured


def run(results: list[Path], against: str | None, as_json: bool) -> None:
    """Hold every measured system against one of them, by default the first result's first."""
    from myqasr.runtime_bench.results.compare import (
        checked_report,
        compare,
        measured_systems,
        result_file,
    )

    files = [result_file(path) for path in results]
    reports = [
        (_name(path), checked_report(file)) for path, file in zip(results, files, strict=True)
    ]
    systems = measured_systems(reports)
    base = _chosen(systems, against)
    differences = [compare(system, base) for system in systems if system is not base]
    if as_json:
        print_json({"results": [file.name for file in files], "differences": differences})
        return
    _print(base, {system.label: system for system in systems}, differences)


def _name(path: Path) -> str:
    """What to call a result: its run, or its own name."""
    if path.is_dir():
        return path.resolve().name
    return path.resolve().parent.parent.name if path.parent.name == "bench" else path.stem


def _chosen(systems: list[Measured], against: str | None) -> Measured:
    from myqasr.core.errors import UserError

    if against is None:
        return systems[0]
    for system in systems:
        if system.label == against:
            return system
    known = ", ".join(system.label for system in systems)
    raise UserError(f"no system {against!r} in these results; there are: {known}")


def _print(base: Measured, systems: dict[str, Measured], differences: list[Difference]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from myqasr.runtime_bench.page.figures import interval, points

    table = Table(title=f"against {base.label}", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("system", overflow="fold")
    for column in ("bytes", "WER", "difference (95 %)", "better/worse", "time (95 %)"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("so")
    table.add_row(base.label, *_own(base), "", "", "", "")
    for difference in differences:
        table.add_row(
            difference.system,
            *_own(systems[difference.system]),
            "" if difference.wer is None else points(difference.wer),
            "" if difference.wer is None else f"{difference.better_on}/{difference.worse_on}",
            "" if difference.time is None else interval(difference.time),
            _verdict(difference),
        )
    console.print(table)
    console.print(
        "difference: points of WER, paired bootstrap over the same utterances; better/worse: utterances. "
        "time: of one run, relative, from turns taken in the same run.",
        highlight=False,
        style="dim",
    )
    reasons = dict.fromkeys(each.time_problem for each in differences if each.time_problem)
    for reason in reasons:
        console.print(f"[yellow]times not valid:[/] {reason}", highlight=False)


def _own(system: Measured) -> tuple[str, str]:
    from myqasr.runtime_bench.page.figures import error_rate

    result = system.result
    size = "" if result.size_bytes is None else f"{result.size_bytes:,}"
    return size, error_rate(result.words)


def _verdict(difference: Difference) -> str:
    """In words: what is real."""
    words = []
    if difference.wer is not None and difference.wer_differs:
        words.append("fewer errors" if difference.wer.value < 0 else "more errors")
    elif difference.wer is not None:
        words.append("WER not told apart")
    if difference.time is not None and difference.time_problem is not None:
        words.append("times not valid")
    elif difference.time is not None and difference.time_differs:
        words.append("faster" if difference.time.value < 1 else "slower")
    elif difference.time is not None:
        words.append("times not told apart")
    return ", ".join(words)
