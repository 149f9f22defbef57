"""Types of weights in a ggml file, and how codes and scales lie in their blocks (ggml-common.h).

A block is 32 weights of a row: a float16 scale, with `q*_1` a float16 least value, with 5 bits the fifth bits
of all codes as one little-endian integer, then the codes: bytes at 8 bits, else nibbles, those of the first
16 weights in the low halves. Codes lie there unsigned: 4 bits as code + 8, 5 bits as code + 16.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myqasr.exporters.ggml import superblocks
from myqasr.personalize.planning.plan import BLOCK, FLOAT16, SUPERBLOCK, QuantSpec

Codes = NDArray[np.int8] | NDArray[np.uint8]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

F32, F16 = 0, 1
"""Numbers of the types that have no blocks."""


@dataclass(frozen=True, slots=True)
class BlockType:
    """name: as ggml has it. number: in a tensor's header; file_type: in the file's. stored: in plans."""

    name: str
    number: int
    file_type: int
    stored: QuantSpec

    @property
    def block_bytes(self) -> int:
        """Of so many weights as share a scale: 32, or 256 of k-quants."""
        spec = self.stored
        if spec.scheme == "qk":
            return superblocks.BYTES[spec.bits]
        return (2 if spec.scheme == "q0" else 4) + BLOCK * spec.bits // 8

    @property
    def middle(self) -> int:
        """What is added to codes before they are stored."""
        spec = self.stored
        return 2 ** (spec.bits - 1) if spec.scheme == "q0" and spec.bits < 8 else 0

    def pack(self, codes: Codes, scales: Floats) -> bytes:
        """Blocks of codes [n, 32] and scales [n], or scales and least values [n, 2]; of k-quants [n, 256]

        and [n, 18] or [n, 17] as `LayerCodes` has them.
        """
        if self.stored.scheme == "qk":
            return superblocks.pack(self.stored.bits, codes, scales)
        parts: list[Bytes] = [_half(scales)]
        if self.stored.bits == 8:
            parts.append(np.ascontiguousarray(codes, np.int8).view(np.uint8))
        else:
            raised: Bytes = (codes.astype(np.int16) + self.middle).astype(np.uint8)
            if self.stored.bits == 5:
                parts.append(np.packbits(raised >> 4, axis=1, bitorder="little"))
            low: Bytes = (raised & 15).astype(np.uint8)
            parts.append(low[:, :16] | (low[:, 16:] << 4).astype(np.uint8))
        return np.concatenate(parts, axis=1).tobytes()

    def unpack(self, data: bytes | memoryview) -> tuple[Codes, Floats]:
        """Inverse of `pack`, to the bit."""
        spec = self.stored
        if spec.scheme == "qk":
            return superblocks.unpack(spec.bits, data)
        blocks = np.frombuffer(data, np.uint8).reshape(-1, self.block_bytes)
        width = 2 if spec.scheme == "q0" else 4
        scales = blocks[:, :width].copy().view(np.float16).astype(np.float32)
        scales = scales[:, 0] if spec.scheme == "q0" else scales
        if spec.bits == 8:
            return blocks[:, width:].copy().view(np.int8), scales
        nibbles = blocks[:, -BLOCK // 2 :]
        codes = np.concatenate((nibbles & 15, nibbles >> 4), axis=1)
        if spec.bits == 5:
            fifth = np.unpackbits(blocks[:, width : width + 4], axis=1, bitorder="little")
            codes |= fifth << 4
        if spec.scheme == "q1":
            return codes, scales
        return (codes.astype(np.int16) - self.middle).astype(np.int8), scales


def _half(scales: Floats) -> Bytes:
    """float16 as bytes, [block, 2 or 4]."""
    return scales.astype(np.float16).reshape(len(scales), -1).view(np.uint8)


BLOCK_TYPES = (
    BlockType("q4_0", 2, 2002, QuantSpec(4, "q0", BLOCK)),
    BlockType("q4_K", 12, 2012, QuantSpec(4, "qk", SUPERBLOCK)),
    BlockType("q4_1", 3, 2003, QuantSpec(4, "q1", BLOCK)),
    BlockType("q5_0", 6, 2008, QuantSpec(5, "q0", BLOCK)),
    BlockType("q5_K", 13, 2013, QuantSpec(5, "qk", SUPERBLOCK)),
    BlockType("q5_1", 7, 2009, QuantSpec(5, "q1", BLOCK)),
    BlockType("q6_K", 14, 2014, QuantSpec(6, "qk", SUPERBLOCK)),
    BlockType("q8_0", 8, 2007, QuantSpec(8, "q0", BLOCK)),
)
"""File types of quantised files carry the version of the formats, 2, in their thousands."""

BY_NUMBER = {each.number: each for each in BLOCK_TYPES}
BY_SPEC = {each.stored: each for each in BLOCK_TYPES}
FILE_TYPES = {F16: 1, **{each.number: each.file_type for each in BLOCK_TYPES}}
"""A tensor's type -> that of a file of such."""


def number_of(spec: QuantSpec) -> int:
    """Of the type that a layer of a plan has in the file."""
    if spec.scheme == "float":
        return F16 if spec == FLOAT16 else F32
    return BY_SPEC[spec.stored].number


def bytes_of(number: int, weights: int) -> int:
    """So many weights at a type."""
    if number in BY_NUMBER:
        kind = BY_NUMBER[number]
        return weights // (kind.stored.group_size or BLOCK) * kind.block_bytes
    return weights * (4 if number == F32 else 2)
