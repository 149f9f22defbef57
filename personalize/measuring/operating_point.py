"""Costs measured again around a plan, because layers interact: what one costs depends on the others.

A round replaces the costs by true divergences: every layer is tried at every precision with all others as
the plan has them, and the problem is solved again. It takes as many forward passes as there are pairs of
layer and precision (less what ran before the layer, see `personalize.measuring.brute_force`): for small
models and patient people.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from myqasr.personalize.measuring.brute_force import costs_around, divergence_of
from myqasr.personalize.measuring.method import ClipCosts, Setting
from myqasr.personalize.measuring.sensitivity import Measurement, round_plan
from myqasr.personalize.planning.exact import exact_plan
from myqasr.personalize.planning.plan import FLOAT32, Plan, Profile
from myqasr.personalize.planning.problem import Problem
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.observe import Waveforms
from myqasr.speech.models.base import SpeechModel

METHOD = "operating-point"


@dataclass(frozen=True, slots=True)
class Refined:
    """The best plan found, the costs that it was made from, and the true divergence of every plan tried.

    divergences: nats per frame on the clips, the plan from the given costs first.
    """

    problem: Problem
    plan: Plan
    divergences: tuple[float, ...]


def refine(
    model: SpeechModel,
    waveforms: Waveforms,
    problem: Problem,
    measured: Measurement,
    rounds: int = 2,
    progress: Callable[[], None] = lambda: None,
) -> Refined:
    """Plan, measure around the plan, plan again; the plan of least true divergence on the clips is kept.

    problem: whose profile is `measured`'s. waveforms: 16 kHz mono float32 [samples] each. progress: called
    once per clip and round. Raises UserError when nothing fits the budget.
    """
    plan = exact_plan(problem)
    tried = [(true_divergence(model, waveforms, round_plan(measured, plan)), problem, plan)]
    for _ in range(rounds):
        profile = _around(model, waveforms, problem, measured, plan, progress)
        problem = replace(problem, profile=profile)
        plan = exact_plan(problem)
        codes = round_plan(measured, plan)
        tried.append((true_divergence(model, waveforms, codes), problem, plan))
        if plan.layers == tried[-2][2].layers:
            break
    _, problem, plan = min(tried, key=lambda each: each[0])
    return Refined(problem, plan, tuple(found for found, _, _ in tried))


def true_divergence(
    model: SpeechModel, waveforms: Waveforms, codes: dict[str, LayerCodes], device: str = "cpu"
) -> float:
    """Nats per frame between the float model and these codes on the clips."""
    found = [divergence_of(model, waveform, codes, device) for waveform in waveforms]
    return math.fsum(nats for nats, _ in found) / sum(frames for _, frames in found)


def _around(
    model: SpeechModel,
    waveforms: Waveforms,
    problem: Problem,
    measured: Measurement,
    plan: Plan,
    progress: Callable[[], None],
) -> Profile:
    """The profile with what every precision adds to the layer in float32, all other layers as planned."""
    candidates = {
        layer.shape.name: [
            measured.rounding.codes(layer, spec)
            for spec in problem.offer.menu(layer.shape)
            if spec != FLOAT32
        ]
        for layer in measured.profile.layers
    }
    setting = Setting(model, candidates, 1, "cpu")
    planned = round_plan(measured, plan)
    clips = []
    for waveform in waveforms:
        clips.append(costs_around(setting, waveform, planned))
        progress()
    layers = tuple(
        replace(layer, costs=_added(clips, layer.shape.name), errors={})
        for layer in measured.profile.layers
    )
    return replace(measured.profile, method=METHOD, layers=layers)


def _added(clips: list[ClipCosts], layer: str) -> dict[str, float]:
    frames = sum(clip.frames for clip in clips)
    found = {
        label: math.fsum(clip.costs[layer][label] for clip in clips) / frames
        for label in clips[0].costs[layer]
    }
    in_float = found.pop(FLOAT32.label)
    return {label: max(0.0, cost - in_float) for label, cost in found.items()}
