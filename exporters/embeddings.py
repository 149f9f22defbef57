"""Token embeddings on ExecuTorch's own kernels: what they store and what it weighs. The same in every .pte.

A kernel reads the rows of the tokens at hand and expands those. Rows are at 4 bits (two codes in a byte), at
8 or at 16; scales are float32, one a row or one a group.
"""

from personalize.plan import FLOAT32, LayerShape, QuantSpec

GROUP_SIZES = (32, 64, 128)

_ALIGNMENT = 16
_BOOKKEEPING = {4: 330, 8: 290, 16: 170}
"""Bits -> bytes of the program beyond those of the same layer in fp32."""


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions of an embedding, fp32 last."""
    size = shape.row_weights
    grouped = tuple(
        QuantSpec(4, "int", group) for group in GROUP_SIZES if size % group == 0 and group < size
    )
    by_row = (QuantSpec(4),) if size % 2 == 0 else ()
    return (*grouped, *by_row, QuantSpec(8), QuantSpec(16, "float"), FLOAT32)


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Rows and scales as they lie in the file, and the layer's part of the program."""
    pieces = [shape.weights * spec.bits // 8]
    if spec.scheme != "float":
        groups = 1 if spec.group_size is None else shape.row_weights // spec.group_size
        pieces.append(shape.out_channels * groups * 4)
    data = sum(-(-piece // _ALIGNMENT) * _ALIGNMENT for piece in pieces)
    return data + _BOOKKEEPING.get(spec.bits, 0)
