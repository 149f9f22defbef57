"""The section of docs/results.md that holds files on runners."""

from typing import Any

from benchmarks.render.tables import interval, table
from myqasr.personalize.planning.budget import format_bytes

Figures = Any


def runners(figures: Figures) -> str:
    """Every file on every runner, and how two runs of it agree."""
    parts = []
    for model, found in figures.items():
        first, _ = found["runs"]
        header = [
            "system", "bytes", "WER", "same text", "RTF", "p50", "p90", "load", "RSS added", "/ float",
            "/ int8",
        ]  # fmt: skip
        parts.append(
            f"### The {model} model: {found['clips']} clips, {found['seconds']:.0f} s, {found['threads']} "
            f"thread(s): `{found['command']}`\n\n"
            + table(header, [_runner_row(row) for row in first])
        )
        reasons = [
            f"\n- run {number}: {problem}"
            for number, problems in enumerate(found["problems"], 1)
            for problem in problems
        ]
        parts.append(
            "Timings are not valid:\n" + "".join(reasons) if reasons else "The timings are valid."
        )
        again = [
            [
                row["system"],
                *(f"{ratio:.3f}" for ratio in row["ratios"]),
                f"{100 * row['apart']:.1f} %",
                "marked invalid" if row["invalid"] else "valid",
            ]
            for row in found["repeats"]
        ]
        parts.append(
            "Time relative to torch float, in this run and in a second one:\n\n"
            + table(["system", "first run", "second run", "apart", "both"], again)
        )
        parts += [f"Left out: {name}: {reason}." for name, reason in found["skipped"].items()]
    return "\n\n".join(parts)


def _runner_row(row: Figures) -> list[str]:
    return [
        row["system"],
        "" if row["size_bytes"] is None else f"{row['size_bytes']:,}",
        "" if row["wer"] is None else f"{100 * row['wer']:.1f} %",
        f"{100 * row['agreement']:.0f} %",
        "" if row["rtf"] is None else f"{row['rtf']:.4f}",
        *(
            "" if row[key] is None else f"{row[key]:.1f} ms"
            for key in ("p50_ms", "p90_ms", "load_ms")
        ),
        "" if row["rss_bytes"] is None else format_bytes(row["rss_bytes"]),
        *("" if row[key] is None else interval(row[key]) for key in ("over_float", "over_int8")),
    ]
