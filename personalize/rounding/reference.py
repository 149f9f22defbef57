"""The plan in torch, computed as the runtime computes it: what an exported file is held against."""

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import layer_output
from myqasr.speech.models.base import SpeechModel


class ReferenceLayer(nn.Module):
    """A layer that computes with its codes.

    half_activations: as in `build_reference`.
    """

    def __init__(self, layer: nn.Module, codes: LayerCodes, half_activations: bool) -> None:
        super().__init__()
        if not isinstance(layer.weight, Tensor):
            raise UserError(f"{type(layer).__name__} layers can't be quantised")
        self.layer = layer
        only_stored = codes.spec == FLOAT16 and not half_activations
        self.codes = LayerCodes(FLOAT32) if only_stored else codes
        self.register_buffer("dequantized", codes.dequantized(layer.weight.detach()))

    def __getattr__(self, name: str) -> Any:
        """What a model asks of its layer beside calling it, e.g. `kernel_size`, the layer itself answers."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, x: Tensor) -> Tensor:
        """Same shapes as the layer it stands for."""
        return layer_output(self.layer, x, self.codes, self.dequantized)


def build_reference(
    model: SpeechModel, codes: dict[str, LayerCodes], half_activations: bool = True
) -> SpeechModel:
    """A copy of the model with every layer of `codes` replaced; the model itself is not changed.

    half_activations: float16 layers round their inputs and results to float16, too; False: only weights.
    Raises UserError when `codes` names a layer that the model doesn't have.
    """
    _refuse_unknown(model, codes)
    module = copy.deepcopy(model.module)
    for name, layer_codes in codes.items():
        path = model.layer_prefix + name
        parent = module.get_submodule(path.rpartition(".")[0])
        leaf = path.rpartition(".")[2]
        layer = ReferenceLayer(getattr(parent, leaf), layer_codes, half_activations)
        setattr(parent, leaf, layer)
    return replace(model, module=module.eval())


def build_half_reference(model: SpeechModel, codes: dict[str, LayerCodes]) -> SpeechModel:
    """The plan with weights expanded to float16, all other parameters in float16, and sums in float32.

    Layers planned in float32 keep weight and bias. A copy; the model itself is not changed.
    Raises UserError when `codes` names a layer that the model doesn't have, or quantises activations.
    """
    _refuse_unknown(model, codes)
    reference = replace(model, module=copy.deepcopy(model.module).eval())
    kept = set()
    for name, layer in reference.layers().items():
        planned = codes.get(name, LayerCodes(FLOAT32))
        if planned.spec.activation != "float":
            raise UserError(f"layer {name} at {planned.spec.label} needs another reference")
        if planned.spec == FLOAT32:
            kept |= {id(tensor) for tensor in (layer.weight, layer.bias)}
        else:
            weight: Any = layer.weight
            weight.data = planned.dequantized(weight.detach()).half().float()
    for parameter in reference.module.parameters():
        if id(parameter) not in kept:
            parameter.data = parameter.detach().half().float()
    return reference


def _refuse_unknown(model: SpeechModel, codes: dict[str, LayerCodes]) -> None:
    unknown = set(codes) - set(model.layers())
    if unknown:
        raise UserError(f"{model.model_id} has no layer {sorted(unknown)[0]}")
