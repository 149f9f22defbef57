"""Exact allocation against heuristics at equal file bytes: true divergence on clips nobody was fitted on.

python -m benchmarks.allocation [--users 8]

For every embedded user: one profile from the tune clips, a plan by every method for every budget, and the KL
divergence of the plan's posteriors (torch reference) from the float model's on the test clips.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.results import save_result
from exporters.planning import plan_for, round_plan, size_limits
from exporters.target import Target, load_target
from personalize.allocate import plan_mean_bits
from personalize.heuristics import by_statistic, greedy, shuffled, sweep
from personalize.plan import Plan, Profile
from personalize.reference import build_reference
from personalize.sensitivity import Measurement, ProfileOptions, measure
from speech.datasets import audio_hash, choose_clips, find_clips, read_clips
from speech.decoding import greedy_text
from speech.models import load_model
from speech.models.base import SpeechModel
from speech.scoring import word_errors

USERS = Path("speech/default_users")
SHARES = (0.012, 0.035, 0.07)
"""Budgets between the smallest plan (0) and float (1)."""

Planner = Callable[[Profile, Target, int, int], Plan]


@dataclass(frozen=True, slots=True)
class Row:
    """One method at one budget, over all users. kl: nats per frame, mean over users, and each user's."""

    method: str
    budget_bytes: int
    mean_bits: float
    kl: float
    kl_of_users: tuple[float, ...]
    expected: float
    word_errors: int
    words: int


def swept(ranking: Callable[[Profile], list[str]], name: str) -> Planner:
    """The paper's sweep with a ranking of its own."""
    return lambda profile, target, budget, overhead: sweep(
        profile, target.NAME, target.menu, target.layer_bytes, budget, overhead,
        ranking(profile), name,
    )  # fmt: skip


def by_cost(profile: Profile) -> list[str]:
    """Layer names by rising cost of their cheapest 4-bit codes per weight."""
    costs = {layer.shape.name: layer.costs.get("int4-a8d", 0.0) for layer in profile.layers}
    return sorted(costs, key=lambda name: costs[name])


METHODS: dict[str, Planner] = {
    "exact": plan_for,
    "greedy": lambda profile, target, budget, overhead: greedy(
        profile, target.NAME, target.menu, target.layer_bytes, budget, overhead
    ),
    "sweep, by our costs": swept(by_cost, "sweep-cost"),
    "sweep, by median (myQASR)": swept(lambda p: by_statistic(p, "output_median"), "sweep-median"),
    "sweep, by std": swept(lambda p: by_statistic(p, "output_std"), "sweep-std"),
    "sweep, by l2": swept(lambda p: by_statistic(p, "output_l2"), "sweep-l2"),
    "sweep, by median, reversed": swept(
        lambda p: by_statistic(p, "output_median")[::-1], "sweep-reversed"
    ),
    "sweep, shuffled": swept(lambda p: shuffled(p, 0), "sweep-shuffled"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=8)
    options = parser.parse_args()
    model, target = load_model("default"), load_target("xnnpack")
    names = sorted(path.name for path in USERS.iterdir() if path.is_dir())[: options.users]
    found: dict[tuple[str, int], list[tuple[float, float, float, int, int]]] = {}
    for name in names:
        recordings, _ = choose_clips(find_clips(USERS / name / "tune"), 16)
        waveforms = [recording.waveform for recording in recordings]
        speaker = measure(
            model, waveforms, target.menu, target.scale_dtype, audio_hash(recordings),
            ProfileOptions(),
        )  # fmt: skip
        profile = speaker.profile
        tests, _ = read_clips(find_clips(USERS / name / "test"), need_text=True)
        heard = [recording.waveform for recording in tests]
        texts = [recording.clip.text or "" for recording in tests]
        base = [model.logits(waveform) for waveform in heard]
        overhead = target.overhead_bytes(model)
        smallest, floats = size_limits(profile, target.menu, target.layer_bytes, overhead)
        for share in SHARES:
            budget = smallest + int(share * (floats - smallest))
            for method, planner in METHODS.items():
                plan = planner(profile, target, budget, overhead)
                kl, errors, words = measured(model, speaker, plan, heard, texts, base)
                bits = plan_mean_bits(profile, plan)
                found.setdefault((method, budget), []).append(
                    (kl, bits, plan.expected_cost, errors, words)
                )
                print(f"{name} {budget:,} {method}: {kl:.2e} nats a frame", flush=True)
    rows = [
        Row(
            method,
            budget,
            float(np.mean([each[1] for each in users])),
            float(np.mean([each[0] for each in users])),
            tuple(each[0] for each in users),
            float(np.mean([each[2] for each in users])),
            sum(each[3] for each in users),
            sum(each[4] for each in users),
        )
        for (method, budget), users in found.items()
    ]
    print(save_result("allocation", f"python -m benchmarks.allocation --users {len(names)}", rows))


def measured(
    model: SpeechModel,
    speaker: Measurement,
    plan: Plan,
    heard: list[NDArray[np.float32]],
    texts: list[str],
    base: list[NDArray[np.float32]],
) -> tuple[float, int, int]:
    """KL from the float model in nats per frame, word errors, and words, of a plan on test clips."""
    reference = build_reference(model, round_plan(speaker, plan))
    logits = [reference.logits(waveform) for waveform in heard]
    total = sum(divergence(p, q) for p, q in zip(base, logits, strict=True))
    counts = word_errors(texts, [greedy_text(each, model.tokens) for each in logits])
    return total / sum(len(each) for each in base), counts.errors, counts.reference_length


def divergence(p_logits: NDArray[np.float32], q_logits: NDArray[np.float32]) -> float:
    """KL(p, q) summed over frames; logits [frames, vocab]."""
    p, q = (torch.from_numpy(each).double().log_softmax(-1) for each in (p_logits, q_logits))
    return float((p.exp() * (p - q)).sum())


if __name__ == "__main__":
    main()
