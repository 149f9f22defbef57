"""Arrays in a safetensors file that says the hash of all its bytes; the same arrays give the same bytes.

Layout: https://github.com/huggingface/safetensors: the length of a JSON header as 8 bytes, the header, the
arrays one after the other. The header begins with its metadata and that with the hash, which is that of the
file with zeros in its place.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import BrokenFileError
from myqasr.core.placing import replacing
from myqasr.core.reading import reading

Arrays = dict[str, NDArray[Any]]

_HASH = "sha256"
_BLANK = "0" * 64
_START = f'{{"__metadata__":{{"{_HASH}":"'.encode()
_HASH_AT = slice(8 + len(_START), 8 + len(_START) + len(_BLANK))
_TYPES = {"I8": "i1", "U8": "u1", "F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8"}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
_MOST_HEADER = 100_000_000
"""Bytes that safetensors allows."""


def save_tensors(
    arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], path: Path
) -> None:
    """Write a file, whole or not at all. Raises UserError when the disk is full."""
    # Wide types first, so that all lie at multiples of their size, and then by name.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    entries: dict[str, Any] = {"__metadata__": {_HASH: _BLANK, **dict(sorted(metadata.items()))}}
    place = 0
    for name in order:
        array = arrays[name]
        end = place + array.nbytes
        entries[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [place, end],
        }
        place = end
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    start = bytearray(len(header).to_bytes(8, "little") + header)
    parts = [
        np.ascontiguousarray(arrays[name]).data.cast("B") for name in order if arrays[name].size
    ]
    digest = hashlib.sha256(start)
    for part in parts:
        digest.update(part)
    start[_HASH_AT] = digest.hexdigest().encode()
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(start)
        for part in parts:
            file.write(part)


def load_tensors(path: Path, mend: str) -> tuple[Arrays, dict[str, str]]:
    """Arrays, which share one buffer, and metadata.

    Raises BrokenFileError when the file is missing or isn't what was written: both hashes are named.
    """
    with reading(path, "can't be read", mend):
        data = bytearray(path.stat().st_size)
        with path.open("rb") as file:
            if file.readinto(data) != len(data):
                raise BrokenFileError(f"{path} changed while it was read; {mend}")
        header, start = _header(data)
        written = data[_HASH_AT].decode()
        data[_HASH_AT] = _BLANK.encode()
        found = hashlib.sha256(data).hexdigest()
        if written != found:
            raise BrokenFileError(
                f"{path} was changed after it was written: it says sha256 {written}, it has {found}; {mend}"
            )
        metadata = header.pop("__metadata__")
        del metadata[_HASH]
        arrays = {}
        for name, entry in header.items():
            kind, shape = np.dtype(_TYPES[entry["dtype"]]), entry["shape"]
            flat = np.frombuffer(data, kind, math.prod(shape), start + entry["data_offsets"][0])
            arrays[name] = flat.reshape(shape)
        return arrays, metadata


def load_metadata(path: Path, mend: str) -> dict[str, str]:
    """The metadata alone, of a file that may be damaged further on; raises as `load_tensors`."""
    with reading(path, "can't be read", mend), path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        file.seek(0)
        header, _ = _header(bytearray(file.read(8 + min(size, _MOST_HEADER))))
        metadata: dict[str, str] = header["__metadata__"]
        del metadata[_HASH]
        return metadata


def _header(data: bytearray) -> tuple[dict[str, Any], int]:
    """Of a file's start, and where the arrays begin; raises ValueError when it isn't one of ours."""
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= min(len(data) - 8, _MOST_HEADER):
        raise ValueError("it is cut off")
    if data[8 : _HASH_AT.start] != _START:
        raise ValueError("it says no hash of its content: another version wrote it")
    header: dict[str, Any] = json.loads(data[8 : 8 + size].decode())
    return header, 8 + size
