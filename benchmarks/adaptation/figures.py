"""Word errors by speaker and row, and what each row has more than float."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.speakers import ratio
from myqasr.core.statistics import rate_difference
from myqasr.personalize.adapting.adapt import Adaptation
from myqasr.speech.scoring import utterance_word_errors

Heard = Mapping[str, Mapping[str, Sequence[str]]]
"""speaker -> row -> texts."""


def figures(
    heard: Heard,
    texts: Mapping[str, Sequence[str]],
    rows: Sequence[str],
    told: Callable[[str], Adaptation],
    normalize: Callable[[str], str],
) -> dict[str, object]:
    """Word errors by speaker and row, and what each row has more than float.

    texts: speaker -> what was really said. told: what adapting to a speaker did.
    """
    speakers, rates = {}, {}
    for name, by_row in heard.items():
        counted = {
            row: utterance_word_errors(texts[name], said, normalize) for row, said in by_row.items()
        }
        lengths = [each.reference_length for each in counted["float"]]
        errors = {row: [each.errors for each in counts] for row, counts in counted.items()}
        rates[name] = {row: sum(each) / sum(lengths) for row, each in errors.items()}
        speakers[name] = {
            "words": sum(lengths),
            "errors": {row: sum(each) for row, each in errors.items()},
            "more_than_float": {
                row: asdict(rate_difference(each, errors["float"], lengths))
                for row, each in errors.items()
                if row != "float"
            },
            "adapting": _told(told(name)) if "adapted" in by_row else None,
        }
    return {
        "rows": {
            row: over_speakers(rates, row) for row in rows if all(row in r for r in rates.values())
        },
        "own_over_other": against_others(rates),
        "speakers": speakers,
    }


def against_others(rates: dict[str, dict[str, float]]) -> list[float] | None:
    """WER of speakers' own adapted weights over that of another speaker's, with bounds."""
    if not all({"adapted", "other"} <= set(each) for each in rates.values()):
        return None
    own, others = ([each[row] for each in rates.values()] for row in ("adapted", "other"))
    return list(ratio(own, others))


def over_speakers(rates: dict[str, dict[str, float]], row: str) -> dict[str, object]:
    """Mean WER of the speakers, and how much of float's it is less, with bounds of resampled speakers."""
    ours = np.array([each[row] for each in rates.values()])
    floats = np.array([each["float"] for each in rates.values()])
    relative = [bound - 1 for bound in ratio(ours.tolist(), floats.tolist())]
    return {
        "mean_wer": float(ours.mean()),
        "relative": relative,
        "worst_points": float(100 * (ours - floats).max()),
    }


def _told(found: Adaptation) -> dict[str, object]:
    return {
        "labelled": found.labelled,
        "clips": found.clips,
        "seconds": found.seconds,
        "left_out": found.left_out,
        "epochs": found.epochs,
        "strength": found.choice.strength,
        "loss": [found.choice.before, found.choice.after],
        "words": [found.words_before.rate, found.words_after.rate],
        "took_seconds": found.took_seconds,
    }
