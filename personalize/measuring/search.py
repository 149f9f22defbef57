"""Search on the measured divergence itself, for when what layers cost together isn't the sum of their costs.

A (1 + 1) evolution strategy over plans within the budget: change a layer or two, pay for it elsewhere, keep
what is better. It starts from the exact plan, so that it can only gain, on the clips it is given.
"""

import random
from collections.abc import Callable, Sequence

from myqasr.personalize.planning.exact import exact_plan
from myqasr.personalize.planning.plan import Plan
from myqasr.personalize.planning.problem import Choice, Problem, undominated

MOST_CHANGED = 3


def evolve(
    problem: Problem, divergence: Callable[[Plan], float], trials: int = 200, seed: int = 0
) -> Plan:
    """The best of `trials` plans by `divergence`, which is called once for each.

    Raises UserError when nothing fits the budget.
    """
    rng = random.Random(seed)
    rows = [undominated(row) for row in problem.choices()]
    start = exact_plan(problem)
    best = [
        next(choice for choice in row if choice.spec == start.layers[layer.shape.name])
        for row, layer in zip(rows, problem.layers, strict=True)
    ]
    best_plan = problem.plan("evolution", best, start.lower_bound)
    least = divergence(best_plan)
    for _ in range(trials):
        child = mutated(rows, best, problem.capacity_bytes, rng)
        if child == best:
            continue
        plan = problem.plan("evolution", child, start.lower_bound)
        found = divergence(plan)
        if found < least:
            least, best, best_plan = found, child, plan
    return best_plan


def mutated(
    rows: Sequence[Sequence[Choice]],
    chosen: Sequence[Choice],
    capacity_bytes: int,
    rng: random.Random,
) -> list[Choice]:
    """A few layers at another precision; others give bytes until it fits, and take what is left over.

    rows: by rising bytes and falling cost. chosen: within the capacity; so is what is returned.
    """
    child = list(chosen)
    changed = rng.sample(range(len(rows)), rng.randint(1, min(MOST_CHANGED, len(rows))))
    for index in changed:
        child[index] = rng.choice(rows[index])
    left = capacity_bytes - sum(choice.size_bytes for choice in child)
    order = [index for index in range(len(rows)) if index not in changed]
    rng.shuffle(order)
    for index in [*order, *changed]:
        while left < 0 and child[index] != rows[index][0]:
            narrower = rows[index][rows[index].index(child[index]) - 1]
            left += child[index].size_bytes - narrower.size_bytes
            child[index] = narrower
    for index in order:
        wider = [c for c in rows[index] if 0 < c.size_bytes - child[index].size_bytes <= left]
        if wider:
            left -= wider[0].size_bytes - child[index].size_bytes
            child[index] = wider[0]
    return child
