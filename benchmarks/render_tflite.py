"""Tables of the TFLite benchmarks, for `benchmarks.render`."""

from typing import Any

from benchmarks.tables import table
from personalize.budget import format_bytes

Figures = Any


def tflite(figures: Figures) -> str:
    """Eight budgets on two runtimes, and one plan on three."""
    rows = []
    for model, targets in figures.items():
        for target, steps in targets.items() if model != "common plan" else ():
            errors = [abs(s["actual_bytes"] / s["predicted_bytes"] - 1) for s in steps]
            used = [s["actual_bytes"] / s["budget_bytes"] for s in steps]
            same, clips = sum(s["same_text"] for s in steps), sum(s["clips"] for s in steps)
            sizes = [s["actual_bytes"] for s in steps]
            rows.append(
                [
                    f"{model}, {target}",
                    f"{min(sizes):,} to {max(sizes):,}",
                    f"{100 * max(used):.2f} %",
                    f"{100 * max(errors):.2f} %",
                    f"{same:,} of {clips:,}",
                ]
            )
    common = figures["common plan"]
    systems = [
        [name, f"{100 * found['wer']:.2f} %", f"{found['same_text']} of {common['clips']}"]
        for name, found in common["systems"].items()
    ]
    header = ["model, target", "files of", "most of a budget", "worst prediction"]
    return "\n\n".join(
        [
            table([*header, "same text as the reference"], rows),
            f"One plan of the default model; all {common['layers_equal']} layers' codes read back equal from "
            "both files:",
            table(["system", "WER", "same text as the reference"], systems),
        ]
    )


def tflite_base(figures: Figures) -> str:
    """Base-sized files on LiteRT beside ExecuTorch's."""
    rows = [
        [
            name,
            f"{row['size_bytes']:,}",
            f"{row['median_ms']:.0f} ms",
            f"{row['load_ms']:.0f} ms",
            format_bytes(row["added_rss_bytes"]),
        ]
        for name, row in figures["files"].items()
    ]
    cost = figures["write_mixed"]
    header = ["file", "bytes", "4 s of audio", "load", "RAM"]
    return (
        f"{figures['threads']} thread; other programs took {figures['others_share']:.0%} of the machine. "
        f"The mixed LiteRT file was written and read back in {cost['wall_seconds']:.0f} s "
        f"({cost['cpu_seconds']:.0f} s of CPU) and {format_bytes(cost['peak_rss_bytes'])} of memory.\n\n"
        + table(header, rows)
    )
