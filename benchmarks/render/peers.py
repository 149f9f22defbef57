"""The sections of docs/results.md that hold our files beside whisper.cpp, CTranslate2 and ONNX Runtime."""

from typing import Any

from benchmarks.render.tables import interval, table

Figures = Any


def peers(figures: Figures) -> str:
    """One row for each system."""
    against = list(figures["rows"][0]["time_over"])
    header = [
        *(
            "system",
            "bytes",
            "WER (95 %)",
            "more than float, points",
            "same text",
            "RTF",
            "RTF by CPU time",
        ),
        *(f"time / {name}" for name in against),
        *("peak memory", "of that before loading"),
    ]
    clips = figures["rows"][0]["clips"]
    parts = [
        f"{len(figures['speakers'])} speakers ({', '.join(figures['speakers'])}), {clips} clips of "
        f"{figures['seconds']:.0f} s together, {figures['threads']} thread(s), words after normalizer "
        f"{figures['normalizer']}.",
        table(header, [_row(row, against) for row in figures["rows"]]),
    ]
    parts += [f"Timings of this run are not valid: {problem}." for problem in figures["problems"]]
    versions = dict.fromkeys(row["version"] for row in figures["rows"])
    parts.append(f"Versions: {', '.join(versions)}.")
    return "\n\n".join(parts)


def ggml_files(figures: Figures) -> str:
    """Our files for whisper.cpp and its own quantiser's, by rising bytes."""
    systems = sorted(figures["rows"], key=lambda row: row["size_bytes"] or 0)
    theirs = {row["system"].split()[-1]: row for row in systems if row["system"][0] == "w"}
    lines = []
    for row in systems:
        other = theirs.get(row["system"].split()[-1], row)
        ratio = "" if other is row else f"{row['nats'][0] / other['nats'][0]:.2f}"
        lines.append(
            [
                row["system"],
                "" if row["size_bytes"] is None else f"{row['size_bytes']:,}",
                "{:.4f} ({:.4f} to {:.4f})".format(*row["nats"]),
                ratio,
                f"{100 * row['other_tokens']:.1f} %",
                f"{100 * row['word_errors'] / row['words']:.1f} % ({row['word_errors']}/{row['words']})",
                f"{100 * row['same_text']:.0f} %",
            ]
        )
    header = ["system", "bytes", "nats a token (95 %)", "of whisper.cpp's own", "other tokens"]
    return (
        f"Speakers {', '.join(figures['speakers'])}, {figures['clips']} clips of "
        f"{figures['seconds']:.0f} s together, words after normalizer {figures['normalizer']}.\n\n"
        + table([*header, "WER", "same text"], lines)
    )


def _row(row: Figures, against: list[str]) -> list[str]:
    more = [100 * bound for bound in row["more_than_float"]]
    return [
        row["system"],
        "" if row["size_bytes"] is None else f"{row['size_bytes']:,.0f}",
        "{:.1f} % ({:.1f} to {:.1f})".format(*(100 * bound for bound in row["wer"])),
        "{:+.1f} ({:+.1f} to {:+.1f})".format(*more),
        f"{100 * row['same_text']:.0f} %",
        f"{row['rtf']:.3f}",
        f"{row['cpu_rtf']:.3f}",
        *(interval(row["time_over"][name]) if name in row["time_over"] else "" for name in against),
        f"{row['peak_rss_bytes'] / 1e6:.0f} MB",
        f"{row['baseline_rss_bytes'] / 1e6:.0f} MB",
    ]
