"""The integers: codes and scales of every layer, the same in every exported file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core import packing
from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.reading import reading
from myqasr.core.tensors import load_metadata, load_tensors, save_tensors
from myqasr.personalize.planning.plan import LayerProfile, QuantSpec

MIN_SCALE = 2.0**-24
AGAIN = "run `myqasr personalize` again"


def unsigned(spec: QuantSpec) -> bool:
    """Whether codes are uint8."""
    return spec.scheme in ("lut", "q1") or (spec.scheme == "qk" and spec.bits < 6)


def grid(spec: QuantSpec, scales: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scales and least values of integers, each [out, groups], of what `LayerCodes.scales` holds."""
    if spec.scheme == "q1":
        return scales[..., 0], scales[..., 1]
    if spec.scheme != "qk":
        return scales, None
    if spec.bits == 6:
        return (scales[..., :1] * scales[..., 1:]).flatten(1), None
    return (
        (scales[..., :1] * scales[..., 2:10]).flatten(1),
        -(scales[..., 1:2] * scales[..., 10:]).flatten(1),
    )


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """Asymmetric int8 grid of a tensor: real = (code - zero_point) * scale, code in -128..127."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class LayerCodes:
    """One layer as stored.

    codes: int8, shaped like the weight; None for float layers (the float weight is stored). Of a palette, and
        of integers with a least value: uint8.
    scales: float32 [out_channels, groups], groups = 1 when per channel; already rounded to what the
        target stores. real weight = codes * scales. Symmetric: no zero points. Of a palette: its entries,
        rising, [palettes, 2^bits]; each palette serves as many neighbouring output channels. Of `q1`: with
        the least value, [out_channels, groups, 2]; real weight = code * scale + least. Of `qk`:
        [out_channels, groups, 18], a step of scales and one of least values, then these as integers, 8 each;
        at 6 bits [out_channels, groups, 17], without least values. `grid` multiplies them out.
    input_range, output_range: only with `int8-static` activations.
    """

    spec: QuantSpec
    codes: Tensor | None = None
    scales: Tensor | None = None
    input_range: ActivationRange | None = None
    output_range: ActivationRange | None = None

    def dequantized(self, weight: Tensor) -> Tensor:
        """The weight as the kernel sees it, float32, shaped like `weight` (the float original)."""
        if self.codes is None or self.scales is None:
            return weight.half().float() if self.spec.bits == 16 else weight
        if self.spec.scheme == "lut":
            indices = self.codes.reshape(len(self.scales), -1).long()
            return self.scales.gather(1, indices).reshape(weight.shape)
        scales, least = grid(self.spec, self.scales)
        grouped = self.codes.reshape(*scales.shape, -1).float() * scales[:, :, None]
        if least is not None:
            grouped = grouped + least[:, :, None]
        return grouped.reshape(weight.shape)

    def to(self, device: str) -> "LayerCodes":
        """The same on another device."""
        if self.codes is None or self.scales is None:
            return self
        return replace(self, codes=self.codes.to(device), scales=self.scales.to(device))

    def some(self, channels: Tensor | slice) -> "LayerCodes":
        """The same for these output channels only: n indices, any of them twice, or a slice."""
        if self.codes is None or self.scales is None:
            return self
        tables = channels
        if self.spec.scheme == "lut":  # one palette serves neighbouring channels
            count = len(self.codes)
            places = torch.arange(count)[channels] if isinstance(channels, slice) else channels
            tables = places * len(self.scales) // count
        return LayerCodes(self.spec, self.codes[channels], self.scales[tables])


Precisions = dict[str, tuple[Tensor, Tensor]]
"""Label of what is stored (`QuantSpec.stored`) -> codes and scales as in `LayerCodes`, on the CPU."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """Codes and scales of every layer at every precision that was measured but floats; serves all plans.

    layers: layer name -> its precisions; it may read them from a file whenever it is asked. A layer that
    reads another's matrix has that one's codes, and only those that it lacks of its own.
    """

    layers: Mapping[str, Precisions]

    def of(self, layer: LayerProfile) -> Precisions:
        """All that there is of a layer."""
        shape = layer.shape
        own = self.layers.get(shape.name, {})
        return {**own, **self.layers.get(shape.matrix_of, {})} if shape.matrix_of else own

    def codes(self, layer: LayerProfile, spec: QuantSpec) -> LayerCodes:
        """One layer at one precision, with the static ranges its profile measured, if it needs any.

        Raises UserError when that precision wasn't measured.
        """
        if spec.scheme == "float":
            return LayerCodes(spec)
        found = self.of(layer).get(spec.stored.label)
        if found is None:
            raise UserError(
                f"layer {layer.shape.name} has no codes at {spec.label}; run `myqasr personalize` again"
            )
        if spec.activation != "int8-static":
            return LayerCodes(spec, *found)
        seen = layer.statistics
        return LayerCodes(
            spec,
            *found,
            activation_range(seen["input_min"], seen["input_max"]),
            activation_range(seen["output_min"], seen["output_max"]),
        )


def activation_range(low: float, high: float) -> ActivationRange:
    """Asymmetric int8 grid that holds [low, high] and represents zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255.0, MIN_SCALE)
    zero_point = round(-128 - low / scale)
    return ActivationRange(scale, max(-128, min(127, zero_point)))


def save_rounding(rounding: Rounding, key: str, path: Path) -> None:
    """Write one safetensors file, whole or not at all. 4-bit codes lie two in a byte.

    key: what the codes belong to; `load_rounding` wants the same.
    """
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, str] = {"key": key}
    for name, precisions in rounding.layers.items():
        for label, (codes, scales) in precisions.items():
            place = f"{name}:{label}"
            even = codes.numel() % 2 == 0
            spec = QuantSpec.from_label(label)
            narrow = spec.bits <= 4 and even
            if narrow and unsigned(spec):
                codes = codes.to(torch.int8) - 8  # noqa: PLW2901
            tensors[f"{place}:nibbles" if narrow else f"{place}:codes"] = (
                packed(codes) if narrow else codes.contiguous()
            )
            tensors[f"{place}:scales"] = scales.contiguous()
            shapes[place] = " ".join(map(str, codes.shape))
    save_tensors(_arrays(tensors), shapes, path)


def load_rounding(path: Path, key: str) -> Rounding:
    """Raises UserError when the file is missing or damaged, or belongs to other recordings."""
    stored, shapes = load_tensors(path, AGAIN)
    if shapes.pop("key", None) != key:
        raise BrokenFileError(
            f"{path} belongs to other recordings or weights; run `myqasr personalize` again"
        )
    tensors = {name: torch.from_numpy(array) for name, array in stored.items()}
    layers: dict[str, Precisions] = {}
    with reading(path, "doesn't hold codes of this version", AGAIN):
        for place, text in shapes.items():
            name, label = place.rsplit(":", 1)
            if f"{place}:nibbles" in tensors:
                codes = unpacked(tensors[f"{place}:nibbles"])
                if unsigned(QuantSpec.from_label(label)):
                    codes = (codes + 8).to(torch.uint8)
            else:
                codes = tensors[f"{place}:codes"]
            shape = [int(size) for size in text.split()]
            layers.setdefault(name, {})[label] = (
                codes.reshape(shape),
                tensors[f"{place}:scales"],
            )
    return Rounding(layers)


def belongs_to(path: Path, key: str) -> bool:
    """Whether there is a file of `save_rounding` with this key; its codes aren't read."""
    try:
        return load_metadata(path, AGAIN).get("key") == key
    except UserError:
        return False


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def packed(codes: Tensor) -> Tensor:
    """Codes of -8 to 7, an even number of them, two in a byte: the first in the high half, 8 added."""
    return torch.from_numpy(
        packing.pack(packing.to_offset(codes.cpu().numpy(), 4), 4, first="high")
    )


def unpacked(nibbles: Tensor, first: packing.Order = "high") -> Tensor:
    """Inverse of `packed`, flat, int8. first: the half of a byte that the first of two codes lies in."""
    values = packing.unpack(nibbles.cpu().numpy(), 4, 2 * nibbles.numel(), first)
    return torch.from_numpy(packing.from_offset(values, 4))


def window_rows(weight: Tensor) -> Tensor:
    """[out, in, taps] -> [out, taps * in], as windows of channels-last frames lie in memory."""
    return weight.transpose(1, 2).flatten(1).contiguous()


def save_codes(layers: dict[str, LayerCodes], plan_hash: str, path: Path) -> None:
    """Write all layers to one safetensors file, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    metadata = {"plan_hash": plan_hash}
    for name, layer in layers.items():
        metadata[f"spec:{name}"] = layer.spec.label
        if layer.codes is not None and layer.scales is not None:
            tensors[f"{name}:codes"] = layer.codes.contiguous()
            tensors[f"{name}:scales"] = layer.scales.contiguous()
        for side, grid in (("input", layer.input_range), ("output", layer.output_range)):
            if grid is not None:
                pair = [grid.scale, float(grid.zero_point)]
                tensors[f"{name}:{side}_range"] = torch.tensor(pair, dtype=torch.float64)
    save_tensors(_arrays(tensors), metadata, path)


def load_codes(path: Path, plan_hash: str | None = None) -> tuple[dict[str, LayerCodes], str]:
    """Layers and the hash of the plan they were made for.

    plan_hash: what it must be. Raises UserError when the file is missing, damaged, or of another plan.
    """
    mend = "run `myqasr personalize` and `myqasr export` again"
    arrays, metadata = load_tensors(path, mend)
    if plan_hash is not None and metadata.get("plan_hash") != plan_hash:
        raise BrokenFileError(
            f"{path} holds the codes of plan {metadata.get('plan_hash')}, not of {plan_hash}; {mend}"
        )
    stored = {name: torch.from_numpy(array) for name, array in arrays.items()}
    layers = {}
    for key, label in metadata.items():
        if not key.startswith("spec:"):
            continue
        name = key.removeprefix("spec:")
        layers[name] = LayerCodes(
            QuantSpec.from_label(label),
            stored.get(f"{name}:codes"),
            stored.get(f"{name}:scales"),
            _range(stored.get(f"{name}:input_range")),
            _range(stored.get(f"{name}:output_range")),
        )
    return layers, metadata.get("plan_hash", "")


def _range(pair: Tensor | None) -> ActivationRange | None:
    return None if pair is None else ActivationRange(float(pair[0]), int(pair[1]))
