"""Whether codes fit a model and a target; what a model weighs beside its layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import FLOAT32, LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.speech.models.base import SpeechModel

_CONTAINER_BYTES = 20_000
MOST_NAMED = 6
"""So many layers an error names: it has to fit on a screen."""


def check_layers(model: SpeechModel, codes: dict[str, LayerCodes]) -> None:
    """Raise UserError when codes and model don't name the same layers, or differ in shape."""
    modules = model.layers()
    if set(codes) != set(modules):
        odd = sorted(set(codes) ^ set(modules))
        raise UserError(
            f"the codes are not for {model.model_id}: {len(odd)} layers differ, e.g. {odd[0]}; "
            "run `myqasr personalize` again"
        )
    for name, layer in codes.items():
        weight: Any = modules[name].weight
        if layer.codes is not None and layer.codes.shape != weight.shape:
            raise UserError(
                f"layer {name} has codes of shape {tuple(layer.codes.shape)} but weights of "
                f"{tuple(weight.shape)}; run `myqasr personalize` again"
            )


def check_menu(
    model: SpeechModel,
    codes: dict[str, LayerCodes],
    menu: Callable[[LayerShape], tuple[QuantSpec, ...]],
    target: str,
) -> None:
    """Raise UserError naming layers whose precision the target doesn't run, the first of many."""
    refused = []
    for name, module in model.layers().items():
        spec = codes[name].spec if name in codes else FLOAT32
        offered = menu(layer_shape(name, module))
        if spec not in offered:
            refused.append(f"{name} at {spec.label}")
    if refused:
        more = len(refused) - MOST_NAMED
        shown = [*refused[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]
        raise UserError(
            f"{target} can't run {len(refused)} layers of this plan: {', '.join(shown)}; make one for "
            f"it: myqasr personalize ... --target {target}"
        )


LEAST_HALVED = 1 << 15


def is_half(values: Tensor) -> bool:
    """Whether float16 holds float32 values exactly."""
    return torch.equal(values.half().float(), values)


def fits_half(values: Tensor) -> bool:
    """Whether a float32 constant is worth storing as float16, and is in it what it is."""
    return values.dtype == torch.float32 and values.numel() >= LEAST_HALVED and is_half(values)


def float_rest_bytes(model: SpeechModel, halved: bool = False) -> int:
    """Bytes of all parameters outside the quantisable layers, and a guess for the container.

    halved: those that `fits_half` lie in the file as float16.
    """
    outside = _outside(model)
    return _bytes_of(outside, halved) + _CONTAINER_BYTES + 500 * len(outside)


def halved_rest_bytes(model: SpeechModel) -> int:
    """Bytes of all parameters outside the quantisable layers, as float16 where that holds them exactly."""
    return _bytes_of(_outside(model), True)


def _outside(model: SpeechModel) -> list[Tensor]:
    inside = {
        id(tensor)
        for module in model.layers().values()
        for tensor in (module.weight, module.bias)
        if tensor is not None
    }
    rest = [tensor for tensor in model.module.state_dict(keep_vars=True).values()]
    return [tensor for tensor in rest if id(tensor) not in inside]


def _bytes_of(tensors: list[Tensor], halved: bool) -> int:
    return sum(tensor.nbytes // (2 if halved and fits_half(tensor) else 1) for tensor in tensors)
