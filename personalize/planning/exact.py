"""Which precision each layer gets: the plan of least expected divergence within a budget of file bytes.

No model is needed: this is arithmetic on costs and bytes. Other ways to decide:
`personalize.planning.heuristics`, `personalize.measuring.search`.
"""

import itertools
import math
from collections.abc import Sequence

from myqasr.core.errors import BudgetError
from myqasr.personalize.planning.knapsack import Solution, cost_bound, solve
from myqasr.personalize.planning.plan import FLOAT32, LayerProfile, Plan, Profile, mean_bits
from myqasr.personalize.planning.problem import (
    Choice,
    Offer,
    Problem,
    all_choices,
    undominated,
)


def exact_plan(problem: Problem, tied: bool = False, most_precisions: int | None = None) -> Plan:
    """The plan of least expected divergence whose file keeps the budget.

    tied: layers that read the same tensor (q, k and v of an attention) get the same precision.
    most_precisions: so many different ones at most, float32 not counted.
    Raises UserError naming both numbers when the budget is below the smallest plan.
    """
    own = problem.choices()
    groups = _tied(problem.layers) if tied else [[i] for i in range(len(own))]
    rows = [_together([own[index] for index in group]) for group in groups]
    problem.refuse_below(
        problem.overhead_bytes + sum(min(c.size_bytes for c in row) for row in rows)
    )
    if most_precisions is None:
        allocation = solve(rows, problem.capacity_bytes)
    else:
        allocation = _of_few(rows, problem.capacity_bytes, most_precisions)
    labels = {
        index: choice.spec
        for group, choice in zip(groups, allocation.choices, strict=True)
        for index in group
    }
    chosen = [
        next(choice for choice in row if choice.spec == labels[index])
        for index, row in enumerate(own)
    ]
    return problem.plan("exact", chosen, allocation.lower_bound)


def _tied(layers: Sequence[LayerProfile]) -> list[list[int]]:
    """Places of the layers that read the same tensor and are of one kind, group by group."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, layer in enumerate(layers):
        groups.setdefault((layer.share_group, layer.shape.kind), []).append(index)
    return list(groups.values())


def _together(rows: Sequence[Sequence[Choice]]) -> tuple[Choice, ...]:
    """What several layers can all have, with their costs and bytes added up."""
    by_spec = [{choice.spec: choice for choice in row} for row in rows]
    return tuple(
        Choice(
            spec,
            math.fsum(each[spec].cost for each in by_spec),
            sum(each[spec].size_bytes for each in by_spec),
        )
        for spec in by_spec[0]
        if all(spec in each for each in by_spec)
    )


def _of_few(
    rows: Sequence[Sequence[Choice]], capacity_bytes: int, most_precisions: int
) -> Solution:
    """The cheapest selection with at most so many different precisions besides float32.

    Every set of them is bounded; those whose bound beats the best so far are solved, best bound first.
    Raises UserError when none fits.
    """
    specs = list(dict.fromkeys(c.spec for row in rows for c in row if c.spec != FLOAT32))
    sets = []
    for few in itertools.combinations(specs, min(most_precisions, len(specs))):
        narrowed = [[c for c in row if c.spec in few or c.spec == FLOAT32] for row in rows]
        if sum(min(c.size_bytes for c in row) for row in narrowed) <= capacity_bytes:
            kept = [undominated(row) for row in narrowed]
            sets.append((cost_bound(kept, capacity_bytes), narrowed))
    if not sets:
        raise BudgetError(
            f"no plan with {most_precisions} precisions fits the budget; allow more, or raise --budget"
        )
    sets.sort(key=lambda each: each[0])
    best = solve(sets[0][1], capacity_bytes)
    lower_bound = best.lower_bound
    for least, narrowed in sets[1:]:
        if least >= best.cost:
            break
        found = solve(narrowed, capacity_bytes)
        lower_bound = min(lower_bound, found.lower_bound)
        best = min(best, found, key=lambda each: each.cost)
    return Solution(best.choices, min(lower_bound, best.cost))


def size_limits(profile: Profile, offer: Offer, overhead_bytes: int) -> tuple[int, int]:
    """Bytes of the smallest plan and of the all-float32 plan."""
    rows = all_choices(profile, offer)
    smallest = sum(min(choice.size_bytes for choice in row) for row in rows)
    floats = sum(offer.layer_bytes(layer.shape, FLOAT32) for layer in profile.layers)
    return overhead_bytes + smallest, overhead_bytes + floats


def uniform_plan(
    profile: Profile, target: str, offer: Offer, overhead_bytes: int, bits: int
) -> Plan:
    """The control everyone ships: every layer at `bits`, or at the next wider integers it can have.

    Per channel, or in ggml's blocks, as converters do by default; layers without such a precision stay float,
    in the widest there is.
    """
    chosen = []
    for choices in all_choices(profile, offer):
        usual = [c for c in choices if c.spec.as_converted]
        widest = max(c.spec.bits for c in usual)
        wide = [c for c in usual if c.spec.bits >= min(bits, widest)]
        chosen.append(min(wide, key=lambda c: (c.spec.bits, c.cost)))
    size_bytes = overhead_bytes + sum(choice.size_bytes for choice in chosen)
    return Problem(profile, target, offer, size_bytes, overhead_bytes).plan(
        f"uniform-{bits}", chosen
    )


def plan_mean_bits(profile: Profile, plan: Plan) -> float:
    """Weight-averaged stored bits per weight of a plan."""
    return mean_bits({layer.shape.name: layer.shape for layer in profile.layers}, plan.layers)
