"""Tables of the TFLite benchmarks, for `benchmarks.render`."""

from typing import Any

from benchmarks.render.tables import table
from myqasr.personalize.planning.budget import format_bytes

Figures = Any


def tflite(figures: Figures) -> str:
    """Eight budgets on two runtimes, and one plan on three."""
    rows = []
    for model, targets in figures.items():
        for target, steps in targets.items() if model != "common plans" else ():
            errors = [abs(s["actual_bytes"] / s["predicted_bytes"] - 1) for s in steps]
            used = [s["actual_bytes"] / s["budget_bytes"] for s in steps]
            clips = sum(s["clips"] for s in steps)
            texts, own, tokens, frames = (
                sum(s[key] for s in steps)
                for key in ("same_text", "same_in_double", "same_token", "frames")
            )
            sizes = [s["actual_bytes"] for s in steps]
            rows.append(
                [
                    f"{model}, {target}",
                    f"{min(sizes):,} to {max(sizes):,}",
                    f"{100 * max(used):.2f} %",
                    f"{100 * max(errors):.2f} %",
                    f"{texts} of {clips}: {_percent(texts, clips)}",
                    _percent(own, clips),
                    _percent(tokens, frames),
                    f"{steps[0]['same_text']}, {steps[0]['same_in_double']}",
                ]
            )
    header = [
        *("model, target", "files of", "most of a budget", "worst prediction"),
        *("same text as the reference", "reference with itself in float64", "same best token"),
        "smallest file alone: same text, reference with itself",
    ]
    return "\n\n".join(
        [
            table(header, rows),
            *(_common_plan(plan) for plan in figures["common plans"]),
        ]
    )


def _common_plan(plan: Figures) -> str:
    """Who agrees with whom about one plan."""
    says = (
        f"One plan of the default model in {plan['budget_bytes']:,} bytes, {plan['mean_bits']:.1f} bits a "
        f"weight; all {plan['layers_equal']} layers' codes read back equal from both files:"
    )
    return "\n\n".join([says, *(_common_test(*test) for test in plan["tests"].items())])


def _common_test(group: str, test: Figures) -> str:
    """Word errors of one plan in several programs."""
    rows = []
    for name, found in test["systems"].items():
        value, low, high = (100 * found["more"][key] for key in ("value", "low", "high"))
        rows.append(
            [
                name,
                f"{100 * found['wer']:.2f} %",
                f"{value:+.2f} points ({low:+.2f} to {high:+.2f})",
                f"{found['same_text']} of {test['clips']}",
            ]
        )
    header = [f"{group}, {test['words']:,} words", "WER", "more than the reference"]
    return table([*header, "same text as the reference"], rows)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


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
