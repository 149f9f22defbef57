"""Figures as people read them, the same on the page and in the terminal. No torch in here."""

from myqasr.core.statistics import Interval
from myqasr.speech.scoring import ErrorCounts


def percent(share: float | None) -> str:
    """A share with one decimal; nothing for None."""
    return "" if share is None else f"{100 * share:.1f} %"


def speed(factor: float) -> str:
    """How many times faster than real time; slow ones with a decimal."""
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"


def points(wer: Interval) -> str:
    """A difference of rates in points, with its bounds."""
    return f"{100 * wer.value:+.1f} ({100 * wer.low:+.1f} to {100 * wer.high:+.1f})"


def interval(ratio: Interval) -> str:
    """A ratio with its bounds."""
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def edits(counts: ErrorCounts | None) -> str:
    """Substitutions, insertions and deletions."""
    if counts is None:
        return ""
    return f"{counts.substitutions} / {counts.insertions} / {counts.deletions}"


def error_rate(counts: ErrorCounts | None) -> str:
    """WER or CER; nothing without reference texts."""
    return "" if counts is None else percent(counts.rate)
