"""Our codes and palettes instead of float weights in a Core ML program, unchanged.

A layer's constant is found by its name and must hold the layer's weight; a layer without one is an error, as
coremltools' own configurations by name would skip it in silence.
"""

from collections.abc import Mapping
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.mil import Builder, types
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.models.utils import _apply_graph_pass
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core import packing
from myqasr.core.errors import UserError
from myqasr.exporters.graph.float_program import quiet
from myqasr.personalize.rounding.codes import LayerCodes

_INDICES = {
    1: types.np_uint1_dtype,
    2: types.np_uint2_dtype,
    3: types.np_uint3_dtype,
    4: types.np_uint4_dtype,
    6: types.np_uint6_dtype,
    8: np.dtype(np.uint8),
}
_INTEGERS = {4: types.np_int4_dtype, 8: np.dtype(np.int8)}


def carry(
    package: ct.models.MLModel,
    layers: Mapping[str, str],
    weights: Mapping[str, Tensor],
    codes: Mapping[str, LayerCodes],
) -> tuple[ct.models.MLModel, dict[str, str]]:
    """The same program with every layer as its codes say; `package` is not changed.

    Second, each layer by the name of the value that is its weight in the new program.
    layers: name of a constant -> layer. weights: layer -> float weight.
    Raises UserError naming a layer whose constant is there twice or holds something else.
    """
    version = package.get_spec().specificationVersion
    carrier = _Carrier(layers, weights, codes, old=version < ct.target.iOS18.value)
    with quiet():
        carried = _apply_graph_pass(package, carrier, version, skip_model_load=True)
    return carried, carrier.found


class _Carrier(AbstractGraphPass):
    """Replaces constants. found: name of the value that is now a layer's weight -> layer."""

    def __init__(
        self,
        layers: Mapping[str, str],
        weights: Mapping[str, Tensor],
        codes: Mapping[str, LayerCodes],
        old: bool,
    ) -> None:
        self.layers, self.weights, self.codes, self.old = layers, weights, codes, old
        self.found: dict[str, str] = {}

    def apply(self, prog: Any) -> None:
        for function in prog.functions.values():
            for operation in list(function.operations):
                name = self.layers.get(operation.name)
                if operation.op_type == "const" and name is not None:
                    self._carry(function, operation, name)
        prog.skip_all_passes = True

    def _carry(self, block: Any, constant: Any, name: str) -> None:
        variable, layer = constant.outputs[0], self.codes[name]
        kind = np.float32 if layer.spec.bits == 32 else np.float16
        planned = self.weights[name].detach().numpy().astype(kind)
        if (
            name in self.found.values()
            or variable.val.dtype != kind
            or (variable.val != planned).any()
        ):
            raise UserError(
                f"Core ML's constant {constant.name} doesn't hold the weight of layer {name}, or not "
                "alone; report this with the model's class"
            )
        if layer.codes is None or layer.scales is None:
            self.found[variable.name] = name
            return
        scales = layer.scales.numpy().astype(np.float16)
        if not torch.equal(torch.from_numpy(scales).float(), layer.scales):
            raise UserError(
                f"layer {name} has scales that float16 can't hold; run `myqasr personalize` again with "
                "--target coreml"
            )
        make = _old_constant if self.old else _constant
        with block:
            fresh = make(layer, scales, constant)
        self.found[fresh.name] = name
        block.replace_uses_of_var_after_op(
            anchor_op=constant, old_var=variable, new_var=fresh, force_replace=True
        )
        block.remove_ops([constant])


def _constant(layer: LayerCodes, scales: NDArray[np.float16], constant: Any) -> Any:
    """iOS 18: integers in blocks, or indices into one palette per group of channels."""
    codes = layer.codes.numpy()  # type: ignore[union-attr]
    rank = codes.ndim
    if layer.spec.scheme == "lut":
        palettes = scales.reshape(len(scales), *(1,) * (rank - 1), scales.shape[1], 1)
        return Builder.constexpr_lut_to_dense(
            indices=codes.astype(_INDICES[layer.spec.bits]),
            lut=palettes,
            before_op=constant,
            name=f"{constant.name}_palettes",
        )
    return Builder.constexpr_blockwise_shift_scale(
        data=codes.astype(_INTEGERS[layer.spec.bits]),
        scale=scales.reshape(*scales.shape, *(1,) * (rank - 2)),
        before_op=constant,
        name=f"{constant.name}_integers",
    )


def _old_constant(layer: LayerCodes, scales: NDArray[np.float16], constant: Any) -> Any:
    """iOS 16: 8-bit integers per channel, or indices, already packed, into one palette."""
    codes = layer.codes.numpy()  # type: ignore[union-attr]
    if layer.spec.scheme == "lut":
        return Builder.constexpr_lut_to_dense(
            indices=packing.pack(codes, layer.spec.bits, first="low"),
            lut=scales[0],
            shape=np.array(codes.shape, np.uint32),
            before_op=constant,
            name=f"{constant.name}_palettes",
        )
    return Builder.constexpr_affine_dequantize(
        quantized_data=codes,
        zero_point=np.int8(0),
        scale=scales[:, 0],
        axis=np.int32(0),
        before_op=constant,
        name=f"{constant.name}_integers",
    )
