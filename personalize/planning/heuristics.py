"""What others do instead of solving: allocation methods to hold the exact one against.

All are functions from a `Problem` to a `Plan` with honest bytes: a precision that no kernel runs is stored in
the next wider one that does. Arithmetic only, no model.
"""

import math
import random
from collections.abc import Sequence

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import Plan, Profile
from myqasr.personalize.planning.problem import Choice, Problem, undominated

FIRST_BITS = 32


def greedy(problem: Problem) -> Plan:
    """From the smallest plan, always the step that saves the most cost per byte and still fits."""
    rows = [undominated(row) for row in problem.choices()]
    chosen = [row[0] for row in rows]
    used = sum(choice.size_bytes for choice in chosen)
    problem.refuse_below(problem.overhead_bytes + used)
    left = problem.capacity_bytes - used
    while True:
        steps = [
            ((now.cost - choice.cost) / (choice.size_bytes - now.size_bytes), index, choice)
            for index, (row, now) in enumerate(zip(rows, chosen, strict=True))
            for choice in row
            if now.size_bytes < choice.size_bytes <= now.size_bytes + left
        ]
        if not steps:
            return problem.plan("greedy", chosen)
        _, index, choice = max(steps, key=lambda step: step[0])
        left -= choice.size_bytes - chosen[index].size_bytes
        chosen[index] = choice


def min_max(problem: Problem) -> Plan:
    """The plan whose most expensive layer costs least; every layer is as small as that allows."""
    rows = [undominated(row) for row in problem.choices()]

    def smallest(limit: float) -> list[Choice]:
        return [next((c for c in row if c.cost <= limit), row[-1]) for row in rows]

    def size_bytes(chosen: Sequence[Choice]) -> int:
        return problem.overhead_bytes + sum(choice.size_bytes for choice in chosen)

    # The largest of what each layer costs at best is below every limit worth trying.
    limits = sorted({choice.cost for row in rows for choice in row})
    problem.refuse_below(size_bytes(smallest(limits[-1])))
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        fits = size_bytes(smallest(limits[middle])) <= problem.budget_bytes
        low, high = (low, middle) if fits else (middle + 1, high)
    return problem.plan("min-max", smallest(limits[high]))


def sweep(problem: Problem, ranking: Sequence[str], method: str) -> Plan:
    """myQASR's algorithm: all layers at 32 bits, then rounds over them in order of `ranking`, one bit less
    for each, until the model fits (Fish, Michieli and Ozay, Interspeech 2023; from the description).

    ranking: layer names, least sensitive first. A layer at b bits is stored per channel in the narrowest
    precision of its menu with at least b. method: the plan's.
    """
    if sorted(ranking) != sorted(layer.shape.name for layer in problem.profile.layers):
        raise UserError("a ranking names each layer of the profile once")
    names = [layer.shape.name for layer in problem.layers]
    ranking = [name for name in ranking if name in set(names)]
    choices = {
        name: [choice for choice in row if choice.spec.as_converted]
        for name, row in zip(names, problem.choices(), strict=True)
    }
    bits = dict.fromkeys(ranking, FIRST_BITS)
    chosen = {name: container(choices[name], FIRST_BITS) for name in ranking}
    used = sum(choice.size_bytes for choice in chosen.values())
    while used > problem.capacity_bytes:
        if max(bits.values()) == 1:
            problem.refuse_below(problem.overhead_bytes + used, " by this method")
        for name in ranking:
            bits[name] -= 1
            narrower = container(choices[name], bits[name])
            used += narrower.size_bytes - chosen[name].size_bytes
            chosen[name] = narrower
            if used <= problem.capacity_bytes:
                break
    return problem.plan(method, [chosen[name] for name in names])


def container(choices: Sequence[Choice], bits: int) -> Choice:
    """The narrowest choice that holds `bits`, else the widest; of several, the one of least cost."""
    widest = max(choice.spec.bits for choice in choices)
    return min(
        (choice for choice in choices if choice.spec.bits >= min(bits, widest)),
        key=lambda choice: (choice.spec.bits, choice.cost),
    )


def ranked(profile: Profile) -> list[str]:
    """Layer names, least sensitive first: by what all their precisions cost together."""
    by_cost = sorted(profile.layers, key=lambda layer: math.fsum(layer.costs.values()))
    return [layer.shape.name for layer in by_cost]


def shuffled(profile: Profile, seed: int) -> list[str]:
    """Layer names in an order that means nothing."""
    names = [layer.shape.name for layer in profile.layers]
    random.Random(seed).shuffle(names)
    return names
