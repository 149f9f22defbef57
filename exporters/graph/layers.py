"""Rewrite one layer of an edge graph to a planned precision, carrying the given codes unchanged.

The patterns are those XNNPACK's partitioner recognises: quantise-dequantise pairs around a whole
`linear` or `convolution`, with an int8 weight constant behind a dequantise node.
"""

from collections.abc import Callable
from typing import Any

import torch
from executorch.backends.transforms.utils import (
    create_constant_placeholder,
    delete_constant_placeholder,
)
from executorch.exir.dialects._ops import ops as exir_ops
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from myqasr.personalize.rounding.codes import ActivationRange, LayerCodes, packed

_EDGE = exir_ops.edge
_DECOMPOSED = _EDGE.quantized_decomposed
_ACTIVATION_GRID = (-128, 127, torch.int8)
EMBEDDING_BYTE = _DECOMPOSED.embedding_byte.default
EMBEDDING_4BIT = _DECOMPOSED.embedding_4bit.default
EMBEDDING_4BIT_TO = _DECOMPOSED.embedding_4bit.dtype
"""With scales of another type than what it gives."""
INDEX_SELECT = _EDGE.aten.index_select.default


class LayerEditor:
    """Edits the nodes of one layer in place.

    node: its `linear` or `convolution`. prefix: unique start of the names of new constants.
    """

    def __init__(self, program: ExportedProgram, node: fx.Node, prefix: str) -> None:
        self.program = program
        self.graph: fx.Graph = program.graph
        self.node = node
        self.prefix = prefix
        self.fake_mode = node.meta["val"].fake_mode

    def constant(self, name: str, tensor: Tensor) -> fx.Node:
        """A new constant of the program, placed before all inputs."""
        first = next(iter(self.graph.nodes))
        with self.graph.inserting_before(first):
            return create_constant_placeholder(
                self.program, self.graph, f"{self.prefix}_{name}", InputKind.BUFFER, tensor, True
            )

    def call(self, operator: Any, *args: Any, **options: Any) -> fx.Node:
        """A call at the current insertion point, with its shape worked out."""
        node = self.graph.call_function(operator, args, options)
        values = fx.map_arg(args, lambda argument: argument.meta["val"])
        for key in ("nn_module_stack", "stack_trace", "from_node"):
            if key in self.node.meta:
                node.meta[key] = self.node.meta[key]
        # Without the dispatcher's Python entries, copying operators lose lengths that vary.
        with self.fake_mode, enable_python_dispatcher():
            node.meta["val"] = operator(*values, **options)
        return node

    def item(self, pair: fx.Node, index: int) -> fx.Node:
        """One result of a call that returns several."""
        import operator

        node = self.graph.call_function(operator.getitem, (pair, index))
        node.meta = {**pair.meta, "val": pair.meta["val"][index]}
        return node

    def drop_float_constant(self, node: Any) -> None:
        """Remove a weight or bias that nothing reads any more."""
        if isinstance(node, fx.Node) and not node.users:
            delete_constant_placeholder(self.program, node)

    # -- pieces of the patterns ------------------------------------------------------------------

    def dequantized_weight(self, layer: LayerCodes, codes: Tensor) -> fx.Node:
        """int8 codes, shaped as the kernel wants them, and scales behind a dequantise node."""
        scales = stored_scales(layer)
        group = layer.spec.group_size
        largest = 2 ** (layer.spec.bits - 1)
        stored = self.constant("codes", codes.contiguous())
        # 4-bit storage is chosen by the declared range -8..7.
        if group is None:
            per_channel = self.constant("scales", scales[:, 0].contiguous())
            zeros = self.constant("zeros", torch.zeros(scales.shape[0], dtype=torch.int64))
            return self.call(
                _DECOMPOSED.dequantize_per_channel.default,
                *(stored, per_channel, zeros, 0, -largest, largest - 1, torch.int8),
            )
        grouped = self.constant("scales", scales.contiguous())
        zeros = self.constant("zeros", torch.zeros(scales.shape, dtype=torch.int32))
        return self.call(
            _DECOMPOSED.dequantize_per_channel_group.default,
            *(stored, grouped, zeros, -largest, largest - 1, torch.int8, group, torch.float32),
        )

    def per_token(self, value: fx.Node) -> fx.Node:
        """int8 with a range found at run time for each row of the last dimension."""
        ranges = self.call(
            _DECOMPOSED.choose_qparams_per_token_asymmetric.default, value, torch.int8
        )
        grid = (self.item(ranges, 0), self.item(ranges, 1), *_ACTIVATION_GRID)
        coded = self.call(_DECOMPOSED.quantize_per_token.default, value, *grid)
        return self.call(_DECOMPOSED.dequantize_per_token.default, coded, *grid, torch.float32)

    def stored_range(self, value: fx.Node, limits: ActivationRange) -> fx.Node:
        """int8 on a grid that the file holds."""
        grid = (limits.scale, limits.zero_point, *_ACTIVATION_GRID)
        coded = self.call(_DECOMPOSED.quantize_per_tensor.default, value, *grid)
        return self.call(_DECOMPOSED.dequantize_per_tensor.default, coded, *grid)

    def cast(self, value: fx.Node, dtype: torch.dtype) -> fx.Node:
        """Another float type, same layout."""
        order = list(range(value.meta["val"].dim()))
        return self.call(
            _EDGE.dim_order_ops._to_dim_order_copy.default, value, dtype=dtype, dim_order=order
        )


def dynamic_linear(editor: LayerEditor, layer: LayerCodes) -> None:
    """Integer weight, int8 activation per token."""
    node = editor.node
    source, weight = node.args[0], node.args[1]
    with editor.graph.inserting_before(node):
        value = editor.per_token(source)
        dequantized = editor.dequantized_weight(layer, stored_codes(layer))
    node.args = (value, dequantized, *node.args[2:])
    editor.drop_float_constant(weight)


def half_linear(editor: LayerEditor, layer: LayerCodes) -> None:
    """float16 weight and bias; the activation is cast down before and up after."""
    node = editor.node
    constants = [argument for argument in node.args[1:] if isinstance(argument, fx.Node)]
    with editor.graph.inserting_before(node):
        halves = [
            editor.constant(name, constant_value(editor.program, constant).half())
            for name, constant in zip(("weight", "bias"), constants, strict=False)
        ]
        source = editor.cast(node.args[0], torch.float16)
        product = editor.call(node.target, source, *halves)
        result = editor.cast(product, torch.float32)
    node.replace_all_uses_with(result)
    editor.graph.erase_node(node)
    for constant in constants:
        editor.drop_float_constant(constant)


def static_convolution(editor: LayerEditor, layer: LayerCodes) -> None:
    """Integer weight; input and output on int8 grids that the file holds."""
    node = editor.node
    weight = node.args[1]
    if layer.input_range is None or layer.output_range is None:
        raise ValueError("a static layer needs an input and an output range")
    with editor.graph.inserting_before(node):
        value = editor.stored_range(node.args[0], layer.input_range)
        dequantized = editor.dequantized_weight(layer, stored_codes(layer))
    node.args = (value, dequantized, *node.args[2:])
    with editor.graph.inserting_after(node):
        anchor = editor.graph.call_function(_EDGE.aten.alias_copy.default, (node,))
    with editor.graph.inserting_before(anchor):
        result = editor.stored_range(node, layer.output_range)
    for user in [user for user in node.users if user not in (anchor, result.args[0])]:
        user.replace_input_with(node, result)
    editor.graph.erase_node(anchor)
    editor.drop_float_constant(weight)


def expanded_bytes(editor: LayerEditor, layer: LayerCodes) -> None:
    """int8 codes that a kernel expands to float before the layer runs in float."""
    node = editor.node
    weight, scales = node.args[1], stored_scales(layer)
    with editor.graph.inserting_before(node):
        stored = editor.constant("codes", stored_codes(layer).contiguous())
        per_channel = editor.constant("scales", scales[:, 0].contiguous())
        expanded = editor.call(
            _DECOMPOSED.dequantize_per_channel.default,
            *(stored, per_channel, None, 0, -128, 127, torch.int8),
        )
    _replace_weight(editor, weight, expanded)


def expanded_nibbles(editor: LayerEditor, layer: LayerCodes) -> None:
    """4-bit codes, two in a byte, expanded by the kernel that reads rows of a packed embedding."""
    node = editor.node
    weight, codes = node.args[1], stored_codes(layer)
    shape = list(codes.shape)
    with editor.graph.inserting_before(node):
        stored = editor.constant("codes", packed_nibbles(codes))
        scales = editor.constant("scales", stored_scales(layer).contiguous())
        rows = editor.constant("rows", torch.arange(shape[0]))
        expanded = editor.call(EMBEDDING_4BIT, stored, scales, None, -8, 7, rows)
        if len(shape) > 2:
            expanded = editor.call(_EDGE.aten.view_copy.default, expanded, shape)
    _replace_weight(editor, weight, expanded)


def packed_nibbles(codes: Tensor) -> Tensor:
    """4-bit codes of each row, an even number, two in a byte."""
    return packed(codes).reshape(len(codes), -1)


def expanded_halves(editor: LayerEditor, layer: LayerCodes) -> None:
    """A float16 weight that is cast up before the layer runs in float32."""
    node = editor.node
    weight = node.args[1]
    halves = constant_value(editor.program, weight).half()
    with editor.graph.inserting_before(node):
        expanded = editor.cast(editor.constant("weight", halves), torch.float32)
    _replace_weight(editor, weight, expanded)


def _replace_weight(editor: LayerEditor, weight: fx.Node, expanded: fx.Node) -> None:
    editor.node.args = (editor.node.args[0], expanded, *editor.node.args[2:])
    editor.drop_float_constant(weight)


Rewrite = Callable[[LayerEditor, LayerCodes], None]


def stored_codes(layer: LayerCodes) -> Tensor:
    """The codes of a layer that must have some."""
    if layer.codes is None:
        raise ValueError("a float layer has no codes")
    return layer.codes


def stored_scales(layer: LayerCodes) -> Tensor:
    """The scales of a layer that must have some."""
    if layer.scales is None:
        raise ValueError("a float layer has no scales")
    return layer.scales


def constant_value(program: ExportedProgram, node: fx.Node) -> Tensor:
    """The tensor behind a parameter or buffer placeholder."""
    signature = program.graph_signature
    target = signature.inputs_to_parameters.get(node.name) or signature.inputs_to_buffers[node.name]
    tensor: Tensor = program.state_dict[target]
    return tensor.detach()
