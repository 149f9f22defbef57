"""CTranslate2's int8 file, as its converters write it with `--quantization int8`.

One scale for each row, stored as what a weight is multiplied by; everything else in float32
(python/ctranslate2/specs/model_spec.py there). The head is the embedding, by an alias.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core.storage import write_bytes

VERSION, REVISION = 6, 3
SPECIFICATION = "WhisperSpec"
TYPES = ("float32", "int8", "int16", "int32", "float16")
ALIASES = tuple(
    (f"decoder/projection/{part}", f"decoder/embeddings/{part}")
    for part in ("weight", "weight_scale")
)

Variables = Mapping[str, NDArray[np.generic]]


def write_int8(path: Path, variables: Variables) -> None:
    """Write a `model.bin` of int8 matrices and convolutions, whole or not at all."""
    stored: dict[str, NDArray[np.generic]] = {}
    for name, values in variables.items():
        floats = values.astype(np.float32) if values.dtype == np.float16 else values
        if name.endswith("/weight") and values.ndim >= 2:
            stored[name], stored[f"{name}_scale"] = by_rows(np.asarray(floats, np.float32))
        else:
            stored[name] = floats
    parts = [struct.pack("<I", VERSION), _text(SPECIFICATION)]
    parts.append(struct.pack("<2I", REVISION, len(stored)))
    parts += [_variable(name, stored[name]) for name in sorted(stored)]
    parts.append(struct.pack("<I", len(ALIASES)))
    parts += [_text(each) for pair in ALIASES for each in pair]
    write_bytes(path, b"".join(parts))


def by_rows(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes of the same shape, and [rows] what the weights were multiplied by."""
    rows = values.reshape(len(values), -1)
    furthest = np.abs(rows).max(axis=1)
    furthest[furthest == 0] = 127.0
    scales = np.float32(127) / furthest
    codes = np.rint(rows * scales[:, None]).astype(np.int8)
    return codes.reshape(values.shape), scales


def _variable(name: str, values: NDArray[np.generic]) -> bytes:
    head = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    kind = struct.pack("<BI", TYPES.index(values.dtype.name), values.nbytes)
    return _text(name) + head + kind + values.tobytes()


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"
