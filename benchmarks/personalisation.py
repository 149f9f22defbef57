"""Does personalising help? Every user's plan on every user's test clips, at equal bytes.

python -m benchmarks.personalisation [--share 0.035]

Plans (precisions and activation ranges) from one user's tune clips are run on all users' test clips: the
diagonal is one's own plan, the rest somebody else's. `generic` is planned on all other users' costs together.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.allocation import divergence
from benchmarks.results import save_result
from exporters.planning import plan_for, round_plan, size_limits
from exporters.target import load_target
from personalize.plan import LayerProfile, Profile
from personalize.reference import build_reference
from personalize.sensitivity import ProfileOptions, measure
from speech.datasets import audio_hash, choose_clips, find_clips, read_clips
from speech.models import load_model
from speech.models.base import SpeechModel

USERS = Path("speech/default_users")
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Matrix:
    """KL in nats per frame: kl[tuned][tested]; generic[tested] leaves the tested user out.

    own_over_other, own_over_generic: ratio of means over users, with a bootstrap interval of 95 % over users.
    """

    users: tuple[str, ...]
    budget_bytes: int
    kl: tuple[tuple[float, ...], ...]
    generic: tuple[float, ...]
    own_over_other: tuple[float, float, float]
    own_over_generic: tuple[float, float, float]


def pooled(profiles: list[Profile]) -> Profile:
    """Mean costs and widest ranges of several users."""
    layers = []
    for of_layer in zip(*(profile.layers for profile in profiles), strict=True):
        first: LayerProfile = of_layer[0]
        costs = {
            label: float(np.mean([layer.costs[label] for layer in of_layer]))
            for label in first.costs
        }
        statistics = {
            key: (min if key.endswith("min") else max)(layer.statistics[key] for layer in of_layer)
            for key in first.statistics
        }
        layers.append(replace(first, costs=costs, statistics=statistics))
    return replace(profiles[0], layers=tuple(layers))


def ratio(own: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean of `own` over mean of `other`, and its 95 % interval over resampled users."""
    picks = np.random.default_rng(0).integers(0, len(own), (RESAMPLES, len(own)))
    low, high = np.quantile(own[picks].mean(1) / other[picks].mean(1), [0.025, 0.975])
    return float(own.mean() / other.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.035, help="0: smallest plan, 1: float")
    options = parser.parse_args()
    model, target = load_model("default"), load_target("xnnpack")
    names = sorted(path.name for path in USERS.iterdir() if path.is_dir())
    profiles, heard, base = [], [], []
    for name in names:
        recordings, _ = choose_clips(find_clips(USERS / name / "tune"), 16)
        waveforms = [recording.waveform for recording in recordings]
        profiles.append(
            measure(
                model, waveforms, target.menu, target.scale_dtype, audio_hash(recordings),
                ProfileOptions(),
            )
        )  # fmt: skip
        tests, _ = read_clips(find_clips(USERS / name / "test"), need_text=True)
        heard.append([recording.waveform for recording in tests])
        base.append([model.logits(waveform) for waveform in heard[-1]])
    overhead = target.overhead_bytes(model)
    smallest, floats = size_limits(profiles[0], target.menu, target.layer_bytes, overhead)
    budget = smallest + int(options.share * (floats - smallest))

    def planned(profile: Profile) -> SpeechModel:
        plan = plan_for(profile, target, budget, overhead)
        return build_reference(model, round_plan(model, profile, plan, target))

    def kl(reference: SpeechModel, user: int) -> float:
        total = sum(
            divergence(p, reference.logits(waveform))
            for p, waveform in zip(base[user], heard[user], strict=True)
        )
        return total / sum(len(p) for p in base[user])

    table = np.zeros((len(names), len(names)))
    generic = np.zeros(len(names))
    for tuned, profile in enumerate(profiles):
        reference = planned(profile)
        table[tuned] = [kl(reference, tested) for tested in range(len(names))]
        rest = [each for user, each in enumerate(profiles) if user != tuned]
        generic[tuned] = kl(planned(pooled(rest)), tuned)
        print(
            names[tuned], np.round(table[tuned], 5), "generic", round(generic[tuned], 5), flush=True
        )
    own = table.diagonal()
    others = (table.sum(0) - own) / (len(names) - 1)
    found = Matrix(
        tuple(names),
        budget,
        tuple(tuple(float(value) for value in row) for row in table),
        tuple(float(value) for value in generic),
        ratio(own, others),
        ratio(own, generic),
    )
    print(found.own_over_other, found.own_over_generic)
    print(
        save_result(
            "personalisation",
            f"python -m benchmarks.personalisation --share {options.share}",
            found,
        )
    )


if __name__ == "__main__":
    main()
