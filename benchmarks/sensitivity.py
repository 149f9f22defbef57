"""Are the costs right? One-pass costs against brute force, on the default model.

python -m benchmarks.sensitivity [--clips 12] [--user synth-ada]

Brute force quantises one layer at a time and measures the true divergence of the posteriors. Beside the
method that `personalize` uses (the product of error and gradient is summed over the clip, then squared)
stands the cheaper-looking one that squares frame by frame.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.results import save_result
from exporters.planning import union_scale_dtype
from exporters.target import load_target
from personalize.kernels import layer_output
from personalize.plan import FLOAT32, QuantSpec
from personalize.reference import build_reference
from personalize.sensitivity import Measurement, ProfileOptions, measure
from speech.datasets import choose_clips, find_clips
from speech.models import load_model
from speech.models.base import SpeechModel

Pairs = dict[tuple[str, str], float]
Waveforms = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to estimate; Spearman correlations with brute force."""

    product: str
    draws: int
    all: float
    within_4_bit: float
    seconds: float


def log_posteriors(model: SpeechModel, waveforms: Waveforms) -> list[torch.Tensor]:
    return [torch.from_numpy(model.logits(w)).double().log_softmax(-1) for w in waveforms]


def brute_force(model: SpeechModel, waveforms: Waveforms, speaker: Measurement) -> Pairs:
    """True divergence, nats per frame, with one layer quantised at a time."""
    base = log_posteriors(model, waveforms)
    found = {}
    for layer in speaker.profile.layers:
        for label in layer.costs:
            codes = speaker.rounding.codes(layer, QuantSpec.from_label(label))
            changed = log_posteriors(build_reference(model, {layer.shape.name: codes}), waveforms)
            total = sum(
                float((p.exp() * (p - q)).sum()) for p, q in zip(base, changed, strict=True)
            )
            found[layer.shape.name, label] = total / speaker.profile.frames
    return found


def frame_by_frame(
    model: SpeechModel, waveforms: Waveforms, speaker: Measurement, draws: int
) -> Pairs:
    """The estimate that squares the product at every output position."""
    modules, generator = model.layers(), torch.Generator().manual_seed(0)
    candidates = {
        (layer.shape.name, label): speaker.rounding.codes(layer, QuantSpec.from_label(label))
        for layer in speaker.profile.layers
        for label in layer.costs
    }
    found = dict.fromkeys(candidates, 0.0)
    for waveform in waveforms:
        seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        gradients: dict[str, torch.Tensor] = {}

        def watch(name: str) -> Any:
            def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
                seen[name] = (inputs[0].detach(), output.detach())  # noqa: B023
                output.register_hook(lambda g: gradients.__setitem__(name, g))  # noqa: B023

            return hook

        handles = [m.register_forward_hook(watch(name)) for name, m in modules.items()]
        features = model.features(waveform).requires_grad_()
        log_posterior = model.module(features)[0].log_softmax(-1)
        labels = torch.multinomial(
            log_posterior.detach().exp(), draws, replacement=True, generator=generator
        )
        for draw in range(draws):
            log_posterior.gather(1, labels[:, draw : draw + 1]).sum().backward(retain_graph=True)
            for (name, label), codes in candidates.items():
                module: Any = modules[name]
                x, y = seen[name]
                error = layer_output(module, x, codes, codes.dequantized(module.weight)) - y
                channels = -1 if isinstance(module, torch.nn.Linear) else 1
                product = (error * gradients[name]).sum(dim=channels).double()
                found[name, label] += float(product.square().sum()) / (
                    2 * draws * speaker.profile.frames
                )
        for handle in handles:
            handle.remove()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--user", default="synth-ada")
    options = parser.parse_args()
    torch.set_num_threads(2)
    model, target = load_model("default"), load_target("xnnpack")
    folder = Path("speech/default_users") / options.user / "tune"
    recordings, _ = choose_clips(find_clips(folder), options.clips)
    waveforms = [recording.waveform for recording in recordings]

    def estimate(draws: int) -> tuple[Measurement, float]:
        started = time.perf_counter()
        speaker = measure(
            model, waveforms, target.menu, union_scale_dtype, "", ProfileOptions(label_draws=draws)
        )
        return speaker, time.perf_counter() - started

    speaker, _ = estimate(options.clips)
    started = time.perf_counter()
    true = brute_force(model, waveforms, speaker)
    brute_seconds = time.perf_counter() - started
    keys = [key for key in true if key[1] != FLOAT32.label]
    narrow = [key for key in keys if key[1].startswith("int4")]

    def compare(name: str, draws: int, costs: Pairs, seconds: float) -> Method:
        def correlation(pairs: list[tuple[str, str]]) -> float:
            rank = spearmanr([costs[k] for k in pairs], [true[k] for k in pairs])
            return round(float(rank.statistic), 4)

        method = Method(name, draws, correlation(keys), correlation(narrow), round(seconds, 2))
        print(method, flush=True)
        return method

    methods = []
    for per_clip in (1, 2, 4, 8):
        draws = per_clip * options.clips
        speaker, seconds = estimate(draws)
        costs = {
            (la.shape.name, k): c for la in speaker.profile.layers for k, c in la.costs.items()
        }
        methods.append(compare("per clip", draws, costs, seconds))
    for per_clip in (1, 4):
        started = time.perf_counter()
        costs = frame_by_frame(model, waveforms, speaker, per_clip)
        seconds = time.perf_counter() - started
        methods.append(compare("per frame", per_clip * options.clips, costs, seconds))
    figures = {
        "user": options.user,
        "clips": options.clips,
        "pairs": len(keys),
        "brute_force_seconds": brute_seconds,
        "methods": methods,
    }
    print(save_result("sensitivity", "python -m benchmarks.sensitivity", figures))


if __name__ == "__main__":
    main()
