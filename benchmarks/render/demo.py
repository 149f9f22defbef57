"""The sections of docs/results.md that `myqasr demo` makes, and the README's table."""

from typing import Any

from benchmarks.render.tables import table
from myqasr.personalize.planning.budget import format_bytes

Figures = Any


def demo(figures: Figures) -> str:
    """One embedded user, all files."""
    rows = [
        [
            row["system"],
            "" if row["size_bytes"] is None else f"{row['size_bytes']:,}",
            "" if row["mean_bits"] is None else f"{row['mean_bits']:.2f}",
            f"{100 * row['wer']:.1f} %",
            _points(row.get("more_than_float")),
            f"{100 * row['agreement']:.0f} %",
            f"{row['rtf']:.4f}",
        ]
        for row in figures
    ]
    header = ["system", "file bytes", "bits a weight", "WER", "more than float, points (95 %)"]
    problems = [f"\n\nTimings of this run are not valid: {p}." for p in figures[0]["problems"]]
    return table([*header, "same text as float", "RTF"], rows) + "".join(problems)


def _points(bounds: list[float] | None) -> str:
    return (
        "" if bounds is None else "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * b for b in bounds))
    )


def users(figures: Figures) -> str:
    """Every embedded user, all files."""
    names = list(next(iter(figures.values())))
    return table(
        ["user", *names],
        [
            [
                name,
                *(
                    f"{100 * systems[system]['wer']:.1f} % ({format_bytes(systems[system]['size_bytes'])})"
                    if system in systems
                    else ""
                    for system in names
                ),
            ]
            for name, systems in figures.items()
        ],
    )
