"""The sections of docs/results.md that hold plans for real Whisper against others at equal bytes."""

from typing import Any

from benchmarks.render.tables import interval, table

Figures = Any


def recognisers(figures: Figures) -> str:
    """One row for each method and budget."""
    rows = []
    for row in sorted(figures["rows"], key=lambda row: row["size_bytes"]):
        factors = row["expected_over_true"]
        rows.append(
            [
                row["method"],
                f"{row['budget_bytes'] / 1e6:.1f} MB",
                f"{row['size_bytes']:,}",
                f"{row['true']:.4f}",
                "" if row["ours_over_this"] is None else interval(row["ours_over_this"]),
                f"{min(factors):.2f} to {max(factors):.2f}" if factors else "",
                f"{row['inside']} of {len(factors)}" if factors else "",
            ]
        )
    header = [
        *("plan", "budget", "bytes", "true nats a token", "exact, GPTQ over this (95 %)"),
        *("expected over true, by speaker", "true within the bounds given"),
    ]
    return (
        f"{len(figures['speakers'])} speakers ({', '.join(figures['speakers'])}), fitted on up to 16 clips, "
        f"{figures['clips']} others each.\n\n" + table(header, rows)
    )


def containers(figures: Figures) -> str:
    """Clips with the same text, for each pair of containers."""
    clips = figures["clips"]
    rows = [[row["one"], row["other"], f"{row['same']} of {clips}"] for row in figures["rows"]]
    speakers = ", ".join(figures["speakers"])
    return f"{clips} clips of {speakers}.\n\n" + table(["one", "other", "same text"], rows)
