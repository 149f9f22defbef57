"""What the float model's layers see and give on one speaker's clips: shapes, ranges and plain figures."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import LayerShape
from myqasr.personalize.rounding.kernels import has_rows, kind_of, rows
from myqasr.personalize.rounding.ranges import RANGES
from myqasr.speech.models.base import SAMPLE_RATE, SpeechModel
from myqasr.speech.models.spectrogram import FixedConv1d, FixedLinear

Waveforms = Sequence[NDArray[np.float32]]
Inputs = Callable[[NDArray[np.float32]], tuple[Tensor, ...]]
"""Waveform [samples] -> what a model's module takes for it; as `SpeechModel.inputs`, or remembered."""

RowWeights = Callable[[Tensor], Tensor | None]
"""Rows [frames, row] -> how much each counts [frames, 1]; None: all the same."""

VALUES_A_CLIP = 4096
"""So many values of a layer's input and output are kept of every clip, to choose ranges from."""

ROWS_A_CLIP = 512
"""Neighbouring windows of a convolution say nearly the same: more rows would only take longer."""


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
    moments_by: RowWeights | None = None,
    ranges: str = "min-max",
    inputs: Inputs | None = None,
) -> dict[str, Observed]:
    """Run the float model over the clips: layers in order of execution, what they share, their ranges.

    moments_by: also sum up the second moments of the layers' inputs, every row with the weight that this
    gives it. ranges: a key of RANGES, how the ends of a range are chosen. inputs: of the module on the
    device; the model's own if not given.
    """
    seen: dict[str, Observed] = {}
    kept: dict[tuple[str, str], list[Tensor]] = {}
    # First reader of every tensor of the first clip; kept alive, so that no address is used twice.
    readers: dict[int, tuple[Tensor, str]] = {}
    owners: set[str] = set()

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0]
            low_in, high_in = x.aminmax()
            low_out, high_out = output.aminmax()
            found = {
                "input_min": float(low_in),
                "input_max": float(high_in),
                "output_min": float(low_out),
                "output_max": float(high_out),
            }
            for side, values in (("input", x), ("output", output)):
                kept.setdefault((name, side), []).append(sample(values, VALUES_A_CLIP).clone())
            if name not in seen:
                _, first = readers.setdefault(x.data_ptr(), (x, name))
                shape = layer_shape(name, module)
                shared = (
                    shape.kind == "linear" and first in seen and seen[first].shape.kind == "linear"
                )
                moments = seen[first].moments if shared else None
                if (
                    moments is None
                    and moments_by is not None
                    and shape.has_rows
                    and not shape.fixed
                ):
                    moments = x.new_zeros(shape.row_weights, shape.row_weights)
                    owners.add(name)
                seen[name] = Observed(shape, first, found, moments)
            if name in owners:
                add_moments(seen[name].moments, module, x, moments_by)
            if seen[name].statistics is found:
                return
            known = seen[name].statistics
            for key, value in found.items():
                further = min if key.endswith("min") else max
                known[key] = further(known[key], value)

        return hook

    with torch.inference_mode():
        for waveform in waveforms:
            heard = model.inputs(waveform, device) if inputs is None else inputs(waveform)
            with hooks(model, watch):
                logits = model.module(*heard)
            readers.clear()
            if not torch.isfinite(logits).all():
                raise UserError(
                    f"{model.model_id} gives NaN or infinite logits on a clip; its weights are damaged"
                )
            progress()
        for (name, side), parts in kept.items():
            found = seen[name].statistics
            ends = found[f"{side}_min"], found[f"{side}_max"]
            found[f"{side}_min"], found[f"{side}_max"] = RANGES[ranges](torch.cat(parts), *ends)
    return seen


def remembering(model: SpeechModel, device: str) -> Inputs:
    """`SpeechModel.inputs` that finds out only once what a model writes; it keeps tokens, not audio."""
    known: dict[str, list[Tensor]] = {}

    def inputs(waveform: NDArray[np.float32]) -> tuple[Tensor, ...]:
        key = hashlib.sha256(waveform.tobytes()).hexdigest()
        if key not in known:
            features, *known[key] = model.inputs(waveform, device)
            return features, *known[key]
        return model.features(waveform).to(device), *known[key]

    return inputs


def sample(values: Tensor, most: int) -> Tensor:
    """At most so many of the values, flat, evenly chosen."""
    flat = values.flatten()
    return flat[:: -(-len(flat) // most)]


def equal_weights(rows: Tensor) -> Tensor | None:
    """All rows count the same."""
    return None


def by_difference(rows: Tensor) -> Tensor:
    """Rows [frames, row] count by their distance from the row before: what is held says little new.

    Weights [frames, 1], one in the mean.
    """
    steps = (rows[1:] - rows[:-1]).norm(dim=1, keepdim=True)
    weights = torch.cat((steps[:1], steps)) if len(rows) > 1 else rows.new_ones(1, 1)
    return weights / weights.mean().clamp_min(1e-12)


def add_moments(
    moments: Tensor | None, module: nn.Module, x: Tensor, weights_of: RowWeights | None
) -> None:
    """Add a clip's input [1, ...] to a layer's moments; a long clip is represented by some of its rows."""
    if moments is None or weights_of is None:
        return
    stride = module.stride[0] if isinstance(module, nn.Conv1d) else 1
    frames = x.shape[-1] // stride if isinstance(module, nn.Conv1d) else x.shape[-2]
    every = -(-frames // ROWS_A_CLIP)
    some = rows(module, x, every).flatten(0, -2)
    weights = weights_of(some)
    moments.addmm_(some.T, some if weights is None else weights * some, alpha=every)


def mix_moments(
    model: SpeechModel,
    observed: dict[str, Observed],
    seconds: float,
    others: Waveforms,
    share: float,
    device: str,
    moments_by: RowWeights,
) -> None:
    """Make the moments those of `share` own speech and 1 - share of others', in place, per second of each.

    seconds: of own speech that was observed. others: other speakers' clips; the model is run over them.
    """
    general = observe(model, others, device, lambda: None, moments_by)
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
