"""The integers: codes and scales of every layer, the same in every exported file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from personalize.plan import QuantSpec
from speech.errors import UserError
from speech.storage import replacing


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """Asymmetric int8 grid of a tensor: real = (code - zero_point) * scale, code in -128..127."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class LayerCodes:
    """One layer as stored.

    codes: int8, shaped like the weight; None for float layers (the float weight is stored).
    scales: float32 [out_channels, groups], groups = 1 when per channel; already rounded to what the
        target stores. real weight = codes * scales. Symmetric: no zero points.
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
        out_channels, groups = self.scales.shape
        grouped = self.codes.reshape(out_channels, groups, -1).float() * self.scales[:, :, None]
        return grouped.reshape(weight.shape)


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
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_codes(path: Path) -> tuple[dict[str, LayerCodes], str]:
    """Layers and the hash of the plan they were made for; raises UserError on a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} can't be read ({error}); run `myqasr personalize` again"
        ) from error
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
