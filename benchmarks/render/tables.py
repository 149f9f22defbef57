"""Markdown tables and figures with bounds."""

from collections.abc import Sequence


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is text, the rest are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def interval(ratio: Sequence[float]) -> str:
    """A ratio with its interval."""
    mean, low, high = ratio
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"
