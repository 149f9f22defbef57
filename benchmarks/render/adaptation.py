"""The section of docs/results.md on models that learned one person's speech."""

from typing import Any

from benchmarks.render.tables import table

Figures = Any
NAMES = {
    "float": "float",
    "whole": "float, whole window",
    "many": "what many people taught it",
    "adapted": "adapted float",
    "teacher": "the teacher",
    "other": "another speaker's adapted float",
    "everyone": "mean of all others' adapted weights",
    "file": "adapted file",
    "plain": "unadapted file",
}


def adaptation(figures: Figures) -> str:
    """All speakers together, one row for each system; then each speaker."""
    rows = [
        [
            NAMES[row],
            f"{100 * found['mean_wer']:.2f} %",
            "{:+.1f} % ({:+.1f} to {:+.1f})".format(*(100 * x for x in found["relative"])),
            f"{found['worst_points']:+.2f}",
        ]
        for row, found in figures["rows"].items()
    ]
    header = ["system", "mean WER", "relative to float (95 %, speakers)", "worst speaker, points"]
    shown = [row for row in NAMES if any(row in x["errors"] for x in figures["speakers"].values())]
    columns = [NAMES[row] for row in shown]
    by_speaker = [_speaker(name, found, shown) for name, found in figures["speakers"].items()]
    learned = ["minutes", "labelled", "epochs", "strength", "held-back nats a token"]
    return "\n\n".join(
        [
            f"{figures['model']}, taught by {figures['teacher']}; {figures['tune_clips']} unlabelled clips "
            f"to learn from, up to {figures['test_clips']} others to test on; files of "
            f"{figures['budget']} of float; words after normalizer {figures['normalizer']}.",
            table(header, rows),
            _own(figures.get("own_over_other")),
            table(
                ["speaker", "words", *columns, "adapted - float, points (95 %)", *learned],
                by_speaker,
            ),
        ]
    )


def _own(bounds: list[float] | None) -> str:
    if bounds is None:
        return ""
    value, low, high = bounds
    return (
        f"WER of one's own adapted weights over another speaker's: {value:.3f} "
        f"({low:.3f} to {high:.3f}, 95 % over speakers)."
    )


def _speaker(name: str, found: Figures, shown: list[str]) -> list[str]:
    rates = [
        f"{100 * found['errors'][row] / found['words']:.2f} %" if row in found["errors"] else ""
        for row in shown
    ]
    more = found["more_than_float"].get("adapted")
    told = found["adapting"]
    difference = (
        ""
        if more is None
        else f"{100 * more['value']:+.2f} ({100 * more['low']:+.2f} to {100 * more['high']:+.2f})"
    )
    learned = (
        [""] * 5
        if told is None
        else [
            f"{told['seconds'] / 60:.1f}",
            f"{told['labelled']} of {told['clips']}",
            str(told["epochs"]),
            f"{told['strength']:g}",
            "{:.3f} to {:.3f}".format(*told["loss"]),
        ]
    )
    return [name, str(found["words"]), *rates, difference, *learned]
