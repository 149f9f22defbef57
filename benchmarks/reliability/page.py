"""docs/reliability.md from the counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from myqasr.core.placing import write_bytes

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
NOTES = PAGE.parent / "results" / "reliability.notes.md"

TITLES = {
    "kills": "Killed at random moments (SIGKILL), then run again",
    "signals": "Asked to end at random moments (SIGTERM, SIGINT), then run again",
    "points": "Killed at every point where a file or name changes, then run again",
    "damage": "Damaged and swapped state, read by all that reads it",
    "odd": "Odd input",
    "disks": "Full disks",
    "races": "Two commands at once on one run",
}


def write_page(found: dict[str, list[dict[str, Any]]]) -> None:
    """All tables there are figures for, after the notes."""
    parts = [
        "<!-- rendered by python -m benchmarks.reliability from docs/results/reliability.json -->",
        NOTES.read_text().strip(),
    ]
    for name, title in TITLES.items():
        if name in found:
            parts.append(f"## {title}\n\n{_table(found[name])}")
    write_bytes(PAGE, ("\n\n".join(parts) + "\n").encode())


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, with a last row of sums where there are several."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [[_cell(row.get(column, "")) for column in columns] for row in rows]
    if len(rows) > 1:
        sums = [
            f"{sum(row.get(column, 0) for row in rows):,}"
            if isinstance(rows[0][column], int)
            else ""
            for column in columns
        ]
        lines.append(["sum", *sums[1:]])
    align = [":---" if isinstance(rows[0][column], str) else "---:" for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, align, *lines))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
