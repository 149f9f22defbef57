"""Run a convolution as a fully connected layer over the windows that its output frames see.

What that buys on XNNPACK: an int8 grid for every frame instead of one for the whole utterance, 4-bit
weights, and matrix kernels that are faster than its convolution kernels (see docs/how-it-works.md). What it
costs: the windows are copied out, taps / stride times the input.
"""

import operator
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from executorch.exir.dialects._ops import ops as exir_ops
from torch import fx
from torch.export import ExportedProgram

from myqasr.exporters.graph.layers import LayerEditor, constant_value, dynamic_linear, half_linear
from myqasr.personalize.rounding.codes import LayerCodes, window_rows

_ATEN = exir_ops.edge.aten
_TO_THE_END = 2**63 - 1
_ELEMENTWISE = ("aten.gelu.default", "aten.relu.default", "aten.sigmoid.default")
_SWAPPED = [0, 2, 1]


def float_windows(editor: LayerEditor, _layer: LayerCodes) -> None:
    """float32 weight and activations."""
    _to_linear(editor)


def half_windows(editor: LayerEditor, layer: LayerCodes) -> None:
    """float16 weight, bias and activations."""
    _to_linear(editor)
    half_linear(editor, layer)


def dynamic_windows(editor: LayerEditor, layer: LayerCodes) -> None:
    """Integer weight, int8 activations with a range found at run time for each window."""
    if layer.codes is None:
        raise ValueError("a float layer has no codes")
    _to_linear(editor)
    dynamic_linear(editor, replace(layer, codes=window_rows(layer.codes)))


def _to_linear(editor: LayerEditor) -> None:
    """Replace the editor's convolution by windows, `linear` and transposes; the editor follows."""
    node = editor.node
    args: Any = node.args
    source, weight, bias, (stride,), (padding,), (dilation,) = args[:6]
    channels, taps = weight.meta["val"].shape[1:]
    with editor.graph.inserting_before(node):
        if channels == 1:
            rows = _blocks(editor, source, taps, stride)
        else:
            frames = editor.call(_ATEN.permute_copy.default, source, _SWAPPED)  # [1, samples, in]
            if padding:
                around = [0, 0, padding, padding]
                frames = editor.call(_ATEN.constant_pad_nd.default, frames, around, 0.0)
            rows = _side_by_side(editor, frames, taps, stride, dilation)
        matrix = editor.constant("windows", window_rows(constant_value(editor.program, weight)))
        operands = (rows, matrix) if bias is None else (rows, matrix, bias)
        product = editor.call(_ATEN.linear.default, *operands)
        result = editor.call(_ATEN.permute_copy.default, product, _SWAPPED)
    node.replace_all_uses_with(result)
    editor.graph.erase_node(node)
    editor.drop_float_constant(weight)
    editor.node = product


def _blocks(editor: LayerEditor, source: fx.Node, taps: int, stride: int) -> fx.Node:
    """Windows [1, frames, taps] of one channel [1, 1, samples]: blocks of `stride` samples, joined."""
    whole: Any = source.meta["val"].shape[2]
    if isinstance(whole, int):
        whole = whole // stride * stride
    else:
        samples = editor.call(torch.ops.aten.sym_size.int, source, 2)
        whole = editor.call(operator.mul, editor.call(operator.floordiv, samples, stride), stride)
    even = editor.call(_ATEN.slice_copy.Tensor, source, 2, 0, whole)
    blocks = editor.call(_ATEN.view_copy.default, even, [1, -1, stride])
    return _side_by_side(editor, blocks, taps // stride, 1, 1)


def _side_by_side(
    editor: LayerEditor, frames: fx.Node, taps: int, stride: int, dilation: int
) -> fx.Node:
    """[1, frames, channels] -> [1, windows, taps * channels]."""
    picked = []
    for tap in range(taps):
        end = (tap - taps + 1) * dilation or _TO_THE_END
        picked.append(editor.call(_ATEN.slice_copy.Tensor, frames, 1, tap * dilation, end, stride))
    return picked[0] if taps == 1 else editor.call(_ATEN.cat.default, picked, 2)


def drop_transposes(program: ExportedProgram) -> None:
    """Remove pairs of transposes that undo each other, with nothing or element-wise steps between."""
    changed = True
    while changed:
        changed = any(_drop_pair(node) for node in list(program.graph.nodes))
    program.graph.eliminate_dead_code()


def _drop_pair(first: fx.Node) -> bool:
    if not _swaps(first) or len(first.users) == 0:
        return False
    chain = list(_elementwise_after(first))
    last = chain[-1] if chain else first
    seconds = [user for user in last.users if _swaps(user)]
    if not seconds or len(seconds) != len(last.users):
        return False
    source: Any = first.args[0]
    if chain:
        chain[0].replace_input_with(first, source)
        for link in chain:
            link.meta = {**link.meta, "val": link.meta["val"].transpose(1, 2).contiguous()}
    for second in seconds:
        second.replace_all_uses_with(chain[-1] if chain else source)
        first.graph.erase_node(second)
    return True


def _elementwise_after(node: fx.Node) -> Iterator[fx.Node]:
    while len(node.users) == 1:
        (user,) = node.users
        if getattr(user.target, "__name__", "") not in _ELEMENTWISE:
            return
        yield user
        node = user


def _swaps(node: fx.Node) -> bool:
    order: Any = node.args[1] if len(node.args) > 1 else ()
    name = getattr(node.target, "__name__", "")
    return name == "aten.permute_copy.default" and list(order) == _SWAPPED
