"""What others do instead of solving: allocation methods to hold the exact one against.

All take the same arguments as `allocate` and give a `Plan` with honest bytes: a precision that no kernel runs
is stored in the next wider one that does. Arithmetic only, no model.
"""

import math
import random
from collections.abc import Callable, Sequence

from personalize.allocate import Choice, LayerBytes, layer_choices, undominated
from personalize.plan import LayerShape, Plan, Profile, QuantSpec
from speech.errors import UserError
from speech.storage import record_hash

Menu = Callable[[LayerShape], Sequence[QuantSpec]]

FIRST_BITS = 32


def greedy(
    profile: Profile,
    target: str,
    menu: Menu,
    layer_bytes: LayerBytes,
    budget_bytes: int,
    overhead_bytes: int,
) -> Plan:
    """From the smallest plan, always the step that saves the most cost per byte and still fits."""
    rows = [
        undominated(layer_choices(layer, menu(layer.shape), layer_bytes))
        for layer in profile.layers
    ]
    chosen = [row[0] for row in rows]
    left = budget_bytes - overhead_bytes - sum(choice.size_bytes for choice in chosen)
    _refuse_below(target, budget_bytes, budget_bytes - left)
    while True:
        steps = [
            ((now.cost - choice.cost) / (choice.size_bytes - now.size_bytes), index, choice)
            for index, (row, now) in enumerate(zip(rows, chosen, strict=True))
            for choice in row
            if now.size_bytes < choice.size_bytes <= now.size_bytes + left
        ]
        if not steps:
            return _plan(profile, target, "greedy", budget_bytes, overhead_bytes, chosen)
        _, index, choice = max(steps, key=lambda step: step[0])
        left -= choice.size_bytes - chosen[index].size_bytes
        chosen[index] = choice


def sweep(
    profile: Profile,
    target: str,
    menu: Menu,
    layer_bytes: LayerBytes,
    budget_bytes: int,
    overhead_bytes: int,
    ranking: Sequence[str],
    method: str,
) -> Plan:
    """myQASR's algorithm: all layers at 32 bits, then rounds over them in order of `ranking`, one bit less
    for each, until the model fits (Fish, Michieli and Ozay, Interspeech 2023; from the description).

    ranking: layer names, least sensitive first. A layer at b bits is stored per channel in the narrowest
    precision of its menu with at least b.
    """
    by_name = {layer.shape.name: layer for layer in profile.layers}
    if sorted(ranking) != sorted(by_name):
        raise UserError("a ranking names each layer of the profile once")
    choices = {
        name: [
            choice
            for choice in layer_choices(layer, menu(layer.shape), layer_bytes)
            if choice.spec.group_size is None
        ]
        for name, layer in by_name.items()
    }
    bits = dict.fromkeys(ranking, FIRST_BITS)
    chosen = {name: container(choices[name], FIRST_BITS) for name in ranking}
    size_bytes = overhead_bytes + sum(choice.size_bytes for choice in chosen.values())
    while size_bytes > budget_bytes:
        if max(bits.values()) == 1:
            _refuse_below(target, budget_bytes, size_bytes)
        for name in ranking:
            bits[name] -= 1
            narrower = container(choices[name], bits[name])
            size_bytes += narrower.size_bytes - chosen[name].size_bytes
            chosen[name] = narrower
            if size_bytes <= budget_bytes:
                break
    picked = [chosen[layer.shape.name] for layer in profile.layers]
    return _plan(profile, target, method, budget_bytes, overhead_bytes, picked)


def container(choices: Sequence[Choice], bits: int) -> Choice:
    """The narrowest choice that holds `bits`; of several, the one of least cost."""
    return min(
        (choice for choice in choices if choice.spec.bits >= bits),
        key=lambda choice: (choice.spec.bits, choice.cost),
    )


def by_statistic(profile: Profile, statistic: str) -> list[str]:
    """Layer names by rising magnitude of a statistic of their outputs, e.g. `output_median`.

    Raises UserError naming those that were measured.
    """
    known = sorted(set.intersection(*(set(layer.statistics) for layer in profile.layers)))
    if statistic not in known:
        raise UserError(f"no statistic {statistic!r} was measured; there are {', '.join(known)}")
    ranked = sorted(profile.layers, key=lambda layer: abs(layer.statistics[statistic]))
    return [layer.shape.name for layer in ranked]


def shuffled(profile: Profile, seed: int) -> list[str]:
    """Layer names in an order that means nothing."""
    names = [layer.shape.name for layer in profile.layers]
    random.Random(seed).shuffle(names)
    return names


def _refuse_below(target: str, budget_bytes: int, smallest: int) -> None:
    if smallest > budget_bytes:
        raise UserError(
            f"smallest plan for {target} is {smallest:,} bytes by this method; budget is "
            f"{budget_bytes:,}; raise the budget"
        )


def _plan(
    profile: Profile,
    target: str,
    method: str,
    budget_bytes: int,
    overhead_bytes: int,
    chosen: Sequence[Choice],
) -> Plan:
    cost = math.fsum(choice.cost for choice in chosen)
    return Plan(
        profile_hash=record_hash(profile),
        target=target,
        method=method,
        budget_bytes=budget_bytes,
        predicted_bytes=overhead_bytes + sum(choice.size_bytes for choice in chosen),
        overhead_bytes=overhead_bytes,
        expected_cost=cost,
        lower_bound=0.0,
        layers={
            layer.shape.name: choice.spec
            for layer, choice in zip(profile.layers, chosen, strict=True)
        },
    )
