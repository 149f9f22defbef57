"""A toy target, as docs/adding-a-target.md shows it: one safetensors file, int8 per channel or float32."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from myqasr.core.placing import replacing
from myqasr.exporters.checks import check_layers, check_menu, float_rest_bytes
from myqasr.exporters.target import ExportOptions, StoredLayer, Target
from myqasr.personalize.planning.plan import FLOAT32, LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.speech.models.base import SpeechModel

INT8 = QuantSpec(8)
NAMES_BYTES = 200


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """int8 for whatever is learned, fp32 last."""
    return (FLOAT32,) if shape.fixed else (INT8, FLOAT32)


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Weights, scales and bias, and the names of the tensors."""
    scales = 4 * shape.out_channels if spec == INT8 else 0
    bias = 4 * shape.out_channels if shape.has_bias else 0
    return shape.weights * spec.bits // 8 + scales + bias + NAMES_BYTES


def write(
    model: SpeechModel, codes: dict[str, LayerCodes], path: Path, options: ExportOptions
) -> tuple[str, ...]:
    """Write the file, whole or not at all; layers run in the order in which the model names them."""
    check_layers(model, codes)
    check_menu(model, codes, menu, TARGET.name)
    tensors = {name: tensor.contiguous() for name, tensor in model.module.state_dict().items()}
    for name in codes:
        del tensors[f"{model.layer_prefix}{name}.weight"]
    for name, layer in codes.items():
        weight = model.layers()[name].weight
        if layer.codes is None or layer.scales is None:
            tensors[f"{name}/weight"] = weight.detach().contiguous()
        else:
            tensors[f"{name}/codes"] = layer.codes.contiguous()
            tensors[f"{name}/scales"] = layer.scales.contiguous()
    with replacing(path) as draft:
        save_file(tensors, draft, {"order": json.dumps(list(codes))})
    return tuple(codes)


def read(path: Path) -> tuple[StoredLayer, ...]:
    """Every layer of the file, in the order it names."""
    found = []
    with safe_open(path, "pt") as file:
        held = set(file.keys())
        for name in json.loads(file.metadata()["order"]):
            if f"{name}/weight" in held:
                weight: torch.Tensor = file.get_tensor(f"{name}/weight")
                found.append(StoredLayer("fp32", LayerCodes(FLOAT32), weight.nbytes, weight))
            else:
                parts = (file.get_tensor(f"{name}/codes"), file.get_tensor(f"{name}/scales"))
                payload = sum(part.nbytes for part in parts)
                found.append(StoredLayer("int8", LayerCodes(INT8, *parts), payload))
    return tuple(found)


TARGET = Target(
    name="toy", suffix=".toy.safetensors", runner="executorch", menu=menu, layer_bytes=layer_bytes,
    scale_dtype=lambda spec: "float32", overhead_bytes=float_rest_bytes, write=write, read=read,
)  # fmt: skip
