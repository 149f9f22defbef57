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
    files, load = figures["files"], figures["load"]
    written = [
        [
            f"{target} mixed",
            f"{cost['wall_seconds']:.0f} s",
            f"{cost['cpu_seconds']:.0f} s",
            format_bytes(cost["peak_rss_bytes"]),
        ]
        for target, cost in figures["write_mixed"].items()
    ]
    rows = [
        [
            name,
            f"{row['size_bytes']:,}",
            f"{row['median_ms']:.0f} ms",
            f"{row['p90_ms']:.0f} ms",
            f"{row['load_ms']:.0f} ms",
            format_bytes(row["added_rss_bytes"]),
        ]
        for name, row in files.items()
    ]
    header = ["file", "bytes", "4 s of audio", "90 % within", "load", "RAM"]
    return "\n\n".join(
        [
            "Loading the model, converting it, putting the integers in, writing and reading back, in a "
            "process of its own:",
            table(["file", "wall clock", "CPU", "peak memory"], written),
            f"{min(row['runs'] for row in files.values())} runs of each file in turns, {figures['threads']} "
            f"pinned thread(s); other programs took {load['others_share']:.0%} of the cores, the virtual "
            f"machine's host {load['stolen_share']:.0%}. Load time and memory (beyond the runtime's) are "
            "those of processes of their own:",
            table(header, rows),
        ]
    )
