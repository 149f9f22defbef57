"""Sensitivity methods that look at one layer at a time: how far its output moves, or what it is like.

Cheap stand-ins for the divergence of the posteriors, among them those of myQASR (Fish, Michieli and Ozay, "A
model for every user and budget: label-free and personalized mixed-precision quantization", Interspeech 2023)
and of usual post-training toolkits. To add one, see docs/adding-a-method.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import normaltest
from torch import Tensor, nn

from myqasr.personalize.measuring.method import ClipCosts, Method, Setting, Takes, backward
from myqasr.personalize.rounding.kernels import layer_output
from myqasr.personalize.rounding.observe import hooks, sample

MOST_VALUES = 1 << 16
"""So many values of a layer's output go into figures that need them sorted."""

POWER_STEPS = 12


@dataclass(frozen=True, slots=True)
class Seen:
    """One layer on one clip, all [positions, channels].

    output: the float layer's. changed: the same with the layer at one precision. gradient: of the
    log-likelihood of labels drawn from the posteriors; of use only to figures that ask for it.
    """

    output: Tensor
    changed: Tensor
    gradient: Tensor

    @property
    def change(self) -> Tensor:
        """What the precision does to the output."""
        return self.changed - self.output


def cosine(seen: Seen) -> float:
    """One minus the cosine between both outputs."""
    similarity = nn.functional.cosine_similarity(
        seen.output.flatten().double(), seen.changed.flatten().double(), dim=0
    )
    return float(1 - similarity)


def spectral(seen: Seen) -> float:
    """Largest singular value of the change, by power iteration."""
    change = seen.change
    vector = torch.ones(change.shape[1], device=change.device)
    for _ in range(POWER_STEPS):
        vector = nn.functional.normalize(change.T @ (change @ vector), dim=0)
    return float((change @ vector).norm())


def output_kl(seen: Seen) -> float:
    """KL divergence between both outputs, each position's channels taken for logits; mean over positions."""
    p, q = seen.output.double().log_softmax(-1), seen.changed.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def normality(seen: Seen) -> float:
    """D'Agostino and Pearson's statistic: how unlike a normal distribution the outputs are."""
    values = sample(seen.output, MOST_VALUES).cpu().numpy()
    return float(normaltest(values).statistic) if np.ptp(values) > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """of: what is computed; its magnitude counts. The rest says what it needs and means."""

    of: Callable[[Seen], float]
    needs_gradient: bool = False
    ranks_only: bool = False


FIGURES: dict[str, Figure] = {
    "l1": Figure(lambda seen: float(seen.change.abs().mean())),
    "l2": Figure(lambda seen: float(seen.change.square().mean().sqrt())),
    "frobenius": Figure(
        lambda seen: float(seen.change.norm() / seen.output.norm().clamp_min(1e-12))
    ),
    "cosine": Figure(cosine),
    "spectral": Figure(spectral),
    "output-kl": Figure(output_kl),
    "mean": Figure(lambda seen: float(seen.output.mean()), ranks_only=True),
    "median": Figure(
        lambda seen: float(sample(seen.output, MOST_VALUES).median()), ranks_only=True
    ),
    "max": Figure(lambda seen: float(seen.output.max()), ranks_only=True),
    "abs-max": Figure(lambda seen: float(seen.output.abs().max()), ranks_only=True),
    "std": Figure(lambda seen: float(seen.output.std()), ranks_only=True),
    "var": Figure(lambda seen: float(seen.output.var()), ranks_only=True),
    "normality": Figure(normality, ranks_only=True),
    "gradient-max": Figure(
        lambda seen: float(seen.gradient.max()), needs_gradient=True, ranks_only=True
    ),
    "gradient-min": Figure(
        lambda seen: float(seen.gradient.min()), needs_gradient=True, ranks_only=True
    ),
}
"""Name -> figure. Those that don't only rank are costs of a precision, in units of their own."""


def clip_costs(
    figure: Figure, setting: Setting, waveform: NDArray[np.float32], seed: int
) -> ClipCosts:
    """A figure's magnitude for every layer and precision on one clip, times the clip's output frames."""
    costs: dict[str, dict[str, float]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, y: add(name, module, inputs[0], y, torch.zeros_like(y))

    def add(name: str, module: nn.Module, x: Tensor, y: Tensor, gradient: Tensor) -> None:
        found = costs.setdefault(name, {})
        output, slope = by_position(module, y), by_position(module, gradient)
        with torch.no_grad():
            if figure.ranks_only:
                value = abs(figure.of(Seen(output, output, slope)))
            for codes in setting.rounded.get(name, []):
                if not figure.ranks_only:
                    weight = codes.dequantized(module.weight)  # type: ignore[arg-type]
                    changed = by_position(module, layer_output(module, x, codes, weight))
                    value = abs(figure.of(Seen(output, changed, slope)))
                found[codes.spec.label] = found.get(codes.spec.label, 0.0) + value

    if figure.needs_gradient:
        frames = backward(
            setting,
            waveform,
            seed,
            lambda name, module, x, y: Takes(partial(add, name, module, x, y)),
        )
    else:
        inputs = setting.heard(waveform)
        with hooks(setting.model, watch), torch.inference_mode():
            frames = int(setting.model.module(*inputs).shape[1])
    return ClipCosts(
        frames,
        {
            name: {label: frames * value for label, value in found.items()}
            for name, found in costs.items()
            if name in setting.rounded
        },
    )


def by_position(module: nn.Module, values: Tensor) -> Tensor:
    """Layer output as [positions, channels]."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        values = values.movedim(1, -1)
    return values.reshape(-1, values.shape[-1])


METHODS = {
    name: Method(partial(clip_costs, figure), figure.ranks_only) for name, figure in FIGURES.items()
}
