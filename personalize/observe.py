"""What the float model's layers see and give on one speaker's clips: shapes, ranges and plain figures."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from personalize.kernels import has_rows, kind_of, rows
from personalize.plan import LayerShape
from speech.errors import UserError
from speech.models.base import SAMPLE_RATE, SpeechModel
from speech.models.spectrogram import FixedConv1d, FixedLinear

Waveforms = Sequence[NDArray[np.float32]]

ROWS_A_CLIP = 512
"""Neighbouring windows of a convolution say nearly the same: more rows would only take longer."""

VALUES_A_CLIP = 1 << 16
"""So many values of a layer's output go into its figures; a median of all takes longer than the layer."""

OUTPUT_STATISTICS: dict[str, Callable[[Tensor], float]] = {
    "mean": lambda output: float(output.mean()),
    "median": lambda output: float(output.median()),
    "std": lambda output: float(output.std()),
    "l1": lambda output: float(output.abs().mean()),
    "l2": lambda output: float(output.square().mean().sqrt()),
}
"""Figures of a layer's output that heuristics rank layers by; the mean over clips is kept."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One layer in the float model: shape, which tensor it reads, and the ranges seen.

    share_group: the first layer that reads the same tensor. moments: sum over positions of the outer product
    of the layer's input rows with themselves, [row, row], the same object for linear layers that share their
    input; None where they weren't asked for or the layer has no rows.
    """

    shape: LayerShape
    share_group: str
    statistics: dict[str, float]
    moments: Tensor | None = None


def layer_shape(name: str, module: nn.Module) -> LayerShape:
    """The shape record of a Linear, Conv1d or Conv2d."""
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise UserError(f"layer {name} has no weight tensor")
    groups = module.groups if isinstance(module, nn.Conv1d | nn.Conv2d) else 1
    return LayerShape(
        name,
        kind_of(module),
        tuple(weight.shape),
        module.bias is not None,
        groups,
        has_rows(module),
        isinstance(module, FixedLinear | FixedConv1d),
    )


def observe(
    model: SpeechModel,
    waveforms: Waveforms,
    device: str,
    progress: Callable[[], None],
    with_moments: bool = False,
) -> dict[str, Observed]:
    """Run the float model over the clips: layers in order of execution, what they share, their ranges.

    with_moments: also sum up the second moments of the layers' inputs.
    """
    seen: dict[str, Observed] = {}
    # First reader of every tensor of the first clip; kept alive, so that no address is used twice.
    readers: dict[int, tuple[Tensor, str]] = {}
    owners: set[str] = set()

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0]
            low_in, high_in = x.aminmax()
            low_out, high_out = output.aminmax()
            values = output.flatten()
            some = values[:: -(-len(values) // VALUES_A_CLIP)]
            found = {
                "input_min": float(low_in),
                "input_max": float(high_in),
                "output_min": float(low_out),
                "output_max": float(high_out),
                **{f"output_{key}": figure(some) for key, figure in OUTPUT_STATISTICS.items()},
            }
            if name not in seen:
                _, first = readers.setdefault(x.data_ptr(), (x, name))
                shape = layer_shape(name, module)
                shared = (
                    shape.kind == "linear" and first in seen and seen[first].shape.kind == "linear"
                )
                moments = seen[first].moments if shared else None
                if moments is None and with_moments and shape.has_rows and not shape.fixed:
                    moments = x.new_zeros(shape.row_weights, shape.row_weights)
                    owners.add(name)
                seen[name] = Observed(shape, first, found, moments)
            if name in owners:
                add_moments(seen[name].moments, module, x)
            if seen[name].statistics is found:
                return
            known = seen[name].statistics
            for key, value in found.items():
                if key.endswith("min"):
                    known[key] = min(known[key], value)
                elif key.endswith("max"):
                    known[key] = max(known[key], value)
                else:  # the mean over clips, summed here and divided at the end
                    known[key] += value

        return hook

    with torch.inference_mode():
        for waveform in waveforms:
            inputs = model.inputs(waveform, device)
            with hooks(model, watch):
                logits = model.module(*inputs)
            readers.clear()
            if not torch.isfinite(logits).all():
                raise UserError(
                    f"{model.model_id} gives NaN or infinite logits on a clip; its weights are damaged"
                )
            progress()
    for layer in seen.values():
        for key in OUTPUT_STATISTICS:
            layer.statistics[f"output_{key}"] /= len(waveforms)
    return seen


def add_moments(moments: Tensor | None, module: nn.Module, x: Tensor) -> None:
    """Add a clip's input [1, ...] to a layer's moments; a long clip is represented by some of its rows."""
    if moments is None:
        return
    stride = module.stride[0] if isinstance(module, nn.Conv1d) else 1
    frames = x.shape[-1] // stride if isinstance(module, nn.Conv1d) else x.shape[-2]
    every = -(-frames // ROWS_A_CLIP)
    some = rows(module, x, every).flatten(0, -2)
    moments.addmm_(some.T, some, alpha=every)


def mix_moments(
    model: SpeechModel,
    observed: dict[str, Observed],
    seconds: float,
    others: Waveforms,
    share: float,
    device: str,
) -> None:
    """Make the moments those of `share` own speech and 1 - share of others', in place, per second of each.

    seconds: of own speech that was observed. others: other speakers' clips; the model is run over them.
    """
    general = observe(model, others, device, lambda: None, with_moments=True)
    heard = sum(len(waveform) for waveform in others) / SAMPLE_RATE
    mixed: set[int] = set()
    with torch.inference_mode():  # the moments were made in it
        for name, layer in observed.items():
            theirs = general[name].moments
            if layer.moments is not None and theirs is not None and id(layer.moments) not in mixed:
                mixed.add(id(layer.moments))  # layers that share their input share these
                layer.moments.mul_(share / seconds).add_(theirs, alpha=(1 - share) / heard)


@contextmanager
def hooks(
    model: SpeechModel,
    make: Callable[[str], Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]],
) -> Iterator[None]:
    """A forward hook on every layer for the duration of the block."""
    handles = [module.register_forward_hook(make(name)) for name, module in model.layers().items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
