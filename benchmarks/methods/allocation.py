"""Exact allocation with GPTQ against what others do at equal file bytes: true divergence on unheard clips.

python -m benchmarks.methods.allocation [--speakers embedded|real] [--workers 3]

For every speaker: one measurement from the tune clips for each rounding, a plan by every method for every
budget, and on the test clips the KL divergence of the plan's posteriors (torch reference) from the float
model's.
"""

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.results import save_result
from benchmarks.speakers import Speaker, load_speaker, ratio, speakers_and_workers
from myqasr.exporters.target import Target, load_target, measured_together
from myqasr.personalize.measuring.method import divergence
from myqasr.personalize.measuring.sensitivity import (
    Measurement,
    ProfileOptions,
    measure,
    measure_again,
    round_plan,
)
from myqasr.personalize.planning.exact import plan_mean_bits
from myqasr.personalize.planning.heuristics import greedy, min_max, ranked, shuffled, sweep
from myqasr.personalize.planning.plan import LayerShape, Plan, Profile, QuantSpec
from myqasr.personalize.planning.problem import Problem
from myqasr.personalize.planning.shrinkage import expected_cost
from myqasr.personalize.profiling import plan_for, size_limits
from myqasr.personalize.rounding.reference import build_reference
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.scoring import word_errors

SHARES = (0.012, 0.035, 0.07)
"""Budgets between the smallest plan (0) and float (1): 4.3 to 6 bits a weight."""

LABEL_DRAWS = 32
OURS = "exact, GPTQ"

Planner = Callable[[Profile, Target, int, int], Plan]


@dataclass(frozen=True, slots=True)
class Measured:
    """One method at one budget for one speaker. kl: nats per frame on the test clips."""

    speaker: str
    share: float
    method: str
    size_bytes: int
    mean_bits: float
    kl: float
    expected: float
    word_errors: int
    words: int


@dataclass(frozen=True, slots=True)
class Row:
    """One method at one budget, over all speakers.

    ours_over_this: mean KL of exact allocation with GPTQ over this method's, with a bootstrap interval of
    95 % over speakers.
    """

    method: str
    share: float
    size_bytes: int
    mean_bits: float
    kl: float
    kl_of_speakers: tuple[float, ...]
    expected: float
    word_errors: int
    words: int
    ours_over_this: tuple[float, float, float]


def swept(profile: Profile, target: Target, budget: int, overhead: int) -> Plan:
    """The paper's sweep, in the order of the profile's costs."""
    name = f"sweep by {profile.method}"
    return sweep(problem_of(profile, target, budget, overhead), ranked(profile), name)


def swept_backwards(profile: Profile, target: Target, budget: int, overhead: int) -> Plan:
    """The same, most sensitive layers first."""
    ranking = ranked(profile)[::-1]
    return sweep(problem_of(profile, target, budget, overhead), ranking, "sweep, reversed")


def swept_at_random(profile: Profile, target: Target, budget: int, overhead: int) -> Plan:
    """The same, in an order that means nothing."""
    ranking = shuffled(profile, 0)
    return sweep(problem_of(profile, target, budget, overhead), ranking, "sweep, shuffled")


def by_greed(profile: Profile, target: Target, budget: int, overhead: int) -> Plan:
    """Steps by cost per byte."""
    return greedy(problem_of(profile, target, budget, overhead))


def by_worst(profile: Profile, target: Target, budget: int, overhead: int) -> Plan:
    """The least cost of the most expensive layer."""
    return min_max(problem_of(profile, target, budget, overhead))


def problem_of(profile: Profile, target: Target, budget: int, overhead: int) -> Problem:
    """All of the target's menu."""
    return Problem(profile, target.name, target.offer, budget, overhead)


def budget_at(share: float, profile: Profile, target: Target, overhead: int) -> int:
    """Bytes at a share of the way from the smallest plan (0) to float (1)."""
    smallest, floats = size_limits(profile, target.offer, overhead)
    return smallest + int(share * (floats - smallest))


def best_uniform(profile: Profile, target: Target, budget: int, overhead: int) -> Plan:
    """The same stored format everywhere, the next wider one where a layer lacks it: the best that fits."""
    plans = []
    for label in ("int4", "int4-g128", "int4-g64", "int4-g32", "int8", "fp16"):
        narrowed = partial(stored_as, target=target, label=label)
        size, _ = size_limits(profile, replace(target.offer, menu=narrowed), overhead)
        if size <= budget:
            problem = Problem(
                profile, target.name, replace(target.offer, menu=narrowed), size, overhead
            )
            plans.append(greedy(problem))
    return min(plans, key=lambda plan: plan.expected_cost)


def stored_as(shape: LayerShape, target: Target, label: str) -> tuple[QuantSpec, ...]:
    """The layer's precision with this stored format; the next wider one where it has none."""
    menu = target.menu(shape)
    fitting = [spec for spec in menu if spec.stored.label == label]
    bits = QuantSpec.from_label(label).bits
    wider = [spec for spec in menu if spec.bits >= bits and spec.group_size is None]
    return (fitting[-1] if fitting else min(wider, key=lambda spec: spec.bits),)


METHODS: dict[str, tuple[str, str, Planner]] = {
    OURS: ("fisher", "gptq", plan_for),
    "exact, nearest": ("fisher", "nearest", plan_for),
    "greedy, GPTQ": ("fisher", "gptq", by_greed),
    "min-max, GPTQ": ("fisher", "gptq", by_worst),
    "best uniform, GPTQ": ("fisher", "gptq", best_uniform),
    "best uniform, nearest": ("fisher", "nearest", best_uniform),
    "sweep by median (myQASR), GPTQ": ("median", "gptq", swept),
    "sweep by median (myQASR), nearest": ("median", "nearest", swept),
    "sweep by l2, nearest": ("l2", "nearest", swept),
    "sweep by fisher, nearest": ("fisher", "nearest", swept),
    "sweep by median, reversed, nearest": ("median", "nearest", swept_backwards),
    "sweep, shuffled, nearest": ("fisher", "nearest", swept_at_random),
}
"""Name -> sensitivity, rounding, and how the plan is made."""


def one_speaker(name: str) -> list[Measured]:
    """All methods at all budgets for one speaker."""
    torch.set_num_threads(1)
    model, target, speaker = load_model("default"), load_target("xnnpack"), load_speaker(name)
    heard: dict[tuple[str, str], Measurement] = {}
    for sensitivity, rounding, _ in METHODS.values():
        options = ProfileOptions(label_draws=LABEL_DRAWS, rounding=rounding, method=sensitivity)
        if ("fisher", rounding) not in heard:
            heard["fisher", rounding] = measure(
                model,
                speaker.tune,
                measured_together().menu,
                measured_together().scale_dtype,
                name,
                replace(options, method="fisher"),
            )
        if (sensitivity, rounding) not in heard:
            heard[sensitivity, rounding] = measure_again(
                model, speaker.tune, measured_together().menu, heard["fisher", rounding], options
            )
    base = [model.logits(waveform) for waveform in speaker.test]
    overhead = target.overhead_bytes(model)
    profile = heard["fisher", "gptq"].profile
    found = []
    for share in SHARES:
        budget = budget_at(share, profile, target, overhead)
        for method, (sensitivity, rounding, planner) in METHODS.items():
            measured = heard[sensitivity, rounding]
            plan = planner(measured.profile, target, budget, overhead)
            kl, errors, words = on_test_clips(model, measured, plan, speaker, base)
            expected = expected_cost(heard["fisher", rounding].profile, plan)
            bits = plan_mean_bits(profile, plan)
            size = plan.predicted_bytes
            found.append(Measured(name, share, method, size, bits, kl, expected, errors, words))
    print(name, [f"{each.method}: {each.kl:.1e}" for each in found if each.share == SHARES[1]])
    return found


def on_test_clips(
    model: SpeechModel,
    measured: Measurement,
    plan: Plan,
    speaker: Speaker,
    base: Sequence[NDArray[np.float32]],
) -> tuple[float, int, int]:
    """KL from the float model in nats per frame, word errors, and words, of a plan on test clips.

    base: the float model's logits.
    """
    reference = build_reference(model, round_plan(measured, plan))
    logits = [reference.logits(waveform) for waveform in speaker.test]
    total = sum(logit_divergence(p, q) for p, q in zip(base, logits, strict=True))
    heard = [greedy_text(each, model.tokens) for each in logits]
    counts = word_errors(list(speaker.texts), heard)
    return total / sum(len(each) for each in base), counts.errors, counts.reference_length


def logit_divergence(p_logits: NDArray[np.float32], q_logits: NDArray[np.float32]) -> float:
    """KL(p, q) summed over frames; logits [frames, vocab]."""
    p, q = (torch.from_numpy(each).double().log_softmax(-1) for each in (p_logits, q_logits))
    return divergence(p, q)


def rows_of(measured: list[Measured]) -> list[Row]:
    """Means over speakers, and ratios."""
    rows = []
    for share in SHARES:
        ours = [each.kl for each in measured if (each.share, each.method) == (share, OURS)]
        for method in METHODS:
            of_method = [each for each in measured if (each.share, each.method) == (share, method)]
            kls = tuple(each.kl for each in of_method)
            rows.append(
                Row(
                    method,
                    share,
                    round(float(np.mean([each.size_bytes for each in of_method]))),
                    float(np.mean([each.mean_bits for each in of_method])),
                    float(np.mean(kls)),
                    kls,
                    float(np.mean([each.expected for each in of_method])),
                    sum(each.word_errors for each in of_method),
                    sum(each.words for each in of_method),
                    ratio(ours, kls),
                )
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    options, names = speakers_and_workers(parser)
    with ProcessPoolExecutor(options.workers) as pool:
        measured = [each for found in pool.map(one_speaker, names) for each in found]
    figures = {"speakers": names, "rows": rows_of(measured)}
    name = "allocation_real" if options.speakers == "real" else "allocation"
    print(
        save_result(
            name, f"python -m benchmarks.methods.allocation --speakers {options.speakers}", figures
        )
    )


if __name__ == "__main__":
    main()
