"""Searching on the true divergence keeps the budget and never ends with a worse plan than it began with."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myqasr.exporters.executorch import xnnpack
from myqasr.personalize.measuring.operating_point import refine, true_divergence
from myqasr.personalize.measuring.search import evolve, mutated
from myqasr.personalize.measuring.sensitivity import measure, round_plan
from myqasr.personalize.planning.exact import exact_plan
from myqasr.personalize.planning.problem import Problem, undominated
from tests.personalize.test_heuristics import limits, problem_of, profile_of
from tests.personalize.test_sensitivity import sharpened, speech_like


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(8, 200), min_size=1, max_size=9), st.floats(0, 1), st.integers(0, 99))
def test_no_plan_that_the_search_tries_exceeds_the_budget(widths, fill, seed):
    profile = profile_of(widths, seed)
    smallest, largest = limits(profile)
    problem = problem_of(profile, smallest + int(fill * (largest - smallest)))
    rows = [undominated(row) for row in problem.choices()]
    specs = exact_plan(problem).layers.values()
    chosen = [next(c for c in row if c.spec == spec) for row, spec in zip(rows, specs, strict=True)]
    rng = random.Random(seed)
    for _ in range(20):
        chosen = mutated(rows, chosen, problem.capacity_bytes, rng)
        assert sum(choice.size_bytes for choice in chosen) <= problem.capacity_bytes
        assert all(choice in row for row, choice in zip(rows, chosen, strict=True))


def test_the_search_finds_what_summed_costs_do_not_know():
    profile = profile_of([64] * 6, 3)
    smallest, largest = limits(profile)
    problem = problem_of(profile, smallest + (largest - smallest) // 12)
    start = exact_plan(problem)
    # In truth only the layer that looks cheapest matters.
    cheapest = min(profile.layers, key=lambda layer: max(layer.costs.values())).shape.name

    def true(plan):
        return 1.0 / plan.layers[cheapest].bits

    found = evolve(problem, true, trials=200)
    assert true(found) < true(start)
    assert found.predicted_bytes <= problem.budget_bytes


def test_measuring_around_the_plan_never_ends_with_more_divergence():
    model, clips = sharpened(), [speech_like(seed) for seed in range(2)]
    measured = measure(model, clips, xnnpack.menu, xnnpack.scale_dtype, "audio")
    shapes = [layer.shape for layer in measured.profile.layers]
    smallest = sum(min(xnnpack.layer_bytes(s, p) for p in xnnpack.menu(s)) for s in shapes)
    problem = Problem(measured.profile, "xnnpack", xnnpack.TARGET.offer, int(1.3 * smallest), 0)
    found = refine(model, clips, problem, measured, rounds=1)
    assert len(found.divergences) == 2
    assert found.plan.predicted_bytes <= problem.budget_bytes
    kept = true_divergence(model, clips, round_plan(measured, found.plan))
    assert kept == pytest.approx(min(found.divergences), rel=1e-6)
    assert found.problem.profile.method in ("fisher", "operating-point")
    assert math.isfinite(found.plan.expected_cost)
