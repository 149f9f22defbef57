"""What measuring costs beside the model itself: `measure` in float forward passes over the same clips.

python -m benchmarks.methods.measuring_cost [--clips 4] [--seconds 4] [--threads 1]

A wav2vec2-base-sized model of random weights. Brute force needs a forward pass for each of the pairs of layer
and precision; here the time for all of them is divided by that of one forward pass over the clips.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.files.base_model import make_model
from benchmarks.results import BUILD, save_result
from myqasr.exporters.target import measured_together
from myqasr.personalize.measuring.sensitivity import ProfileOptions, measure
from myqasr.personalize.rounding.layers import round_model
from myqasr.personalize.rounding.observe import equal_weights, observe
from myqasr.speech.models import load_model


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds.

    forward: one float pass over the clips. observe: ranges and input moments. rounding: codes of all layers
    at all precisions. measure: all of it, costs included. pairs: of layer and precision.
    """

    parameters: int
    clips: int
    clip_seconds: float
    threads: int
    pairs: int
    forward: float
    observe: float
    rounding: float
    measure: float


def seconds_of(work: Callable[[], object], repeats: int = 1) -> float:
    """Median wall-clock time."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    make_model(BUILD / "base_model")
    model = load_model(str(BUILD / "base_model"))
    rng = np.random.default_rng(0)
    count = int(options.seconds * 16_000)
    clips = [rng.standard_normal(count).astype(np.float32) for _ in range(options.clips)]

    def forward() -> None:
        for clip in clips:
            model.logits(clip)

    forward()
    once = seconds_of(forward, 3)
    observing = seconds_of(lambda: observe(model, clips, "cpu", lambda: None, equal_weights))
    observed = observe(model, clips, "cpu", lambda: None, equal_weights)
    rounding = seconds_of(
        lambda: round_model(
            model, observed, measured_together().menu, measured_together().scale_dtype
        )
    )
    draws = ProfileOptions(label_draws=len(clips))
    whole = seconds_of(
        lambda: measure(
            model, clips, measured_together().menu, measured_together().scale_dtype, "", draws
        )
    )
    pairs = sum(len(measured_together().menu(layer.shape)) - 1 for layer in observed.values())
    found = Costs(
        sum(parameter.numel() for parameter in model.module.parameters()),
        options.clips,
        options.seconds,
        options.threads,
        pairs,
        *(round(each, 2) for each in (once, observing, rounding, whole)),
    )
    print(found)
    print(save_result("measuring_cost", "python -m benchmarks.methods.measuring_cost", found))


if __name__ == "__main__":
    main()
