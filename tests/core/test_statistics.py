"""Means, quantiles and intervals: what must hold for any timings and any errors."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from myqasr.core.errors import UserError
from myqasr.core.statistics import (
    Interval,
    quantile,
    quotient,
    rate_difference,
    time_ratio,
    trimmed_mean,
)
from myqasr.runtime_bench.results.protocol import summarize

seconds = st.floats(1e-5, 1e3, allow_nan=False)
timings = st.lists(seconds, min_size=1, max_size=60)
few = settings(max_examples=40, deadline=None)


@few
@given(timings)
def test_trimmed_mean_is_scipys(values):
    assert trimmed_mean(values) == pytest.approx(stats.trim_mean(values, 0.2), rel=1e-9)


@few
@given(timings, st.floats(0, 0.49))
def test_trimmed_mean_lies_between_the_extremes_and_ignores_the_order(values, trim):
    mean = trimmed_mean(values, trim)
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)
    assert mean == pytest.approx(trimmed_mean(values[::-1], trim))


@few
@given(st.lists(seconds, min_size=10, max_size=60), st.floats(1e3, 1e9))
def test_one_wild_timing_in_ten_cannot_move_the_trimmed_mean_out_of_the_others(values, wild):
    mean = trimmed_mean([*values[1:], wild])
    assert mean <= max(values[1:]) * (1 + 1e-9)


@few
@given(timings)
def test_quantiles_rise(values):
    found = [quantile(values, share) for share in (0.0, 0.5, 0.9, 0.99, 1.0)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (min(values), max(values))


@few
@given(st.lists(st.tuples(st.integers(0, 3), seconds), min_size=1, max_size=40))
def test_figures_of_a_system_scale_with_its_times_and_keep_their_order(turns):
    which, times = zip(*turns, strict=True)
    lengths = [1.0, 2.0, 3.0, 4.0]
    one = summarize(which, times, lengths)
    assert one.median_ms <= one.p90_ms <= one.p99_ms
    assert one.rtf * one.speed == pytest.approx(1)
    double = summarize(which, [2 * each for each in times], lengths)
    assert double.rtf == pytest.approx(2 * one.rtf)
    assert double.trimmed_mean_ms == pytest.approx(2 * one.trimmed_mean_ms)
    assert (double.spread, double.drift) == (pytest.approx(one.spread), pytest.approx(one.drift))


@few
@given(timings, st.floats(0.1, 10))
def test_a_system_that_always_takes_so_many_times_as_long_has_that_ratio_for_certain(
    values, factor
):
    ratio = time_ratio([factor * each for each in values], values)
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((factor, factor, factor))


@few
@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=40))
def test_ratios_are_inverses_of_each_other_and_lie_within_their_bounds(pairs):
    one, other = zip(*pairs, strict=True)
    there, back = time_ratio(one, other), time_ratio(other, one)
    assert there.low <= there.value <= there.high
    assert there.value == pytest.approx(1 / back.value, rel=1e-6)


def test_drift_that_hits_both_leaves_the_ratio_and_its_bounds_alone():
    draw = np.random.default_rng(0)
    drift = np.linspace(1, 3, 200)  # three times slower at the end
    base = drift * np.exp(draw.normal(0, 0.05, 200))
    slower = 1.2 * drift * np.exp(draw.normal(0, 0.05, 200))
    ratio = time_ratio(slower, base)
    assert ratio.value == pytest.approx(1.2, rel=0.02)
    assert 1.15 < ratio.low < ratio.high < 1.25
    assert ratio.excludes(1.0)
    assert not time_ratio(base * np.exp(draw.normal(0, 0.05, 200)), base).excludes(1.0)


def test_bounds_hold_the_true_ratio_as_often_as_they_say_even_when_noise_comes_in_spells():
    draw, inside, trials = np.random.default_rng(1), 0, 100
    for _ in range(trials):
        spells = np.repeat(draw.normal(0, 0.1, 20), 5)  # five turns long
        times = 1.1 * np.exp(spells + draw.normal(0, 0.02, 100))
        ratio = time_ratio(times, np.ones(100))
        inside += ratio.low <= 1.1 <= ratio.high
    assert inside >= 85


@few
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 20)), min_size=1))
def test_rate_differences_are_antisymmetric_and_zero_for_the_same_errors(rows):
    one, other, lengths = zip(*rows, strict=True)
    there, back = rate_difference(one, other, lengths), rate_difference(other, one, lengths)
    assert there.value == pytest.approx((sum(one) - sum(other)) / sum(lengths))
    assert there.value == -back.value
    assert there.low == pytest.approx(-back.high, abs=0.02 + 0.5 * (there.high - there.low))
    assert rate_difference(one, one, lengths) == Interval(0, 0, 0)


def test_a_consistent_difference_is_real_and_one_lucky_utterance_is_not():
    lengths = [10] * 40
    assert rate_difference([2] * 40, [1] * 40, lengths).excludes(0)
    assert not rate_difference([1] * 39 + [2], [1] * 40, lengths).excludes(0)
    half = [2, 0] * 20
    assert not rate_difference(half, [1] * 40, lengths).excludes(0)


@few
@given(st.floats(0.1, 10), st.floats(1, 2), st.floats(0.1, 10), st.floats(1, 2))
def test_a_quotient_is_no_surer_than_either_of_its_parts(one, wide, other, broad):
    assume(wide > 1 + 1e-9 or broad > 1 + 1e-9)
    first, second = (
        Interval(one, one / wide, one * wide),
        Interval(other, other / broad, other * broad),
    )
    found = quotient(first, second)
    assert found.value == pytest.approx(one / other)
    assert math.log(found.high / found.value) >= max(math.log(wide), math.log(broad)) - 1e-9
    assert found.high / found.value == pytest.approx(found.value / found.low)


@pytest.mark.parametrize(
    "senseless",
    [
        lambda: trimmed_mean([]),
        lambda: trimmed_mean([1.0], 0.5),
        lambda: quantile([], 0.5),
        lambda: time_ratio([1.0], [1.0, 2.0]),
        lambda: time_ratio([], []),
        lambda: rate_difference([1], [1], [0]),
        lambda: rate_difference([1], [1, 2], [3]),
    ],
)
def test_figures_of_nothing_are_refused(senseless):
    with pytest.raises(UserError):
        senseless()
