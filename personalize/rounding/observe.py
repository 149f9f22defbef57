"""What the float model's layers see and give on one speaker's clips: shapes, ranges and plain figures."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import LayerShape
from myqasr.personalize.rounding.kernels import has_rows, kind_of, rows
from myqasr.personalize.rounding.ranges import RANGES
from myqasr.speech.models.base import SpeechModel, TokenEmbedding
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


@dataclass(slots=True, eq=False)
class Moments:
    """Second moments of a layer's input: sum over positions of the outer product of its rows with themselves.

    total: [row, row]. rows: how many different ones it is the sum of.
    """

    total: Tensor
    rows: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """One layer in the float model: shape, which tensor it reads, and the ranges seen.

    share_group: the first layer that reads the same tensor. moments: of its input, the same object for linear
    layers that share their input; None where they weren't asked for or the layer has no rows.
    """

    shape: LayerShape
    share_group: str
    statistics: dict[str, float]
    moments: Moments | None = None


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
        module.matrix_of if isinstance(module, TokenEmbedding) else "",
    )


class Listening:
    """The float model's layers, as far as they were heard: what they see and give, summed up over clips.

    moments_by: also sum up the second moments of the layers' inputs, every row with the weight that this
    gives it. inputs: of the module on the device; the model's own if not given.
    """

    def __init__(
        self,
        model: SpeechModel,
        device: str,
        moments_by: RowWeights | None = None,
        inputs: Inputs | None = None,
    ) -> None:
        self._model, self._device = model, device
        self._moments_by, self._inputs = moments_by, inputs
        self._seen: dict[str, Observed] = {}
        self._kept: dict[tuple[str, str], list[Tensor]] = {}
        # First reader of every tensor of a clip; kept alive, so that no address is used twice.
        self._readers: dict[int, tuple[Tensor, str]] = {}
        self._owners: set[str] = set()

    @torch.inference_mode()
    def hear(self, waveform: NDArray[np.float32]) -> None:
        """Run the model over a clip [samples]; raises UserError when its logits aren't finite."""
        model = self._model
        heard = (
            model.inputs(waveform, self._device) if self._inputs is None else self._inputs(waveform)
        )
        with hooks(model, self._watch):
            logits = model.module(*heard)
        self._readers.clear()
        if not torch.isfinite(logits).all():
            raise UserError(
                f"{model.model_id} gives NaN or infinite logits on a clip; its weights are damaged"
            )

    @torch.inference_mode()
    def add(self, other: "Listening") -> None:
        """Take over all that another heard with the same model; the other is of no use afterwards."""
        for name, found in other._seen.items():
            moments = self._seen[name].moments
            if name in self._owners and moments is not None and found.moments is not None:
                moments.total.add_(found.moments.total)
                moments.rows += found.moments.rows
            self._widen(name, found.statistics)
        for key, parts in other._kept.items():
            self._kept[key].extend(parts)

    def observed(self, ranges: str = "min-max") -> dict[str, Observed]:
        """Layers in order of execution. ranges: a key of RANGES, how the ends of a range are chosen."""
        found = {}
        for name, layer in self._seen.items():
            statistics = dict(layer.statistics)
            for side in ("input", "output"):
                ends = statistics[f"{side}_min"], statistics[f"{side}_max"]
                values = torch.cat(self._kept[name, side])
                low, high = RANGES[ranges](values, *ends)
                statistics[f"{side}_min"], statistics[f"{side}_max"] = low, high
            found[name] = replace(layer, statistics=statistics)
        return found

    def _watch(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
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
                few = sample(values, VALUES_A_CLIP).clone()
                self._kept.setdefault((name, side), []).append(few)
            if name in self._seen:
                self._widen(name, found)
            else:
                self._meet(name, module, x, found)
            if name in self._owners:
                add_moments(self._seen[name].moments, module, x, self._moments_by)

        return hook

    def _meet(self, name: str, module: nn.Module, x: Tensor, found: dict[str, float]) -> None:
        """A layer runs for the first time."""
        _, first = self._readers.setdefault(x.data_ptr(), (x, name))
        shape = layer_shape(name, module)
        seen = self._seen
        shared = shape.kind == "linear" and first in seen and seen[first].shape.kind == "linear"
        moments = seen[first].moments if shared else None
        asked = self._moments_by is not None and shape.has_rows and not shape.fixed
        if moments is None and asked:
            moments = Moments(x.new_zeros(shape.row_weights, shape.row_weights))
            self._owners.add(name)
        seen[name] = Observed(shape, first, found, moments)

    def _widen(self, name: str, found: dict[str, float]) -> None:
        known = self._seen[name].statistics
        for key, value in found.items():
            further = min if key.endswith("min") else max
            known[key] = further(known[key], value)


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

    moments_by, inputs: as of `Listening`. ranges: as of its `observed`.
    """
    listening = Listening(model, device, moments_by, inputs)
    for waveform in waveforms:
        listening.hear(waveform)
        progress()
    return listening.observed(ranges)


def remembering(model: SpeechModel, device: str) -> Inputs:
    """`SpeechModel.inputs` without most of the padding, for looking at layers.

    What a model writes is found out once, with all its padding; tokens are kept, not audio.
    """
    known: dict[str, list[Tensor]] = {}

    def inputs(waveform: NDArray[np.float32]) -> tuple[Tensor, ...]:
        key = hashlib.sha256(waveform.tobytes()).hexdigest()
        if key not in known:
            features, *known[key] = model.inputs(waveform, device)
        else:
            features = model.features(waveform).to(device)
        return model.unpadded(features, len(waveform)), *known[key]

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
    moments: Moments | None, module: nn.Module, x: Tensor, weights_of: RowWeights | None
) -> None:
    """Add a clip's input [1, ...] to a layer's moments; a long clip is represented by some of its rows."""
    if moments is None or weights_of is None:
        return
    stride = module.stride[0] if isinstance(module, nn.Conv1d) else 1
    frames = x.shape[-1] // stride if isinstance(module, nn.Conv1d) else x.shape[-2]
    every = -(-frames // ROWS_A_CLIP)
    some = rows(module, x, every).flatten(0, -2)
    weights = weights_of(some)
    moments.total.addmm_(some.T, some if weights is None else weights * some, alpha=every)
    moments.rows += len(some)


def mix_moments(
    observed: dict[str, Observed],
    seconds: float,
    general: dict[str, Observed],
    heard: float,
    share: float,
) -> dict[str, Observed]:
    """Layers whose moments are those of `share` own speech and 1 - share of others', per second of each.

    seconds: of own speech that was observed. general: the same layers on `heard` seconds of others' speech.
    """
    mixed: dict[int, Moments] = {}  # layers that share their input share these
    found = {}
    with torch.inference_mode():  # the moments were made in it
        for name, layer in observed.items():
            own, theirs = layer.moments, general[name].moments
            if own is None or theirs is None:
                found[name] = layer
                continue
            if id(own) not in mixed:
                total = own.total * (share / seconds)
                total.add_(theirs.total, alpha=(1 - share) / heard)
                # So many rows of one weight say as much.
                rows = 1 / (share**2 / max(own.rows, 1) + (1 - share) ** 2 / max(theirs.rows, 1))
                mixed[id(own)] = Moments(total, rows)
            found[name] = replace(layer, moments=mixed[id(own)])
    return found


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
