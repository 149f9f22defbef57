"""True costs: one layer at a time at one precision, and the divergence that it makes. The yardstick."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.personalize.measuring.method import ClipCosts, Setting, divergence, log_posteriors
from myqasr.personalize.planning.plan import FLOAT32
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import layer_output
from myqasr.personalize.rounding.observe import hooks
from myqasr.speech.models.base import SpeechModel

Forward = Callable[[Tensor], Tensor]
NOTHING: Mapping[str, LayerCodes] = MappingProxyType({})


def clip_costs(setting: Setting, waveform: NDArray[np.float32], seed: int) -> ClipCosts:
    """Nats that each layer alone makes at each precision, all others in float; `seed` is unused."""
    return costs_around(setting, waveform, NOTHING)


def costs_around(
    setting: Setting, waveform: NDArray[np.float32], planned: Mapping[str, LayerCodes]
) -> ClipCosts:
    """Divergence from the float model, summed over the frames, with one layer at a time at each precision.

    planned: how the other layers compute; those without an entry are float. A layer that has one is also
    tried in float32. What ran before the layer isn't computed again: it gives what it gave.
    """
    modules = setting.model.layers()
    inputs = setting.heard(waveform)
    others = {name: with_codes(modules[name], codes) for name, codes in planned.items()}
    costs: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        float_posteriors = log_posteriors(setting.model, inputs)
        calls: list[tuple[str, Tensor]] = []
        with _replaced(modules, others), hooks(setting.model, _recording(calls)):
            log_posteriors(setting.model, inputs)
        order = [name for name, _ in calls]
        count = Counter(order)
        for name, candidates in setting.rounded.items():
            before = calls[: order.index(name)]
            known = {n: _giving(output) for n, output in before if count[n] == 1}
            tried = [*candidates, LayerCodes(FLOAT32)] if name in planned else candidates
            costs[name] = {}
            for codes in tried:
                changed = {name: with_codes(modules[name], codes)}
                with _replaced(modules, {**others, **known, **changed}):
                    posteriors = log_posteriors(setting.model, inputs)
                costs[name][codes.spec.label] = max(0.0, divergence(float_posteriors, posteriors))
    return ClipCosts(int(float_posteriors.shape[0]), costs)


def divergence_of(
    model: SpeechModel,
    waveform: NDArray[np.float32],
    planned: Mapping[str, LayerCodes],
    device: str,
) -> tuple[float, int]:
    """Nats, summed over the frames, between the float model and the planned one on a clip; and the frames."""
    inputs = model.inputs(waveform, device)
    with torch.inference_mode():
        float_posteriors = log_posteriors(model, inputs)
    posteriors = next(posteriors_with(model, [inputs], planned))
    return divergence(float_posteriors, posteriors), int(float_posteriors.shape[0])


def posteriors_with(
    model: SpeechModel, clips: Sequence[tuple[Tensor, ...]], planned: Mapping[str, LayerCodes]
) -> Iterator[Tensor]:
    """Log-posteriors [frames, vocab] of the planned model for each clip's `SpeechModel.inputs`.

    Codes are expanded once for all of them.
    """
    modules = model.layers()
    with torch.inference_mode():
        changed = {name: with_codes(modules[name], codes) for name, codes in planned.items()}
    for inputs in clips:
        with torch.inference_mode(), _replaced(modules, changed):
            found = log_posteriors(model, inputs)
        yield found


def with_codes(module: nn.Module, codes: LayerCodes) -> Forward:
    """The layer as the runtime computes it with these codes."""
    weight = codes.dequantized(module.weight.detach())  # type: ignore[operator]
    return lambda x: layer_output(module, x, codes, weight)


def _giving(output: Tensor) -> Forward:
    # A copy: what follows may add to it in place.
    return lambda x: output.clone()


def _recording(calls: list[tuple[str, Tensor]]) -> Callable[[str], Callable[..., None]]:
    """Hooks that keep what every layer gives, in the order of the calls."""
    return lambda name: lambda module, inputs, output: calls.append((name, output.clone()))


@contextmanager
def _replaced(modules: Mapping[str, nn.Module], forwards: Mapping[str, Forward]) -> Iterator[None]:
    """Layers compute otherwise for the duration of the block."""
    for name, forward in forwards.items():
        modules[name].forward = forward
    try:
        yield
    finally:
        for name in forwards:
            del modules[name].forward
