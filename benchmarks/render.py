"""docs/results.md and the README's table from docs/results/*.json: python -m benchmarks.render"""

from collections.abc import Callable
from typing import Any

from benchmarks.render_tflite import tflite, tflite_base
from benchmarks.results import RESULTS, ROOT, load_result, table
from personalize.budget import format_bytes
from speech.storage import write_bytes

Figures = Any


def demo(figures: Figures) -> str:
    """One embedded user, four files."""
    rows = [
        [
            row["system"],
            "" if row["size_bytes"] is None else f"{row['size_bytes']:,}",
            "" if row["mean_bits"] is None else f"{row['mean_bits']:.2f}",
            f"{100 * row['wer']:.1f} %",
            f"{100 * row['agreement']:.0f} %",
            f"{row['rtf']:.4f}",
        ]
        for row in figures
    ]
    header = ["system", "file bytes", "bits a weight", "WER", "same text as float", "RTF"]
    problems = [f"\n\nTimings of this run are not valid: {p}." for p in figures[0]["problems"]]
    return table(header, rows) + "".join(problems)


def users(figures: Figures) -> str:
    """Every embedded user, four files each."""
    return table(
        ["user", "float", "uniform 8 bit", "uniform 4 bit", "personalised"],
        [
            [
                name,
                *(
                    f"{100 * systems[system]['wer']:.1f} % ({format_bytes(systems[system]['size_bytes'])})"
                    for system in ("float", "uniform 8 bit", "uniform 4 bit", "personalised")
                ),
            ]
            for name, systems in figures.items()
        ],
    )


def real_speakers(figures: Figures) -> str:
    """Four reserved LibriSpeech speakers."""
    rows = [
        [
            f"{row['speaker']} ({row['gender']}), {row['clips']} clips, {row['seconds']:.0f} s",
            row["system"],
            "" if row["size_bytes"] is None else f"{row['size_bytes']:,}",
            f"{100 * row['wer']:.1f} % ({row['word_errors']}/{row['words']})",
            f"{100 * row['agreement']:.0f} %",
            f"{row['rtf']:.4f}" if row["rtf"] is not None and not row["problems"] else "",
        ]
        for row in figures
    ]
    return table(["speaker", "system", "file bytes", "WER", "same text as float", "RTF"], rows)


def budgets(figures: Figures) -> str:
    """Twenty budgets from the smallest plan to the float size."""
    rows = [
        [
            f"{row['budget_bytes']:,}",
            f"{row['predicted_bytes']:,}",
            f"{row['actual_bytes']:,}",
            f"{row['actual_bytes'] - row['predicted_bytes']:+,}",
            f"{100 * row['actual_bytes'] / row['budget_bytes']:.2f} %",
            f"{row['mean_bits']:.2f}",
            f"{row['expected_cost']:.2e}",
            f"{row['gap']:.0e}",
            str(row["attempts"]),
        ]
        for row in figures
    ]
    header = ["budget", "predicted", "written", "error", "used", "bits", "nats a frame", "gap"]
    return table([*header, "exports"], rows)


def base_model(figures: Figures) -> str:
    """A 94 M parameter model through the whole chain on a CPU."""

    def cost(name: str) -> list[str]:
        command = figures[name]
        return [
            f"`myqasr {name}`",
            f"{command['wall_seconds']:.0f} s",
            f"{command['cpu_seconds']:.0f} s",
            format_bytes(command["peak_rss_bytes"]),
        ]

    latency = [
        [name, f"{milliseconds:.0f} ms", f"{figures['ratio_to_torch_float'][name]:.3f}"]
        for name, milliseconds in figures["median_ms"].items()
    ]
    return "\n\n".join(
        [
            f"{figures['parameters']:,} parameters, {figures['clips']} clips of "
            f"{figures['clip_seconds']:.0f} s together, {figures['threads']} threads. File: "
            f"{figures['size_bytes']:,} bytes of {figures['budget_bytes']:,} allowed, "
            f"{figures['mean_bits']:.2f} bits a weight.",
            table(
                ["command", "wall clock", "CPU", "peak memory"],
                [cost("personalize"), cost("export")],
            ),
            "Latency on 4 s of audio, all in one interleaved run:",
            table(["system", "median", "ratio to torch float"], latency),
        ]
    )


def sensitivity(figures: Figures) -> str:
    """Costs from drawn labels against brute force."""
    rows = [
        [
            row["product"],
            str(row["draws"]),
            f"{row['all']:.3f}",
            f"{row['within_4_bit']:.3f}",
            f"{row['seconds']:.1f}",
        ]
        for row in figures["methods"]
    ]
    header = ["product is squared", "label draws", "Spearman, all", "within 4 bit", "seconds"]
    return (
        f"{figures['pairs']} (layer, precision) pairs, {figures['clips']} clips of {figures['user']}; "
        f"brute force took {figures['brute_force_seconds']:.0f} s.\n\n" + table(header, rows)
    )


def allocation(figures: Figures) -> str:
    """Methods at equal bytes, by true divergence."""
    rows = [
        [
            f"{row['size_bytes']:,}",
            row["method"],
            f"{row['mean_bits']:.2f}",
            f"{row['kl']:.2e}",
            interval(row["ours_over_this"]),
            f"{row['expected']:.2e}",
            f"{100 * row['word_errors'] / row['words']:.1f} %",
        ]
        for row in figures["rows"]
    ]
    header = ["bytes", "method", "bits", "true nats a frame", "ours / this", "expected", "WER"]
    return f"{len(figures['speakers'])} speakers.\n\n" + table(header, rows)


def interval(ratio: list[float]) -> str:
    """A ratio with its interval."""
    mean, low, high = ratio
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def personalisation(figures: Figures) -> str:
    """Own, somebody else's and generic bits and codes."""
    rows = [
        [row["what"], f"{row['kl']:.2e}", interval(row["own_over_this"])] for row in figures["rows"]
    ]
    return (
        f"{len(figures['speakers'])} speakers, {figures['tune_seconds']:.0f} s of speech each.\n\n"
        + table(["the file has", "true nats a frame", "own / this"], rows)
    )


def measuring_cost(figures: Figures) -> str:
    """What measuring costs in forward passes."""
    once = figures["forward"]
    costs = figures["measure"] - figures["rounding"] - figures["observe"]
    rows = [
        ["one float forward pass over the clips", f"{once:.2f}", "1"],
        [
            "ranges and input moments",
            f"{figures['observe']:.2f}",
            f"{figures['observe'] / once:.1f}",
        ],
        ["costs of all layers at all precisions", f"{costs:.2f}", f"{costs / once:.1f}"],
        ["codes (GPTQ), whatever the clips", f"{figures['rounding']:.2f}", ""],
        ["brute force", "", f"{figures['pairs']}"],
    ]
    return (
        f"{figures['parameters'] / 1e6:.0f} M parameters, {figures['clips']} clips of "
        f"{figures['clip_seconds']:.0f} s, {figures['threads']} thread(s), {figures['pairs']} pairs of layer "
        "and precision, one draw of labels a clip.\n\n"
        + table(["", "seconds", "forward passes"], rows)
    )


def solving(figures: Figures) -> str:
    """Time of the exact allocation."""
    seconds = sorted(row["seconds"] for row in figures)
    gap = max(row["gap"] for row in figures)
    return (
        f"400 layers with 12 precisions each, {len(figures)} random instances: median "
        f"{seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s, largest gap {gap:.0e}."
    )


def models(figures: Figures) -> str:
    """Every model class through every target."""
    rows = []
    for row in figures:
        files = [files[bits] for files in row["targets"].values() for bits in ("8", "4")]
        rows.append(
            [
                row["name"],
                f"`{row['architecture']}`",
                f"{row['parameters'] / 1e6:.1f} M",
                format_bytes(row["float_bytes"]),
                *(
                    f"{format_bytes(file['size_bytes'])}, {file['parity_db']:.0f} dB"
                    for file in files
                ),
            ]
        )
    timed = [
        f"`myqasr personalize` on {row['name']}, 2 clips, 2 threads: "
        f"{row['personalize']['wall_seconds']:.0f} s, "
        f"{format_bytes(row['personalize']['peak_rss_bytes'])} at its peak."
        for row in figures
        if "personalize" in row
    ]
    targets = [f"{name}, {bits} bit" for name in figures[0]["targets"] for bits in (8, 4)]
    header = ["model", "class", "parameters", "float", *targets]
    return "\n\n".join([table(header, rows), *timed])


SECTIONS: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "demo": ("One embedded user: `make demo`", demo),
    "users": ("Every embedded user", users),
    "real_speakers": ("Four real speakers the model never heard", real_speakers),
    "budgets": ("Budgets are kept to the byte", budgets),
    "base_model": ("A model of wav2vec2-base size, random weights", base_model),
    "tflite": ("TFLite files on both runtimes", tflite),
    "tflite_base": ("TFLite files of wav2vec2-base size, random weights", tflite_base),
    "sensitivity": ("Are the costs right?", sensitivity),
    "measuring_cost": ("What measuring costs", measuring_cost),
    "solving": ("What solving costs", solving),
    "allocation": ("What the plan and the codes are worth: embedded users", allocation),
    "allocation_real": ("The same on real speakers the model never heard", allocation),
    "personalisation": (
        "Does it matter whose recordings they are? Embedded users",
        personalisation,
    ),
    "personalisation_real": ("The same on real speakers", personalisation),
}

BEGIN, END = "<!-- demo table: python -m benchmarks.render -->", "<!-- end -->"

INTRODUCTION = """# Results

Every table is made by the command above it and rendered from `docs/results/*.json` by
`python -m benchmarks.render`. Latencies are medians of interleaved runs; compare ratios, not milliseconds.
"""


def main() -> None:
    parts = [INTRODUCTION]
    for name, (title, render) in SECTIONS.items():
        if not (RESULTS / f"{name}.json").is_file():
            continue
        result = load_result(name)
        device = result["device"]
        parts.append(
            f"## {title}\n\n`{result['command']}` on {device['cpu']}, {device['usable_cores']} cores, "
            f"torch {result['versions']['torch']}, executorch {result['versions']['executorch']}.\n\n"
            f"{render(result['figures'])}\n"
        )
        notes = RESULTS / f"{name}.notes.md"
        if notes.is_file():
            parts.append(notes.read_text().strip() + "\n")
    write_bytes(ROOT / "docs" / "results.md", "\n".join(parts).encode())
    fill_readme()
    if (RESULTS / "models.json").is_file():
        result = load_result("models")
        notes = (RESULTS / "models.notes.md").read_text().strip()
        page = f"# Models\n\n{notes}\n\n`{result['command']}`\n\n{models(result['figures'])}\n"
        write_bytes(ROOT / "docs" / "models.md", page.encode())


def fill_readme() -> None:
    """Put the demo's table between the markers in README.md."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    filled = f"{before}{BEGIN}\n{demo(load_result('demo')['figures'])}\n{END}{after}"
    write_bytes(readme, filled.encode())


if __name__ == "__main__":
    main()
