"""How ggml's own quantiser chooses codes: blocks of 32 rounded to nearest (`quantize_row_*_ref`).

Those with a scale only, but for q8_0, put the weight that is furthest from zero on the lowest code, whatever
its sign. How blocks lie in a file: `exporters.ggml.types`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myqasr.exporters.ggml.types import BLOCK_TYPES, F16, FILE_TYPES
from myqasr.personalize.planning.plan import BLOCK

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Pairs = tuple[NDArray[np.int8] | Bytes, Floats]
"""Codes [block, 32], and scales [block], or with least values [block, 2]."""


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


def furthest_lowest(weights: Floats, bits: int) -> Pairs:
    """q4_0 and q5_0."""
    blocks, levels = _blocks(weights), 2 ** (bits - 1)
    places = np.abs(blocks).argmax(axis=1)
    scales = blocks[np.arange(len(blocks)), places] / np.float32(-levels)
    shifted = blocks * _inverse(scales)[:, None] + np.float32(levels + 0.5)
    return np.minimum(shifted.astype(np.int8), 2 * levels - 1) - np.int8(levels), scales


def from_least(weights: Floats, bits: int) -> Pairs:
    """q4_1 and q5_1."""
    blocks, largest = _blocks(weights), 2**bits - 1
    least = blocks.min(axis=1)
    scales = (blocks.max(axis=1) - least) / np.float32(largest)
    shifted = (blocks - least[:, None]) * _inverse(scales)[:, None] + np.float32(0.5)
    codes = np.minimum(shifted.astype(np.int8), largest).astype(np.uint8)
    return codes, np.stack((scales, least), axis=1)


def symmetric(weights: Floats, bits: int) -> Pairs:
    """q8_0."""
    blocks = _blocks(weights)
    scales = np.abs(blocks).max(axis=1) / np.float32(2 ** (bits - 1) - 1)
    ratios = blocks * _inverse(scales)[:, None]
    return np.trunc(ratios + np.copysign(np.float32(0.5), ratios)).astype(np.int8), scales


def f16(weights: Floats) -> bytes:
    """No blocks: float16."""
    return weights.astype(np.float16).tobytes()


def _formats() -> dict[str, BlockFormat]:
    found = {"f16": BlockFormat("f16", F16, FILE_TYPES[F16], 64, f16)}
    for kind in reversed(BLOCK_TYPES):
        spec = kind.stored
        if spec.scheme == "qk":
            continue
        choose = from_least if spec.scheme == "q1" else furthest_lowest
        rounded = symmetric if spec.bits == 8 else choose

        def encode(weights: Floats, kind=kind, rounded=rounded, bits=spec.bits) -> bytes:
            return kind.pack(*rounded(weights, bits))

        form = BlockFormat(kind.name, kind.number, kind.file_type, kind.block_bytes, encode)
        found[kind.name] = form
    return found


FORMATS = _formats()
"""Name -> format; without k-quants, whose scales ggml searches for in its own way."""


def _blocks(weights: Floats) -> Floats:
    if weights.shape[-1] % BLOCK:
        raise ValueError(f"rows of {weights.shape[-1]} weights can't be cut into blocks of {BLOCK}")
    return np.ascontiguousarray(weights, np.float32).reshape(-1, BLOCK)


def _inverse(scales: Floats) -> Floats:
    """1 / scale, 0 for a block of zeros."""
    return np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)
