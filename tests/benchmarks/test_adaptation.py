"""The table of adapted models: rates are of all words, bounds of resampled speakers, every cell is filled."""

import pytest

from benchmarks.adaptation.__main__ import parsed
from benchmarks.adaptation.figures import over_speakers
from benchmarks.methods.labels import figures
from benchmarks.render.adaptation import adaptation

SPEAKER = {
    "words": 200,
    "errors": {"float": 20, "adapted": 15},
    "more_than_float": {"adapted": {"value": -0.025, "low": -0.05, "high": 0.001}},
    "adapting": {
        "labelled": 30,
        "clips": 36,
        "seconds": 240.0,
        "left_out": {"unsure": 6},
        "epochs": 3,
        "strength": 0.75,
        "loss": [0.3, 0.2],
        "words": [0.1, 0.08],
        "took_seconds": 300.0,
    },
}


def test_what_is_less_than_float_is_of_the_mean_and_the_worst_speaker_is_named():
    rates = {"a": {"float": 0.10, "adapted": 0.08}, "b": {"float": 0.05, "adapted": 0.055}}
    found = over_speakers(rates, "adapted")
    value, low, high = found["relative"]  # type: ignore[misc]
    assert value == pytest.approx(-0.1)
    assert low == pytest.approx(-0.2)
    assert high == pytest.approx(0.1)
    assert found["worst_points"] == pytest.approx(0.5)


def test_the_table_has_a_row_for_each_system_and_speaker():
    options = parsed([])
    rates = {"libri-1": {"float": 0.1, "adapted": 0.075}}
    text = adaptation(
        {
            "model": options.model,
            "teacher": options.teacher,
            "normalizer": options.normalizer,
            "tune_clips": options.tune,
            "test_clips": options.test,
            "budget": options.budget,
            "rows": {row: over_speakers(rates, row) for row in ("float", "adapted")},
            "speakers": {"libri-1": SPEAKER},
        }
    )
    assert "| adapted float | 7.50 % | -25.0 % (-25.0 to -25.0) | -2.50 |" in text
    assert "| libri-1 | 200 | 10.00 % | 7.50 % | -2.50 (-5.00 to +0.10) | 4.0 | 30 of 36 |" in text


def test_labels_are_counted_by_the_teachers_confidence():
    def clip(confidence: float, teacher: str) -> dict[str, object]:
        return {
            "spoken": "a b c d",
            "teacher": teacher,
            "teacher confidence": confidence,
            "teacher@10": teacher,
            "teacher@10 confidence": confidence,
            "slow": teacher,
            "student": "a b c x",
        }

    found = figures([clip(-0.1, "a b c d"), clip(-0.4, "x y c d")])
    low, high = found["by_confidence"]  # type: ignore[misc]
    assert (low["clips"], low["teacher"], low["student"]) == (1, 0.5, 0.25)
    assert (high["clips"], high["teacher"], high["student"]) == (1, 0.0, 0.25)
    assert found["kept"]["confidence"]["0.6"] == [0.0, 0.25]  # type: ignore[index]
