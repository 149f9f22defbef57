"""Read tables of a FlatBuffers file by field number, every access checked against the file's end.

Layout: https://flatbuffers.dev/internals/. Field numbers count from 0 in the order of the schema; a
union is two fields, first its type, then its table.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray


class DamagedFileError(ValueError):
    """The bytes don't form what they claim to be; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table inside `data`, at byte `position`."""

    data: memoryview
    position: int

    @classmethod
    def root(cls, data: memoryview) -> "Table":
        """The root table of a whole buffer."""
        return cls(data, _unpack(data, "<I", 0))

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Integer of struct kind `b`, `h`, `i`, `I`, `q`, `Q` or `B`; the default when absent."""
        at = self._field(field)
        return default if at is None else int(_unpack(self.data, "<" + kind, at))

    def real(self, field: int) -> float:
        """A 32-bit float; 0 when absent."""
        at = self._field(field)
        return 0.0 if at is None else float(_unpack(self.data, "<f", at))

    def text(self, field: int) -> str:
        """A string; empty when absent."""
        start, length = self._vector(field, 1)
        return bytes(self.data[start : start + length]).decode(errors="replace")

    def table(self, field: int) -> "Table":
        """A table that must be there."""
        at = self._field(field)
        if at is None:
            raise DamagedFileError(f"field {field} is missing")
        return Table(self.data, at + _unpack(self.data, "<I", at))

    def place(self, field: int) -> int | None:
        """Where in the data a field's value lies; None when it is not written."""
        return self._field(field)

    def has(self, field: int) -> bool:
        """Whether the field is written."""
        return self._field(field) is not None

    def tables(self, field: int) -> "list[Table]":
        """A vector of tables; empty when absent."""
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self.data, at + _unpack(self.data, "<I", at)) for at in places]

    def numbers(self, field: int, dtype: DTypeLike) -> NDArray[np.integer]:
        """A vector of integers; empty when absent."""
        start, count = self._vector(field, np.dtype(dtype).itemsize)
        return np.frombuffer(self.data, dtype, count, start) if count else np.empty(0, dtype)

    def span(self, field: int) -> tuple[int, int]:
        """Start and length of a byte vector."""
        return self._vector(field, 1)

    def _field(self, field: int) -> int | None:
        """Where a field's value lies; None when it is not written."""
        vtable = self.position - _unpack(self.data, "<i", self.position)
        if 4 + 2 * field >= _unpack(self.data, "<H", vtable):
            return None
        offset = _unpack(self.data, "<H", vtable + 4 + 2 * field)
        return self.position + offset if offset else None

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        at = self._field(field)
        if at is None:
            return 0, 0
        at += _unpack(self.data, "<I", at)
        count = _unpack(self.data, "<I", at)
        if at + 4 + count * item_bytes > len(self.data):
            raise DamagedFileError(f"a list of {count} entries runs past the end of the file")
        return at + 4, count


def _unpack(data: memoryview, form: str, position: int) -> int:
    if position < 0:
        raise DamagedFileError("an offset points before the start of the file")
    try:
        value: int = struct.unpack_from(form, data, position)[0]
    except struct.error as error:
        raise DamagedFileError("an offset points past the end of the file") from error
    return value
