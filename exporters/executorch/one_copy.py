"""A matrix that two layers read lies in a `.pte` twice: as a constant, and as data of XNNPACK's; then once.

Kernels of the program itself read constants at offsets into one segment; a delegate reads its data by name,
each a segment of its own. Nothing forbids that one lies within the other: the segment of constants is made to
reach over the named data, whose bytes the constant's offset then points to, and the constant's own are cut.

Layout (ExecuTorch 1.5, `program.fbs` and the extended header): offsets of segments count from the header's
segment base, those of constants from the start of their segment. Only numbers in the file change.
"""

import struct
from dataclasses import dataclass

import numpy as np

from myqasr.exporters.executorch.pte import Pte

HEADER_SEGMENT_BYTES = 32
CONSTANTS = 5
LEAST_BYTES = 4096
"""Smaller constants aren't worth a look."""
CONSTANT_ALIGNMENT = 16
MOST_ALIGNMENT = 4096


@dataclass(frozen=True, slots=True)
class _Segment:
    """offset_at, size_at: where the file says them; None: zero, which isn't written."""

    offset: int
    size: int
    offset_at: int | None
    size_at: int | None


@dataclass(frozen=True, slots=True)
class _Parts:
    """A file taken apart. home: the segment of constants; offsets: in it, one for each constant."""

    pte: Pte
    segments: list[_Segment]
    home: int
    offsets: list[int]
    offsets_at: int

    def constants(self) -> dict[int, memoryview]:
        """Offset -> bytes up to the next constant."""
        held, starts = self.pte.segment(self.home), sorted(set(self.offsets))
        ends = [*starts[1:], len(held)]
        return {start: held[start:end] for start, end in zip(starts, ends, strict=True)}

    def same(self, constant: memoryview) -> int | None:
        """The named segment that holds the same, but for padding."""
        for index in set(self.pte.named_segments.values()):
            size = self.segments[index].size
            fits = LEAST_BYTES <= size <= len(constant) < size + CONSTANT_ALIGNMENT
            if fits and constant[:size] == self.pte.segment(index):
                return index
        return None


def one_copy(data: bytes) -> bytes:
    """The same program with every constant that is also named data stored once; `data` if there is none."""
    parts = _parts(data)
    if parts is None:
        return data
    found = {start: parts.same(constant) for start, constant in parts.constants().items()}
    shared = {start: index for start, index in found.items() if index is not None}
    home = parts.segments[parts.home]
    if not shared or home.offset != 0 or home.size_at is None:
        return data
    body, places, moved, reach = _laid_out(parts, shared)
    written = bytearray(parts.pte.data[: parts.pte.segment_base])
    struct.pack_into("<Q", written, HEADER_SEGMENT_BYTES, len(body))
    struct.pack_into("<Q", written, home.size_at, reach)
    for index, segment in enumerate(parts.segments):
        if index != parts.home and segment.offset_at is not None:
            struct.pack_into("<Q", written, segment.offset_at, places[index])
    offsets = [moved[offset] for offset in parts.offsets]
    struct.pack_into(f"<{len(offsets)}Q", written, parts.offsets_at, *offsets)
    return bytes(written + body)


def _parts(data: bytes) -> _Parts | None:
    """None when there are no constants."""
    pte = Pte(memoryview(data))
    if not pte.program.has(CONSTANTS):
        return None
    segments = [
        _Segment(entry.number(0, "Q"), entry.number(1, "Q"), entry.place(0), entry.place(1))
        for entry in pte.segments
    ]
    table = pte.program.table(CONSTANTS)
    offsets = [int(offset) for offset in table.numbers(1, np.uint64)]
    return _Parts(pte, segments, table.number(0, "I"), offsets, table.span(1)[0])


def _laid_out(
    parts: _Parts, shared: dict[int, int]
) -> tuple[bytearray, dict[int, int], dict[int, int], int]:
    """What follows the program: its bytes, where segments and constants lie, how far constants reach.

    shared: offset of a constant -> the segment that has its bytes. These come first, then other constants.
    """
    alignment = _alignment(parts.segments)
    body = bytearray()

    def put(piece: memoryview, multiple: int) -> int:
        body.extend(bytes(-len(body) % multiple))
        body.extend(piece)
        return len(body) - len(piece)

    places = {
        index: put(parts.pte.segment(index), alignment) for index in dict.fromkeys(shared.values())
    }
    moved = {
        start: places[shared[start]] if start in shared else put(constant, CONSTANT_ALIGNMENT)
        for start, constant in parts.constants().items()
    }
    reach = len(body)
    for index in sorted(range(len(parts.segments)), key=lambda i: parts.segments[i].offset):
        if index != parts.home and index not in places:
            places[index] = put(parts.pte.segment(index), alignment)
    return body, places, moved, reach


def _alignment(segments: list[_Segment]) -> int:
    """The largest power of two that all segments start at, within reason."""
    combined = MOST_ALIGNMENT
    for segment in segments:
        combined |= segment.offset
    return combined & -combined
