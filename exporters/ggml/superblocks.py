"""How ggml's k-quants lie in their blocks of 256 weights (ggml-common.h, `block_q4_K` to `block_q6_K`).

q4_K and q5_K: float16 steps of scales and of least values; 8 scales and 8 least values of 6 bits in 12 bytes,
the upper bits of the last four of each in those of the first four; with 5 bits the fifth bits, bit n of byte
j being that of weight 32 n + j; then nibbles, of each 64 weights the first 32 in the low halves. q6_K:
nibbles, of each 128 weights the first 64 in the low halves; the upper two bits, of each 128 weights the first
32 lowest; 16 scales; the float16 step.
"""

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int8] | NDArray[np.uint8]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BYTES = {4: 144, 5: 176, 6: 210}
"""Bits -> bytes of 256 weights."""
_MIDDLE = 32
"""What is added to codes of 6 bits."""


def pack(bits: int, codes: Codes, scales: Floats) -> bytes:
    """Blocks of codes [n, 256] and scales, [n, 18], at 6 bits [n, 17], as `LayerCodes` has them."""
    count = len(codes)
    if bits == 6:
        raised = (codes.astype(np.int16) + _MIDDLE).astype(np.uint8).reshape(count, 2, 4, 32)
        low, high = raised & 15, raised >> 4
        nibbles = low[:, :, :2] | low[:, :, 2:] << 4
        pairs = np.bitwise_or.reduce(high << (2 * np.arange(4, dtype=np.uint8))[:, None], axis=2)
        parts = [nibbles.reshape(count, -1), pairs.reshape(count, -1)]
        parts += [scales[:, 1:].astype(np.int8).view(np.uint8), _half(scales[:, :1])]
        return np.concatenate(parts, axis=1).tobytes()
    plain = codes.astype(np.uint8).reshape(count, 4, 2, 32)
    low = plain & 15
    parts = [_half(scales[:, :2]), _sixes(scales[:, 2:].astype(np.uint8))]
    if bits == 5:
        fifth = (plain >> 4).reshape(count, 8, 32) << np.arange(8, dtype=np.uint8)[:, None]
        parts.append(np.bitwise_or.reduce(fifth, axis=1))
    parts.append((low[:, :, 0] | low[:, :, 1] << 4).reshape(count, -1))
    return np.concatenate(parts, axis=1).tobytes()


def unpack(bits: int, data: bytes | memoryview) -> tuple[Codes, Floats]:
    """Inverse of `pack`, to the bit."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, BYTES[bits])
    count = len(blocks)
    if bits == 6:
        nibbles, pairs = blocks[:, :128].reshape(count, 2, 2, 32), blocks[:, 128:192]
        low = np.concatenate((nibbles & 15, nibbles >> 4), axis=2)
        twos = pairs.reshape(count, 2, 1, 32) >> (2 * np.arange(4, dtype=np.uint8))[:, None] & 3
        codes = (low | twos << 4).reshape(count, -1).astype(np.int16) - _MIDDLE
        whole = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
        return codes.astype(np.int8), np.concatenate((_floats(blocks[:, 208:]), whole), axis=1)
    nibbles = blocks[:, -128:].reshape(count, 4, 1, 32)
    plain = np.concatenate((nibbles & 15, nibbles >> 4), axis=2).reshape(count, 8, 32)
    if bits == 5:
        fifth = blocks[:, 16:48].reshape(count, 1, 32) >> np.arange(8, dtype=np.uint8)[:, None] & 1
        plain = plain | fifth << 4
    sixes = _from_sixes(blocks[:, 4:16]).astype(np.float32)
    scales = np.concatenate((_floats(blocks[:, :4]), sixes), axis=1)
    return plain.reshape(count, -1).astype(np.uint8), scales


def _sixes(values: Bytes) -> Bytes:
    """8 scales and 8 least values [n, 16] -> [n, 12]."""
    first, last = values.reshape(-1, 2, 2, 4).transpose(2, 0, 1, 3)  # [n, scales or least, 4] each
    upper = (first | last >> 4 << 6).reshape(-1, 8)
    lower = last[:, 0] & 15 | last[:, 1] << 4
    return np.concatenate((upper, lower), axis=1)


def _from_sixes(data: Bytes) -> Bytes:
    """Inverse."""
    upper = data[:, :8].reshape(-1, 2, 4)
    lower = np.stack((data[:, 8:] & 15, data[:, 8:] >> 4), axis=1)
    return np.stack((upper & 63, lower | upper >> 6 << 4), axis=2).reshape(-1, 16)


def _half(values: Floats) -> Bytes:
    return np.ascontiguousarray(values.astype(np.float16)).view(np.uint8)


def _floats(data: Bytes) -> Floats:
    return np.ascontiguousarray(data).view(np.float16).astype(np.float32)
