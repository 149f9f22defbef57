"""What stands for a layer in an ONNX graph, at the planned precision, with the given integers unchanged.

Linear layers with int8 activations, the rows of quantised token tables and quantised kernels of
convolutions are functions of the file, in standard operators: whoever reads the graph sees one node for
them, and runtimes take it apart when they load it. The arithmetic of the first is that of
`personalize.rounding.kernels.quantize_per_row`: ONNX's own DynamicQuantizeLinear has one grid for a whole
tensor, here every row has its own. Kernels become float. DequantizeLinear would say the same, but
optimizers of the runtime take it for more than it is, and 4-bit tensors aren't in its format for mobile
builds.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper, parser
from torch import Tensor

from myqasr.core import packing
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import LEAST_SPAN

WEIGHT, SCALES, SHAPE = ":weight", ":scales", ":shape"
"""End the names of a layer's constants; before them stands the layer's name."""
DOMAIN, CONTRIB = "myqasr", "com.microsoft"
EXACT = 1
"""`accuracy_level` of MatMulNBits at which activations stay float32; at 4 they are rounded to int8."""

_INT8_LINEAR = f"""
<domain: "{DOMAIN}", opset_import: ["" : 21]>
Int8Linear (x, codes, scales) => (y)
{{
   rows = Constant <value_ints = [-1]> ()
   zero = Constant <value_float = 0.0> ()
   one = Constant <value_float = 1.0> ()
   least = Constant <value_float = {LEAST_SPAN!r}> ()
   lowest = Constant <value_float = -128.0> ()
   highest = Constant <value_float = 127.0> ()
   half = Constant <value_float = 128.0> ()
   most = Constant <value_float = 255.0> ()
   smallest = ReduceMin <keepdims = 1> (x, rows)
   largest = ReduceMax <keepdims = 1> (x, rows)
   low = Min (smallest, zero)
   high = Max (largest, zero)
   span = Sub (high, low)
   some = GreaterOrEqual (span, least)
   ratio = Div (most, span)
   steps = Where (some, ratio, zero)
   inverse = Reciprocal (steps)
   step = Where (some, inverse, zero)
   divisor = Where (some, inverse, one)
   low_codes = Mul (low, steps)
   high_codes = Mul (high, steps)
   from_low = Sub (lowest, low_codes)
   from_high = Sub (highest, high_codes)
   over_low = Add (lowest, low_codes)
   over_high = Add (highest, high_codes)
   over = Add (over_low, over_high)
   at_low = Greater (over, zero)
   anchored = Where (at_low, from_low, from_high)
   inside = Clip (anchored, lowest, highest)
   whole = Round (inside)
   place = Add (whole, half)
   flat_places = Reshape (place, rows)
   flat_zeros = Cast <to = 2> (flat_places)
   flat_divisors = Reshape (divisor, rows)
   coded = QuantizeLinear <axis = -2> (x, flat_divisors, flat_zeros)
   columns = Transpose <perm = [1, 0]> (codes)
   products = MatMulInteger (coded, columns)
   wide = Cast <to = 6> (codes)
   sums = ReduceSum <keepdims = 0> (wide, rows)
   places = Cast <to = 6> (place)
   offsets = Mul (places, sums)
   counts = Sub (products, offsets)
   real = Cast <to = 1> (counts)
   scaled = Mul (real, step)
   y = Mul (scaled, scales)
}}
"""

_INT8_ROWS = f"""
<domain: "{DOMAIN}", opset_import: ["" : 21]>
Int8Rows (ids, codes, scales) => (rows)
{{
   last = Constant <value_ints = [-1]> ()
   found = Gather (codes, ids)
   real = Cast <to = 1> (found)
   of_rows = Gather (scales, ids)
   columns = Unsqueeze (of_rows, last)
   rows = Mul (real, columns)
}}
"""

_HALVES = """
   sixteen = Constant <value = uint8 {16}> ()
   eight = Constant <value_float = 8.0> ()
   upper = Div (bytes, sixteen)
   shifted = Mul (upper, sixteen)
   lower = Sub (bytes, shifted)
   first = Unsqueeze (lower, last)
   second = Unsqueeze (upper, last)
   pairs = Concat <axis = -1> (first, second)
   ordered = Reshape (pairs, sizes)
   real = Cast <to = 1> (ordered)
   signed = Sub (real, eight)
"""
"""Codes out of bytes that hold two each, the first in the lower half."""

_INT4_ROWS = f"""
<domain: "{DOMAIN}", opset_import: ["" : 21]>
Int4Rows (ids, codes, scales) => (rows)
{{
   last = Constant <value_ints = [-1]> ()
   sizes = Constant <value_ints = [0, 0, 0, -1]> ()
   flat = Constant <value_ints = [0, 0, -1]> ()
   bytes = Gather (codes, ids)
   {_HALVES}
   of_blocks = Gather (scales, ids)
   columns = Unsqueeze (of_blocks, last)
   scaled = Mul (signed, columns)
   rows = Reshape (scaled, flat)
}}
"""

_INT4_KERNELS = f"""
<domain: "{DOMAIN}", opset_import: ["" : 21]>
Int4Kernels (bytes, scales, sizes) => (kernels)
{{
   last = Constant <value_ints = [-1]> ()
   {_HALVES}
   kernels = Mul (signed, scales)
}}
"""

_INT8_KERNELS = f"""
<domain: "{DOMAIN}", opset_import: ["" : 21]>
Int8Kernels (codes, scales) => (kernels)
{{
   real = Cast <to = 1> (codes)
   kernels = Mul (real, scales)
}}
"""


@functools.cache
def functions() -> dict[str, FunctionProto]:
    """Operators of ours by name, as files hold them."""
    texts = (_INT8_LINEAR, _INT8_ROWS, _INT4_ROWS, _INT8_KERNELS, _INT4_KERNELS)
    return {each.name: each for each in map(parser.parse_function, texts)}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its name, the float weight, and how it is to be stored.

    constants_of: the layer whose constants it reads: its own, or those of one with the same matrix.
    """

    name: str
    weight: Tensor
    codes: LayerCodes
    constants_of: str

    @property
    def spec(self) -> QuantSpec:
        """Its precision."""
        return self.codes.spec

    def constant(self, what: str) -> str:
        """Name of its WEIGHT, SCALES or SHAPE in the graph."""
        return self.constants_of + what


def layer_nodes(node: NodeProto, layer: Layer) -> list[NodeProto]:
    """What computes a layer in place of its float node, whose inputs and result it has."""
    how = {"Einsum": _linear, "Gather": _lookup, "Conv": _convolution}
    return how[node.op_type](node, layer)


def _linear(node: NodeProto, layer: Layer) -> list[NodeProto]:
    spec, target = layer.spec, node.output[0]
    if spec.scheme == "float":
        first, matrix = _float_weight(layer)
        columns = f"{layer.name}:columns"
        turned = helper.make_node("Transpose", [matrix], [columns], perm=[1, 0])
        return [*first, turned, _node("MatMul", layer, [node.input[0], columns], target)]
    inputs = [node.input[0], layer.constant(WEIGHT), layer.constant(SCALES)]
    if spec.bits == 8:
        return [_node("Int8Linear", layer, inputs, target, DOMAIN)]
    out, row = layer.weight.shape
    return [
        _node(
            "MatMulNBits", layer, inputs, target, CONTRIB, K=int(row), N=int(out),
            bits=spec.bits, block_size=spec.group_size, accuracy_level=EXACT,
        )
    ]  # fmt: skip


def _lookup(node: NodeProto, layer: Layer) -> list[NodeProto]:
    spec, ids, target = layer.spec, node.input[1], node.output[0]
    weight = layer.constant(WEIGHT)
    if spec.scheme == "int":
        inputs = [ids, weight, layer.constant(SCALES)]
        return [_node(f"Int{spec.bits}Rows", layer, inputs, target, DOMAIN)]
    if spec.bits == 32:
        return [_node("Gather", layer, [weight, ids], target)]
    rows = f"{layer.name}:rows"
    cast = helper.make_node("Cast", [rows], [target], to=TensorProto.FLOAT)
    return [_node("Gather", layer, [weight, ids], rows), cast]


def _convolution(node: NodeProto, layer: Layer) -> list[NodeProto]:
    spec = layer.spec
    if spec.scheme == "float":
        first, kernel = _float_weight(layer)
    else:
        kernel = f"{layer.name}:float"
        constants = (WEIGHT, SCALES, SHAPE) if spec.bits == 4 else (WEIGHT, SCALES)
        inputs = [layer.constant(each) for each in constants]
        first = [helper.make_node(f"Int{spec.bits}Kernels", inputs, [kernel], domain=DOMAIN)]
    made = _node("Conv", layer, [node.input[0], kernel, *node.input[2:]], node.output[0])
    made.attribute.extend(node.attribute)
    return [*first, made]


def layer_constants(layer: Layer) -> list[TensorProto]:
    """Weights or codes, and scales, as the file holds them."""
    name, spec = layer.name + WEIGHT, layer.spec
    if layer.codes.codes is None or layer.codes.scales is None:
        values = layer.weight.half() if spec.bits == 16 else layer.weight
        return [numpy_helper.from_array(values.contiguous().numpy(), name)]
    codes, scales = layer.codes.codes.numpy(), layer.codes.scales.float().numpy()
    if spec.group_size is not None:
        data = packing.pack(packing.to_offset(codes, spec.bits), spec.bits, first="low")
        stored = numpy_helper.from_array(data.reshape(*scales.shape, -1), name)
        return [stored, numpy_helper.from_array(scales, layer.name + SCALES)]
    # Beside a convolution's kernels [out, in, taps] they are multiplied, beside rows looked up.
    beside = [-1, *[1] * (codes.ndim - 1)] if codes.ndim > 2 else [-1]
    by_channel = numpy_helper.from_array(scales.reshape(beside), layer.name + SCALES)
    if spec.bits == 8:
        return [numpy_helper.from_array(codes, name), by_channel]
    halves = packing.pack(packing.to_offset(codes, 4), 4, first="low").reshape(len(codes), -1)
    shape = numpy_helper.from_array(np.array(codes.shape, np.int64), layer.name + SHAPE)
    return [numpy_helper.from_array(halves, name), by_channel, shape]


def _float_weight(layer: Layer) -> tuple[list[NodeProto], str]:
    """What makes a stored weight float32, and the name of that."""
    weight = layer.constant(WEIGHT)
    if layer.spec.bits == 32:
        return [], weight
    expanded = f"{layer.name}:float"
    return [helper.make_node("Cast", [weight], [expanded], to=TensorProto.FLOAT)], expanded


def _node(
    operator: str, layer: Layer, inputs: list[str], target: str, domain: str = "", **fields: Any
) -> NodeProto:
    made: NodeProto = helper.make_node(
        operator, inputs, [target], name=layer.name, domain=domain, **fields
    )
    return made
