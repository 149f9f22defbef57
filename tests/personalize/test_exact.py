"""The allocation is exact: checked against brute force, and against every single swap."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.personalize.planning.exact import exact_plan, size_limits, uniform_plan
from myqasr.personalize.planning.knapsack import solve
from myqasr.personalize.planning.plan import (
    FLOAT32,
    LayerProfile,
    LayerShape,
    PlanRules,
    Profile,
    QuantSpec,
)
from myqasr.personalize.planning.problem import Choice, Offer, Problem, layer_choices

SPECS = [QuantSpec(bits, "int", None, "int8-dynamic") for bits in (4, 5, 6, 7, 8)]

rows_strategy = st.lists(
    st.lists(
        st.tuples(st.floats(0, 1e3, allow_nan=False), st.integers(1, 100_000)),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=5,
)


def as_choices(rows):
    return [[Choice(SPECS[i], cost, size) for i, (cost, size) in enumerate(row)] for row in rows]


@settings(max_examples=150, deadline=None)
@given(rows_strategy, st.floats(0, 1))
def test_no_selection_within_the_budget_is_better_than_the_plan(rows, fill):
    options = as_choices(rows)
    smallest = sum(min(c.size_bytes for c in row) for row in options)
    largest = sum(max(c.size_bytes for c in row) for row in options)
    capacity = smallest + int(fill * (largest - smallest))
    found = solve(options, capacity)
    best = min(
        sum(c.cost for c in combination)
        for combination in itertools.product(*options)
        if sum(c.size_bytes for c in combination) <= capacity
    )
    assert found.size_bytes <= capacity
    assert found.cost == pytest.approx(best, rel=1e-6, abs=1e-7)
    assert found.lower_bound <= found.cost


def test_a_remark_of_the_solver_does_not_end_up_in_json_output(monkeypatch, capfd):
    import ctypes

    import myqasr.personalize.planning.knapsack

    solver = myqasr.personalize.planning.knapsack.milp

    def talkative(*args, **options):
        ctypes.CDLL(None).printf(b"HighsMipSolverData::remark\n")
        return solver(*args, **options)

    monkeypatch.setattr(myqasr.personalize.planning.knapsack, "milp", talkative)
    options = as_choices([[(3.0, 10), (1.0, 20)], [(5.0, 10), (1.0, 30)]])
    assert solve(options, 40).cost == 4.0
    print("{}", flush=True)
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == "{}\n"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 4000), min_size=5, max_size=60),
    st.floats(0.0, 1.0),
    st.integers(0, 2**31),
)
def test_budget_is_kept_to_the_byte_and_no_single_swap_improves_the_plan(widths, fill, seed):
    import random

    rng = random.Random(seed)
    options = [
        [
            Choice(spec, 10 ** rng.uniform(-12, 1) / spec.bits**4, width * spec.bits * 37)
            for spec in SPECS
        ]
        for width in widths
    ]
    smallest = sum(row[0].size_bytes for row in options)
    largest = sum(row[-1].size_bytes for row in options)
    capacity = smallest + int(fill * (largest - smallest))
    found = solve(options, capacity)
    assert found.size_bytes <= capacity
    for row, chosen in zip(options, found.choices, strict=True):
        for other in row:
            fits = found.size_bytes - chosen.size_bytes + other.size_bytes <= capacity
            assert not (fits and other.cost < chosen.cost)


def tiny_profile() -> Profile:
    def layer(name: str, scale: float) -> LayerProfile:
        shape = LayerShape(name, "linear", (64, 64), True)
        costs = {"int4-a8d": scale, "int8-a8d": scale / 200}
        return LayerProfile(shape, name, costs)

    return Profile("m", "w", "a", 1, 1.0, 25, "fisher", 0, 0, (layer("a", 1.0), layer("b", 5.0)))


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    return (*(QuantSpec(b, "int", None, "int8-dynamic") for b in (4, 8)), FLOAT32)


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    return shape.weights * spec.bits // 8


def test_the_sensitive_layer_gets_the_bits():
    plan = exact_plan(
        Problem(tiny_profile(), "t", Offer(menu, layer_bytes), 100 + 2048 + 4096, 100)
    )
    assert plan.layers["b"].bits == 8
    assert plan.layers["a"].bits == 4
    assert plan.predicted_bytes == plan.budget_bytes
    assert plan.gap == 0.0


def test_budget_below_the_smallest_plan_names_both_numbers():
    with pytest.raises(UserError, match=r"smallest plan for t is 4,196 bytes; budget is 4,195"):
        exact_plan(Problem(tiny_profile(), "t", Offer(menu, layer_bytes), 4195, 100))
    assert size_limits(tiny_profile(), Offer(menu, layer_bytes), 100) == (
        4196,
        100 + 2 * 64 * 64 * 4,
    )


def test_precision_that_was_never_measured_is_not_guessed():
    layer = tiny_profile().layers[0]
    with pytest.raises(UserError, match="int5-a8d"):
        layer_choices(
            layer, Offer(lambda _: [QuantSpec(5, "int", None, "int8-dynamic")], layer_bytes)
        )


def test_uniform_control_really_is_uniform():
    plan = uniform_plan(tiny_profile(), "t", Offer(menu, layer_bytes), 100, 4)
    assert {spec.label for spec in plan.layers.values()} == {"int4-a8d"}
    assert plan.predicted_bytes == 100 + 2 * 2048


@st.composite
def small_problems(draw):
    """Up to five layers, two of which may read the same tensor, with random costs at 4, 5 and 8 bits."""
    labels = [f"int{bits}-a8d" for bits in (4, 5, 8)]
    layers = []
    for index in range(draw(st.integers(1, 5))):
        shape = LayerShape(f"layer{index}", "linear", (draw(st.integers(1, 9)) * 8, 16), False)
        costs = {label: draw(st.floats(0.001, 10)) for label in labels}
        layers.append(LayerProfile(shape, f"layer{min(index, 3)}", costs))
    profile = Profile("m", "w", "a", 1, 1.0, 25, "fisher", 0, 0, tuple(layers))
    specs = (*(QuantSpec(b, "int", None, "int8-dynamic") for b in (4, 5, 8)), FLOAT32)
    smallest = sum(layer_bytes(layer.shape, specs[0]) for layer in layers)
    budget = smallest + int(draw(st.floats(0, 1)) * 7 * smallest)
    return Problem(profile, "t", Offer(lambda shape: specs, layer_bytes), budget, 0)


def every_plan(problem):
    """Costs and precisions of all plans within the budget."""
    for chosen in itertools.product(*problem.choices()):
        if sum(choice.size_bytes for choice in chosen) <= problem.capacity_bytes:
            yield sum(choice.cost for choice in chosen), [choice.spec for choice in chosen]


@settings(max_examples=60, deadline=None)
@given(small_problems(), st.integers(1, 3))
def test_a_plan_of_few_precisions_is_the_best_of_them(problem, most):
    plan = exact_plan(problem, most_precisions=most)
    assert len({*plan.layers.values()} - {FLOAT32}) <= most
    best = min(cost for cost, specs in every_plan(problem) if len({*specs} - {FLOAT32}) <= most)
    assert plan.expected_cost == pytest.approx(best, rel=1e-6, abs=1e-7)
    assert plan.lower_bound <= plan.expected_cost * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(small_problems())
def test_layers_that_share_their_input_get_one_precision_when_tied_and_no_plan_is_better(problem):
    plan = exact_plan(problem, tied=True)
    groups = [layer.share_group for layer in problem.profile.layers]

    def is_tied(specs):
        return len({*zip(groups, specs, strict=True)}) == len({*groups})

    assert is_tied(list(plan.layers.values()))
    best = min(cost for cost, specs in every_plan(problem) if is_tied(specs))
    assert plan.expected_cost == pytest.approx(best, rel=1e-6, abs=1e-7)


def test_rules_that_do_not_go_together_are_refused_before_anything_is_measured():
    with pytest.raises(UserError, match="greedy allocation can't tie"):
        PlanRules(allocation="greedy", tied=True)
    with pytest.raises(UserError, match="known: exact, greedy, min-max, sweep"):
        PlanRules(allocation="best")
