"""Rewrite a token embedding to kernels that read rows of codes."""

from typing import Any

import torch

from myqasr.exporters.checks import is_half
from myqasr.exporters.graph.layers import (
    EMBEDDING_4BIT,
    EMBEDDING_4BIT_TO,
    EMBEDDING_BYTE,
    INDEX_SELECT,
    LayerEditor,
    Rewrite,
    constant_value,
    packed_nibbles,
    stored_codes,
    stored_scales,
)
from myqasr.personalize.rounding.codes import LayerCodes


def byte_rows(editor: LayerEditor, layer: LayerCodes) -> None:
    """int8 rows."""
    _quantized(editor, layer, EMBEDDING_BYTE, stored_codes(layer).contiguous(), 128)


def nibble_rows(editor: LayerEditor, layer: LayerCodes) -> None:
    """4-bit rows, two codes in a byte."""
    _quantized(editor, layer, EMBEDDING_4BIT, packed_nibbles(stored_codes(layer)), 8)


def swapped_nibble_rows(editor: LayerEditor, layer: LayerCodes) -> None:
    """4-bit rows, the first of two codes in the low half of a byte, as XNNPACK has them.

    The kernel takes the high half for the first: columns of what it reads are swapped in pairs.
    """
    codes = stored_codes(layer)
    pairs = torch.arange(codes.shape[1]).reshape(-1, 2).flip(1).flatten()
    _quantized(editor, layer, EMBEDDING_4BIT, packed_nibbles(codes[:, pairs]), 8, pairs, True)


def half_rows(editor: LayerEditor, _layer: LayerCodes) -> None:
    """float16 rows, cast up after they are read."""
    node = editor.node
    weight: Any = node.args[0]
    ids = node.args[1]
    with editor.graph.inserting_before(node):
        halves = editor.constant("weight", constant_value(editor.program, weight).half())
        rows = editor.call(node.target, halves, ids)
        result = editor.cast(rows, torch.float32)
    _replace(editor, result)


def _quantized(
    editor: LayerEditor,
    layer: LayerCodes,
    kernel: object,
    codes: torch.Tensor,
    reach: int,
    columns: torch.Tensor | None = None,
    half_scales: bool = False,
) -> None:
    """columns: to be read in this order. half_scales: of groups, if float16 holds them."""
    node = editor.node
    scales = stored_scales(layer)
    options = {}
    if half_scales and scales.shape[1] > 1 and is_half(scales):
        kernel, scales, options = EMBEDDING_4BIT_TO, scales.half(), {"dtype": torch.float32}
    with editor.graph.inserting_before(node):
        stored = editor.constant("codes", codes)
        by_row = editor.constant(
            "scales", (scales[:, 0] if scales.shape[1] == 1 else scales).contiguous()
        )
        limits = -reach, reach - 1
        result = editor.call(kernel, stored, by_row, None, *limits, node.args[1], **options)
        if columns is not None:
            result = editor.call(INDEX_SELECT, result, -1, editor.constant("columns", columns))
    _replace(editor, result)


def _replace(editor: LayerEditor, result: torch.fx.Node) -> None:
    node = editor.node
    weight = node.args[0]
    node.replace_all_uses_with(result)
    editor.graph.erase_node(node)
    editor.drop_float_constant(weight)


REWRITES: dict[str, Rewrite] = {
    "embedding float 4": nibble_rows,
    "embedding float 8": byte_rows,
    "embedding float 16": half_rows,
}
REWRITES_LOW_FIRST: dict[str, Rewrite] = {**REWRITES, "embedding float 4": swapped_nibble_rows}
"""The same with 4-bit codes in XNNPACK's order."""
