"""The table of ONNX files beside ONNX Runtime's own quantisers, for `benchmarks.render`."""

from typing import Any

from benchmarks.render.tables import table

Figures = Any


def onnx(figures: Figures) -> str:
    """Systems on the same clips, in the same runtime."""
    rows = [
        [
            row["system"],
            f"{row['bytes']:,}" if row["bytes"] else "",
            f"{row['divergence']:.4f}" if row["tokens"] else "",
            f"{100 * row['wer']:.1f} %",
            f"{row['same_text']} of {figures['clips']}",
        ]
        for row in figures["rows"]
    ]
    header = ["system", "file bytes", "divergence, nats a token", "WER", "same text as float"]
    return table(header, rows)
