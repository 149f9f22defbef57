"""ggml's block formats: 32 weights of a row share one float16 scale (ggml-quants.c, `quantize_row_*_ref`).

The 4 and 5 bit ones put the weight that is furthest from zero on the lowest code, whatever its sign; so codes
are unsigned, and the scale may be negative.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 32

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """A type of weights in a ggml file.

    tensor_type: its number in a tensor's header. file_type: in the file's. encode: weights, a multiple of
    32 in a row, to bytes. block_bytes: of 32 weights.
    """

    name: str
    tensor_type: int
    file_type: int
    block_bytes: int
    encode: Callable[[Floats], bytes]


def q4_0(weights: Floats) -> bytes:
    """Scale, then 16 bytes: weight i in the low half of byte i, weight i + 16 in the high half."""
    scales, codes = _furthest_lowest(weights, 8)
    return np.concatenate((_half(scales), _halves(codes)), axis=1).tobytes()


def q5_0(weights: Floats) -> bytes:
    """Scale, the fifth bits as one little-endian integer, then the other four as in q4_0."""
    scales, codes = _furthest_lowest(weights, 16)
    fifth = np.packbits(codes >> 4, axis=1, bitorder="little")
    return np.concatenate((_half(scales), fifth, _halves(codes & 15)), axis=1).tobytes()


def q8_0(weights: Floats) -> bytes:
    """Scale, then 32 signed bytes."""
    blocks = _blocks(weights)
    scales = np.abs(blocks).max(axis=1) / np.float32(127)
    ratios = blocks * _inverse(scales)[:, None]
    codes = np.trunc(ratios + np.copysign(np.float32(0.5), ratios)).astype(np.int8)
    return np.concatenate((_half(scales), codes.view(np.uint8)), axis=1).tobytes()


def f16(weights: Floats) -> bytes:
    """No blocks: float16."""
    return weights.astype(np.float16).tobytes()


FORMATS = {
    each.name: each
    for each in (
        BlockFormat("f16", 1, 1, 64, f16),
        BlockFormat("q8_0", 8, 2007, 34, q8_0),
        BlockFormat("q5_0", 6, 2008, 22, q5_0),
        BlockFormat("q4_0", 2, 2002, 18, q4_0),
    )
}
"""Name -> format. File types of quantised files carry the version of the formats, 2, in their thousands."""


def _furthest_lowest(weights: Floats, levels: int) -> tuple[Floats, Bytes]:
    """Scales [block] and codes [block, 32] of 0 to 2 * levels - 1, `levels` being zero."""
    blocks = _blocks(weights)
    places = np.abs(blocks).argmax(axis=1)
    scales = blocks[np.arange(len(blocks)), places] / np.float32(-levels)
    shifted = blocks * _inverse(scales)[:, None] + np.float32(levels + 0.5)
    return scales, np.minimum(shifted.astype(np.int8), 2 * levels - 1).astype(np.uint8)


def _blocks(weights: Floats) -> Floats:
    if weights.shape[-1] % BLOCK:
        raise ValueError(f"rows of {weights.shape[-1]} weights can't be cut into blocks of {BLOCK}")
    return np.ascontiguousarray(weights, np.float32).reshape(-1, BLOCK)


def _inverse(scales: Floats) -> Floats:
    """1 / scale, 0 for a block of zeros."""
    return np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)


def _half(scales: Floats) -> Bytes:
    """float16 as bytes, [block, 2]."""
    return scales.astype(np.float16).view(np.uint8).reshape(-1, 2)


def _halves(codes: Bytes) -> Bytes:
    """[block, 32] of 0 to 15 -> [block, 16]."""
    return codes[:, :16] | codes[:, 16:] << 4
