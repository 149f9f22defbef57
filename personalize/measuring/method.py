"""What a sensitivity method is: what each precision of each layer costs, said for one clip at a time."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.observe import Inputs, hooks
from myqasr.speech.models.base import SpeechModel


@dataclass(frozen=True, slots=True)
class ClipCosts:
    """One clip's share: output frames, and layer -> precision label -> cost summed over them."""

    frames: int
    costs: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a method is given beside the clip.

    model: the float model, on `device`. rounded: layer, in the order in which they run -> codes of every
    precision to be costed; they may be read from a file whenever they are asked for. draws: label sequences
    to draw, for methods that need labels. inputs: waveform [samples] -> all that the module takes for it, on
    the device; `SpeechModel.inputs` if not given. precisions: those of every layer, in the order of its
    codes, which are asked if not given.
    """

    model: SpeechModel
    rounded: Mapping[str, Sequence[LayerCodes]]
    draws: int
    device: str
    inputs: Inputs | None = None
    precisions: Mapping[str, Sequence[QuantSpec]] | None = None

    def specs(self, layer: str) -> Sequence[QuantSpec]:
        """Precisions of a layer to be costed; its codes aren't read if that can be helped."""
        if self.precisions is not None:
            return self.precisions.get(layer, ())
        return [codes.spec for codes in self.rounded.get(layer, ())]

    def heard(self, waveform: NDArray[np.float32]) -> tuple[Tensor, ...]:
        """What the model's module takes for one waveform [samples]."""
        if self.inputs is not None:
            return self.inputs(waveform)
        return self.model.inputs(waveform, self.device)


@dataclass(frozen=True, slots=True)
class Method:
    """clip_costs: setting, waveform [samples] at 16 kHz and seed -> costs, none below zero.

    ranks_only: it says how sensitive a layer is, whatever the precision; such costs can order layers for the
    sweep, not be added up.
    """

    clip_costs: Callable[[Setting, NDArray[np.float32], int], ClipCosts]
    ranks_only: bool = False


def log_posteriors(model: SpeechModel, inputs: tuple[Tensor, ...]) -> Tensor:
    """Log-posteriors [frames, vocab], float64, for a clip's `SpeechModel.inputs`.

    Tokens that greedy decoding may not write at their place have none (minus infinity).
    """
    logits = model.module(*inputs)[0].double()  # small divergences drown in float32
    return _allowed(logits, model).log_softmax(dim=-1)


def _allowed(logits: Tensor, model: SpeechModel) -> Tensor:
    """Logits [frames, vocab] with minus infinity for what may not be written."""
    how = model.tokens.autoregression
    if how is None:
        return logits
    forbidden = torch.from_numpy(how.forbidden(*logits.shape)).to(logits.device)
    return logits.masked_fill(forbidden, -torch.inf)


def divergence(p: Tensor, q: Tensor) -> float:
    """KL(p, q) in nats, summed over frames, of log-posteriors [frames, vocab]."""
    terms = p.exp() * (p - q)
    return float(terms.masked_fill(p == -torch.inf, 0.0).sum())


def mean_per_frame(clips: Sequence[tuple[float, int]]) -> float:
    """Of sums over the frames of clips: (sum, frames) of each."""
    return math.fsum(total for total, _ in clips) / sum(frames for _, frames in clips)


def standard_error(clips: Sequence[tuple[float, int]]) -> float:
    """Of the mean per frame, were these clips, two at least, drawn from all that the speaker says.

    The ratio estimator's; clips: (sum, frames) of each.
    """
    mean, count = mean_per_frame(clips), len(clips)
    residuals = math.fsum((total - mean * frames) ** 2 for total, frames in clips)
    return math.sqrt(residuals * count / (count - 1)) / sum(frames for _, frames in clips)


Take = Callable[[Tensor], None]
"""Takes a gradient of one draw's log-likelihood."""


@dataclass(frozen=True, slots=True)
class Takes:
    """Who takes the gradients of a layer, once a draw each: at its output, then its own at its input.

    at_input: of a layer that takes float values; that of other layers that read the same isn't in it.
    """

    at_output: Take
    at_input: Take | None = None


def backward(
    setting: Setting,
    waveform: NDArray[np.float32],
    seed: int,
    watch: Callable[[str, nn.Module, Tensor, Tensor], Takes | None],
    at_logits: Callable[[Tensor, Tensor], None] | None = None,
) -> int:
    """One forward pass, and a backward pass for each draw of labels from the posteriors; gives the frames.

    watch: called for every layer, as it runs, with its name, module, input and output; says who takes the
    gradients, if anyone. at_logits: called after the forward pass with the logits and the log-posteriors of
    what may be written, [frames, vocab]. `seed` alone decides which labels are drawn.
    """

    def watching(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            with torch.no_grad():
                takes = watch(name, module, inputs[0].detach(), output.detach())
            if takes is None:
                return
            if not output.requires_grad:  # a layer that reads positions, not the audio
                output.requires_grad_()
            output.register_hook(takes.at_output)
            if takes.at_input is not None:
                inputs[0].register_hook(takes.at_input)

        return hook

    features, *written = setting.heard(waveform)
    with own_inputs(setting.model), hooks(setting.model, watching), torch.enable_grad():
        # In float32: with fifty thousand tokens this is much of all memory.
        logits = setting.model.module(features.requires_grad_(), *written)[0]
        raw, logits = logits, _allowed(logits, setting.model)
        if at_logits is not None:
            with torch.no_grad():
                at_logits(raw, logits.log_softmax(dim=-1))
        del raw
        drawn = torch.multinomial(
            logits.detach().softmax(dim=-1).cpu(),
            setting.draws,
            replacement=True,
            generator=torch.Generator().manual_seed(seed),
        ).to(setting.device)  # [frames, draws]
        for draw in range(setting.draws):
            likelihood = -nn.functional.cross_entropy(logits, drawn[:, draw], reduction="sum")
            likelihood.backward(retain_graph=draw + 1 < setting.draws)
    return int(logits.shape[0])


@contextmanager
def own_inputs(model: SpeechModel) -> Iterator[None]:
    """Every layer gets a view of its input to itself, at which the gradient is that of this layer alone."""

    def view(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0]
        if not x.is_floating_point():
            return inputs
        own = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        return own, *inputs[1:]

    handles = [module.register_forward_pre_hook(view) for module in model.layers().values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
