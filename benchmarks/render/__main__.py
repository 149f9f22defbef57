"""docs/results.md and the README's table from docs/results/*.json: python -m benchmarks.render"""

from collections.abc import Callable
from typing import Any

from benchmarks.render.adaptation import adaptation
from benchmarks.render.decisions import (
    allocation,
    measuring_cost,
    personalisation,
    refining,
    rounding,
    sensitivity,
    solving,
)
from benchmarks.render.demo import demo, users
from benchmarks.render.onnx import onnx
from benchmarks.render.peers import ggml_files, peers
from benchmarks.render.recognisers import containers, recognisers
from benchmarks.render.runners import runners
from benchmarks.render.tables import table
from benchmarks.render.tflite import tflite, tflite_base
from benchmarks.results import RESULTS, ROOT, load_result
from myqasr.core.placing import write_bytes
from myqasr.personalize.planning.budget import format_bytes

Figures = Any


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


def arm64(figures: Figures) -> str:
    """ARM64 kernels against the host's: each file on each CPU model."""
    fp32 = {
        (row["target"], row["cpu"]): row["instructions_per_second"]
        for row in figures
        if row["file"] == "fp32"
    }
    rows = []
    for row in figures:
        cells = [f"{row['file']} ({row['target']})", row["cpu"], f"{row['size_bytes']:,}"]
        base = fp32.get((row["target"], row["cpu"]))
        rows.append(
            [
                *cells,
                f"{row['same_text']} of {row['clips']}",
                f"{row['same_tokens']:,} of {row['frames']:,}",
                f"{row['largest_difference']:.2g}",
                f"{row['instructions_per_second'] / 1e6:.1f}",
                "" if base is None else f"{row['instructions_per_second'] / base:.2f}",
                f"{100 * row['same_length']:.0f} %" if "same_length" in row else "",
                f"{100 * row['repeats_within']:.4f} %",
            ]
        )
    header = [
        *("file", "emulated CPU", "file bytes", "same text", "same tokens", "largest difference"),
        *("M instructions a second of audio", "of fp32's", "same length again", "repeats within"),
    ]
    return table(header, rows)


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


def coreml(figures: Figures) -> str:
    """Core ML's and XNNPACK's files at the same budgets."""
    groups: dict[tuple[int, str], list[Figures]] = {}
    for row in figures:
        groups.setdefault((row["budget_bytes"], row["target"]), []).append(row)
    lines = []
    for (budget, target), rows in sorted(groups.items()):
        count = len(rows)
        wrong, words = (sum(row[key] for row in rows) for key in ("word_errors", "words"))
        lines.append(
            [
                target,
                f"{budget:,}",
                f"{sum(row['size_bytes'] for row in rows) // count:,}",
                f"{sum(row['mean_bits'] for row in rows) / count:.2f}",
                f"{sum(row['kl'] for row in rows) / count:.1e}",
                f"{100 * wrong / words:.1f} % ({wrong}/{words})",
            ]
        )
    packages = [row for row in figures if row["worst"] is not None]
    return (
        f"{len({row['user'] for row in figures})} embedded users. Texts of {len(packages)} packages that "
        f"differ from their torch reference's: {sum(row['other_texts'] for row in packages)}; largest error "
        f"of a logit: {max(row['worst'] for row in packages):.1e}.\n\n"
        + table(["target", "budget", "bytes", "bits", "true nats a frame", "WER"], lines)
    )


def coreml_base(figures: Figures) -> str:
    """A base-sized model's package."""
    rows = [[name, f"{seconds:.1f}"] for name, seconds in figures["cpu_seconds"].items()]
    return (
        f"{figures['parameters']:,} parameters, random precisions of the whole menu but fp32, "
        f"{figures['size_bytes']:,} bytes. Every layer read back equal to its codes; largest error of a "
        f"logit on 1 s of audio {figures['worst']:.1e} (logits up to {figures['largest_logit']:.1f}).\n\n"
        + table(["", "CPU seconds"], rows)
    )


def coreml_files(figures: Figures) -> str:
    """How exactly bytes are foretold, and what listed lengths cost."""
    plans = figures["plans"]
    exact = sum(row["weights"] == row["weights_foretold"] for row in plans)
    sizes = [row["weights"] for row in plans]
    programs = [row["program"] for row in plans]
    containers = [row["pte_container"] for row in plans if row["pte_container"] is not None]
    rows = []
    for key in dict.fromkeys((row["lengths"], row["fill"]) for row in figures["lengths"]):
        those = [row for row in figures["lengths"] if (row["lengths"], row["fill"]) == key]
        wrong, words, clips, other = (
            sum(row[what] for row in those)
            for what in ("word_errors", "words", "clips", "other_texts")
        )
        rows.append(
            [
                *key,
                f"{those[0]['size_bytes']:,}",
                f"{sum(row['added'] for row in those) / len(those):.0%}",
                f"{sum(row['kl'] for row in those) / len(those):.1e}",
                f"{100 * wrong / words:.1f} % ({wrong}/{words})",
                f"{other} of {clips}",
            ]
        )
    return (
        f"{len(plans)} random plans of the embedded model, read back equal: weight.bin, {min(sizes):,} to "
        f"{max(sizes):,} bytes beside its constant part, is as foretold to the byte in {exact}. What is "
        f"foretold of model.mlmodel is off by at most {max(programs) - min(programs):,} bytes. Around the "
        f"package in a .pte lie {min(containers):,} to {max(containers):,} bytes.\n\n"
        + table(
            ["lengths", "filled with", "bytes", "added", "true nats a frame", "WER", "other texts"],
            rows,
        )
    )


SECTIONS: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "demo": ("One embedded user: `make demo`", demo),
    "users": ("Every embedded user", users),
    "real_speakers": ("Four real speakers the model never heard", real_speakers),
    "adaptation": ("Whisper tiny.en after learning one person's speech", adaptation),
    "peers_tiny_en": ("Whisper tiny.en beside whisper.cpp, CTranslate2 and ONNX Runtime", peers),
    "peers_base": ("Whisper base beside whisper.cpp, CTranslate2 and ONNX Runtime", peers),
    "onnx": ("Whisper tiny.en for ONNX Runtime, beside its own quantisers", onnx),
    "ggml_tiny_en": ("Our files for whisper.cpp beside its own quantiser's", ggml_files),
    "recognisers_tiny_en": (
        "Plans for Whisper tiny.en: at equal bytes, and as expected",
        recognisers,
    ),
    "recognisers_base": ("Plans for Whisper base: at equal bytes, and as expected", recognisers),
    "containers": ("Whisper tiny.en in 8 bits: the same text from every container?", containers),
    "budgets": ("Budgets are kept to the byte", budgets),
    "runners": ("Every file on every runner, twice", runners),
    "base_model": ("A model of wav2vec2-base size, random weights", base_model),
    "arm64": ("ARM64 kernels, emulated", arm64),
    "coreml": ("Core ML's palettes beside XNNPACK's integers", coreml),
    "coreml_files": ("Core ML's files: bytes and lengths", coreml_files),
    "coreml_base": ("A model of wav2vec2-base size in Core ML", coreml_base),
    "tflite": ("TFLite files on both runtimes", tflite),
    "tflite_base": ("TFLite files of wav2vec2-base size, random weights", tflite_base),
    "sensitivity": ("Are the costs right?", sensitivity),
    "measuring_cost": ("What measuring costs", measuring_cost),
    "solving": ("What solving costs", solving),
    "rounding": ("How codes, scales and ranges are best chosen", rounding),
    "refining": ("Is it worth asking the model itself?", refining),
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

Plans in these tables were made with costs of codes on the very clips that the codes were made for. Since then
every clip says the costs of codes that never heard it, and codes trust few rows less
([how](how-it-works.md#codes)); they are being made again.
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
