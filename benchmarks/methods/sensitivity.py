"""Are the costs right? Every sensitivity method against brute force and word errors, on the default model.

python -m benchmarks.methods.sensitivity [--speakers synth-ada,libri-1462,ocean-0306] [--clips 12]

Brute force (`kl`) quantises one layer at a time and measures the true divergence of the posteriors. Beside
the method that `personalize` uses (`fisher`: the product of error and gradient is summed over the clip, then
squared) stand the cheaper-looking one that squares frame by frame, and all others that `--sensitivity` knows.
What a method takes is CPU time, in float forward passes over the same clips.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.results import save_result
from benchmarks.speakers import Speaker, load_speaker
from myqasr.exporters.target import load_target, measured_together
from myqasr.personalize.measuring.sensitivity import (
    METHODS,
    Measurement,
    ProfileOptions,
    measure,
    measure_again,
)
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.kernels import layer_output
from myqasr.personalize.rounding.reference import build_reference
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.scoring import word_errors

Pairs = dict[tuple[str, str], float]
Waveforms = list[NDArray[np.float32]]
Found = TypeVar("Found")

MORE_DRAWS = (4, 8)
FRAME_DRAWS = (1, 4)


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one speaker's clips.

    draws: of labels, a clip. kl, kl_within_4_bit, wer: Spearman correlation over pairs of layer and precision
    with true divergence, the same among 4-bit integers only, and with the change of word errors on test
    clips. passes: CPU time in float forward passes.
    """

    speaker: str
    method: str
    draws: int
    kl: float
    kl_within_4_bit: float
    wer: float
    passes: float


def cpu_seconds(work: Callable[[], Found]) -> tuple[Found, float]:
    """What it gives and the CPU time it takes."""
    started = time.process_time()
    return work(), time.process_time() - started


def costs_of(measured: Measurement) -> Pairs:
    """Costs by layer and label."""
    return {
        (layer.shape.name, label): cost
        for layer in measured.profile.layers
        for label, cost in layer.costs.items()
    }


def more_word_errors(model: SpeechModel, speaker: Speaker, measured: Measurement) -> Pairs:
    """Word errors on the test clips with one layer quantised, beyond those of the float model."""
    texts = list(speaker.texts)
    at_float = word_errors(texts, [model.transcribe(clip) for clip in speaker.test]).errors
    found = {}
    for layer in measured.profile.layers:
        for label in layer.costs:
            codes = measured.rounding.codes(layer, QuantSpec.from_label(label))
            changed = build_reference(model, {layer.shape.name: codes})
            heard = [changed.transcribe(clip) for clip in speaker.test]
            found[layer.shape.name, label] = float(word_errors(texts, heard).errors - at_float)
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


def correlation(one: Pairs, other: Pairs, keys: list[tuple[str, str]]) -> float:
    """Spearman's, over some pairs."""
    return round(float(spearmanr([one[k] for k in keys], [other[k] for k in keys]).statistic), 4)


def one_speaker(name: str, clips: int) -> tuple[list[Row], int]:
    """All methods on one speaker's clips, and how many pairs changed a word."""
    model, target, speaker = load_model("default"), load_target("xnnpack"), load_speaker(name)
    waveforms = list(speaker.tune[:clips])

    def again(method: str, per_clip: int) -> tuple[Pairs, float]:
        options = ProfileOptions(method=method, label_draws=per_clip * len(waveforms))
        measured, seconds = cpu_seconds(
            lambda: measure_again(model, waveforms, target.menu, base, options)
        )
        return costs_of(measured), seconds

    base = measure(model, waveforms, target.menu, measured_together().scale_dtype, "")
    _, forward = cpu_seconds(lambda: [model.logits(clip) for clip in waveforms])
    true, brute = again("kl", 1)
    words = more_word_errors(model, speaker, base)
    keys = list(true)
    narrow = [key for key in keys if key[1].startswith("int4")]
    rows = []

    def compare(method: str, per_clip: int, costs: Pairs, seconds: float) -> None:
        rows.append(
            Row(
                name, method, per_clip,
                correlation(costs, true, keys), correlation(costs, true, narrow),
                correlation(costs, words, keys), round(seconds / forward, 1),
            )
        )  # fmt: skip
        print(rows[-1], flush=True)

    compare("kl", 1, true, brute)
    for method in METHODS:
        if method != "kl":
            compare(method, 1, *again(method, 1))
    for draws in MORE_DRAWS:
        compare("fisher", draws, *again("fisher", draws))
    for draws in FRAME_DRAWS:
        costs, seconds = cpu_seconds(lambda: frame_by_frame(model, waveforms, base, draws))  # noqa: B023
        compare("fisher, frame by frame", draws, costs, seconds)
    return rows, sum(change != 0 for change in words.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--speakers", default="synth-ada,libri-1462,ocean-0306")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, changed = [], {}
    for name in options.speakers.split(","):
        found, changed[name] = one_speaker(name, options.clips)
        rows += found
    figures = {"clips": options.clips, "pairs_that_change_a_word": changed, "rows": rows}
    command = f"python -m benchmarks.methods.sensitivity --speakers {options.speakers}"
    print(save_result("sensitivity", command, figures))


if __name__ == "__main__":
    main()
