"""Integers of a few bits, several in a byte: in which order, and how negative ones are stored.

Formats differ in both. The order is the place of the first value in a byte: in its lowest bits (`"low"`:
XNNPACK, TFLite, Core ML) or its highest (`"high"`: ExecuTorch's packed embeddings). Negative values are
stored in two's complement (TFLite, Core ML) or with half the range added (`offset`: XNNPACK, ExecuTorch).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["low", "high"]


def pack(values: NDArray[np.uint8], bits: int, first: Order = "low") -> NDArray[np.uint8]:
    """Unsigned values below 2 ** bits, of any shape, one after the other; zeros fill the last byte.

    Returns uint8 [ceil(count * bits / 8)]. Raises ValueError for `"high"` with bits that don't divide 8.
    """
    flat = np.ascontiguousarray(values, np.uint8).reshape(-1)
    if bits == 8:
        return flat
    if 8 % bits:
        _must_be_low(bits, first)
        planes = (flat[:, None] >> np.arange(bits, dtype=np.uint8)) & np.uint8(1)
        return np.packbits(planes, bitorder="little")
    padded = np.pad(flat, (0, -len(flat) % (8 // bits)))
    packed = np.zeros(len(padded) * bits // 8, np.uint8)
    for place, shift in enumerate(_shifts(bits, first)):
        packed |= padded[place :: 8 // bits] << shift
    return packed


def unpack(
    data: NDArray[np.uint8], bits: int, count: int, first: Order = "low"
) -> NDArray[np.uint8]:
    """Inverse of `pack`: uint8 [count]. Raises ValueError when `data` has another number of bytes."""
    data = data.reshape(-1)
    if len(data) != -(-count * bits // 8):
        raise ValueError(f"{count} values of {bits} bits don't take {len(data)} bytes")
    if bits == 8:
        return data
    if 8 % bits:
        _must_be_low(bits, first)
        planes = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
        return (planes << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8)
    values = np.empty(len(data) * 8 // bits, np.uint8)
    for place, shift in enumerate(_shifts(bits, first)):
        values[place :: 8 // bits] = (data >> shift) & np.uint8(2**bits - 1)
    return values[:count]


def to_twos_complement(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Signed codes of so many bits as unsigned values to pack."""
    return codes.view(np.uint8) & np.uint8(2**bits - 1)


def from_twos_complement(values: NDArray[np.uint8], bits: int) -> NDArray[np.int8]:
    """Inverse of `to_twos_complement`."""
    codes: NDArray[np.int8] = (values << (8 - bits)).view(np.int8) >> (8 - bits)
    return codes


def to_offset(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Signed codes of so many bits with 2 ** (bits - 1) added, as unsigned values to pack."""
    return codes.view(np.uint8) + np.uint8(2 ** (bits - 1))


def from_offset(values: NDArray[np.uint8], bits: int) -> NDArray[np.int8]:
    """Inverse of `to_offset`."""
    codes: NDArray[np.int8] = (values - np.uint8(2 ** (bits - 1))).view(np.int8)
    return codes


def _must_be_low(bits: int, first: Order) -> None:
    if first != "low":
        raise ValueError(f"values of {bits} bits straddle bytes: only lowest bits first")


def _shifts(bits: int, first: Order) -> Any:
    rising = [np.uint8(shift) for shift in range(0, 8, bits)]
    return rising if first == "low" else rising[::-1]
