"""A few whole plans tried, because layers' costs don't just add up.

Costs are second order and one layer at a time; where many layers are at few bits, or a decoder reads what it
wrote, the divergence of the whole grows faster than their sum. Some plans from the coarsest to the finest are
run on clips that their codes never heard, and what a plan's sum stands for is read off between them.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from myqasr.core.memory import give_back
from myqasr.personalize.measuring.brute_force import posteriors_with
from myqasr.personalize.measuring.fitting import Clips, Codes
from myqasr.personalize.measuring.method import (
    divergence,
    log_posteriors,
    mean_per_frame,
    standard_error,
)
from myqasr.personalize.planning.plan import FLOAT32, Check, LayerProfile, QuantSpec

MEAN_BITS = (4.0, 4.5, 5.25, 6.5)
"""Of a weight, in the plans that are tried; the first is raised to the least there is."""
MOST_CLIPS = 8
"""That every plan is tried on."""
ROUNDS = 40
"""Of bisection, for the price of a bit."""


def checked(
    clips: Clips, layers: Sequence[LayerProfile], costed: Sequence[Codes]
) -> tuple[Check, ...]:
    """What plans of these layers are expected to cost, and do, on average over clips.

    clips: two at least; the model lies on the device. costed: the codes that they try, by turns: made for
    other clips.
    """
    plans: list[Mapping[str, QuantSpec]] = []
    for bits in MEAN_BITS:
        plan = cheapest(layers, bits)
        if plan not in plans:
            plans.append(plan)
    count = min(len(clips.waveforms), MOST_CLIPS)
    results: list[list[tuple[float, int]]] = [[] for _ in plans]
    done, total = 0, len(costed) * len(plans)
    for turn, codes in enumerate(costed):
        # Weights are expanded once for all clips that say what they cost.
        heard = [clips.inputs(each) for each in clips.waveforms[turn : count : len(costed)]]
        with torch.inference_mode():
            unrounded = [log_posteriors(clips.model, inputs) for inputs in heard]
        for plan, found in zip(plans, results, strict=True):
            rounded = {
                layer.shape.name: codes.rounding.codes(layer, plan[layer.shape.name])
                for layer in codes.layers
            }
            posteriors = posteriors_with(clips.model, heard, rounded)
            found.extend(
                (divergence(before, after), len(before))
                for before, after in zip(unrounded, posteriors, strict=True)
            )
            done += 1
            clips.progress("checking", done, total)
        give_back()
    checks = []
    for plan, found in zip(plans, results, strict=True):
        expected = math.fsum(layer.cost(plan[layer.shape.name]) for layer in layers)
        checks.append(Check(expected, mean_per_frame(found), standard_error(found)))
    return tuple(sorted(checks, key=lambda check: check.expected))


def cheapest(layers: Sequence[LayerProfile], mean_bits: float) -> Mapping[str, QuantSpec]:
    """A precision for every layer: the least cost in sum with about so many bits a weight on average.

    The plan that a price for every bit leads to, the price found by bisection.
    """
    weights = {layer.shape.name: math.prod(layer.shape.weight_shape) for layer in layers}
    most = mean_bits * sum(weights.values())
    low, high = 0.0, 1.0
    plan = _at_price(layers, weights, high)
    for _ in range(ROUNDS):
        price = math.sqrt(low * high) if low else high / 1e3
        tried = _at_price(layers, weights, price)
        if sum(tried[name].bits * count for name, count in weights.items()) > most:
            low = price
        else:
            high, plan = price, tried
    return plan


def _at_price(
    layers: Sequence[LayerProfile], weights: Mapping[str, int], price: float
) -> dict[str, QuantSpec]:
    return {
        layer.shape.name: min(
            (QuantSpec.from_label(label) for label in layer.costs),
            key=lambda spec: (
                layer.costs[spec.label] + price * spec.bits * weights[layer.shape.name],
                spec.label,
            ),
        )
        if layer.costs
        else FLOAT32
        for layer in layers
    }
