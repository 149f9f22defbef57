"""Figures that stand for many timings or many utterances, and how far they can be trusted. No torch in here.

Trimmed mean: Wilcox, "Introduction to Robust Estimation and Hypothesis Testing". Paired bootstrap of error
rates: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP
2004. Moving blocks: Künsch, "The jackknife and the bootstrap for general stationary observations", 1989.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError

RESAMPLES = 2_000
COVERAGE = 0.95
TRIM = 0.2

Numbers = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds that hold 95 % of its resamples."""

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether the bounds lie on one side of `value`: the difference from it is real."""
        return value < self.low or value > self.high


def trimmed_mean(values: Numbers, trim: float = TRIM) -> float:
    """Mean of what is left when a share `trim` of the values is dropped at either end."""
    if len(values) == 0 or not 0 <= trim < 0.5:
        raise UserError(f"no mean of {len(values)} values without {trim} of them at either end")
    return float(_trimmed_means(np.asarray(values, np.float64)[None], trim)[0])


def quantile(values: Numbers, share: float) -> float:
    """The value that a share of the values lies below, linear between neighbours."""
    if len(values) == 0:
        raise UserError("no quantile of no values")
    return float(np.quantile(np.asarray(values, np.float64), share))


def time_ratio(times: Numbers, base: Numbers) -> Interval:
    """How long one system takes relative to another: times [turn] of both on the same turns.

    The trimmed mean of the turns' logarithmic ratios, so a disturbance that hits one turn hits no quantile.
    Resampled in blocks of neighbouring turns, as a machine's moods last longer than one.
    """
    if len(times) != len(base) or len(times) == 0:
        raise UserError(f"{len(times)} timings can't be held against {len(base)}")
    logarithms = np.log(np.asarray(times, np.float64) / np.asarray(base, np.float64))
    resampled = _trimmed_means(logarithms[_blocks(len(logarithms))], TRIM)
    low, high = _bounds(resampled)
    value = trimmed_mean(logarithms)
    # A bound that passes the estimate itself would be odd; resamples of few turns can do that.
    return Interval(math.exp(value), math.exp(min(low, value)), math.exp(max(high, value)))


def rate_difference(errors: Numbers, base: Numbers, lengths: Numbers) -> Interval:
    """Difference of two error rates on the same utterances: edits of both and reference lengths, [utterance].

    Positive: the first makes more errors. Whole utterances are resampled, both systems' together.
    """
    if not len(errors) == len(base) == len(lengths) or not sum(lengths) > 0:
        raise UserError(
            f"{len(errors)} and {len(base)} utterances' errors can't be compared over "
            f"{sum(lengths):g} reference words in {len(lengths)}"
        )
    more = np.asarray(errors, np.float64) - np.asarray(base, np.float64)
    words = np.asarray(lengths, np.float64)
    value = float(more.sum() / words.sum())
    picks = np.random.default_rng(0).integers(0, len(more), (RESAMPLES, len(more)))
    resampled_words = words[picks].sum(axis=1)
    kept = resampled_words > 0
    low, high = _bounds(more[picks].sum(axis=1)[kept] / resampled_words[kept])
    return Interval(value, min(low, value), max(high, value))


def quotient(one: Interval, other: Interval) -> Interval:
    """Ratio of two ratios that were measured apart; their relative errors add as squares."""
    value = one.value / other.value
    down = math.hypot(math.log(one.value / one.low), math.log(other.high / other.value))
    up = math.hypot(math.log(one.high / one.value), math.log(other.value / other.low))
    return Interval(value, value * math.exp(-down), value * math.exp(up))


def _trimmed_means(rows: NDArray[np.float64], trim: float) -> NDArray[np.float64]:
    """Trimmed mean of each row."""
    count = rows.shape[1]
    cut = int(trim * count)
    means: NDArray[np.float64] = np.sort(rows, axis=1)[:, cut : count - cut].mean(axis=1)
    return means


def _blocks(count: int) -> NDArray[np.int64]:
    """Indices [resample, count]: random runs of about the square root of `count` neighbours, in a row."""
    length = math.isqrt(count)
    pieces = -(-count // length)
    starts = np.random.default_rng(0).integers(0, count - length + 1, (RESAMPLES, pieces))
    runs = starts[:, :, None] + np.arange(length)
    return runs.reshape(RESAMPLES, -1)[:, :count]


def _bounds(resampled: NDArray[np.float64]) -> tuple[float, float]:
    outside = (1 - COVERAGE) / 2
    low, high = np.quantile(resampled, [outside, 1 - outside])
    return float(low), float(high)
