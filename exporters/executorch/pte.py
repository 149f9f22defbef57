"""Open a .pte file: its header, segments, constants and the instructions that it runs.

Field numbers follow ExecuTorch 1.5 `program.fbs`. Nothing of ExecuTorch is imported.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from myqasr.core.flatbuffer import DamagedFileError, Table

_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_TENSOR = 5
_IN_SEGMENT = 1
_SCALAR_TYPES = {
    0: torch.uint8,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.int64,
    5: torch.float16,
    6: torch.float32,
    7: torch.float64,
    11: torch.bool,
    15: torch.bfloat16,
}


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One operator run by the program itself. args: indices into the plan's values, outputs last."""

    operator: str
    args: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DelegateCall:
    """One graph handed to a backend. data: what the backend compiled ahead of time."""

    backend: str
    data: memoryview


class Pte:
    """A parsed file; raises DamagedFileError from any method when the bytes don't fit together."""

    def __init__(self, data: memoryview) -> None:
        if bytes(data[4:6]) != b"ET":
            raise DamagedFileError("it has no ExecuTorch mark at its start")
        self.data = data
        self.segment_base, size = 0, len(data)
        if bytes(data[8:12]) == b"eh00":
            try:
                program, self.segment_base = struct.unpack_from("<QQ", data, 16)
                (segments,) = struct.unpack_from("<Q", data, 32) if data[12] >= 32 else (0,)
            except struct.error as error:
                raise DamagedFileError("its header is cut short") from error
            size = max(program, self.segment_base + segments)
        if size > len(data):
            raise DamagedFileError(f"it should have {size:,} bytes but has {len(data):,}")
        self.program = Table.root(data)
        plans = self.program.tables(1)
        if not plans:
            raise DamagedFileError("it holds no method")
        self._plans = plans
        self.named_segments = {
            entry.text(0): entry.number(1, "I") for entry in self.program.tables(7)
        }
        self.segments = self.program.tables(4)

    def methods(self) -> "list[Method]":
        """Entry points in the order of their names."""
        return sorted((Method(self, plan) for plan in self._plans), key=lambda each: each.name)

    def constant_data(self, index: int) -> memoryview:
        """Bytes from the start of one constant on."""
        if not self.program.has(5):
            raise DamagedFileError("it holds constants but no segment for them")
        where = self.program.table(5)
        offsets = where.numbers(1, np.uint64)
        if index >= len(offsets):
            raise DamagedFileError(f"constant {index} of {len(offsets)}")
        return self.segment(where.number(0, "I"))[int(offsets[index]) :]

    def named(self, key: str) -> memoryview:
        """Bytes that delegates share by name."""
        if key not in self.named_segments:
            raise DamagedFileError(f"data named {key[:16]}… is missing")
        return self.segment(self.named_segments[key])

    def segment(self, index: int) -> memoryview:
        """Bytes of one segment."""
        if index >= len(self.segments):
            raise DamagedFileError(f"segment {index} of {len(self.segments)}")
        entry = self.segments[index]
        start = self.segment_base + entry.number(0, "Q")
        size = entry.number(1, "Q")
        if start + size > len(self.data):
            raise DamagedFileError(f"segment {index} runs past the end of the file")
        return self.data[start : start + size]

    def compiled(self, reference: Table) -> memoryview:
        """What a backend compiled, from the reference in a plan."""
        index = reference.number(1, "I")
        if reference.number(0, "b") == _IN_SEGMENT:
            return self.segment(index)
        inline = self.program.tables(3)
        if index >= len(inline):
            raise DamagedFileError(f"delegate data {index} of {len(inline)}")
        start, size = inline[index].span(0)
        return self.data[start : start + size]


class Method:
    """One entry point of a file: its values and what it runs."""

    def __init__(self, pte: Pte, plan: Table) -> None:
        self.pte = pte
        self.name = plan.text(0)
        self.plan = plan
        self._values = plan.tables(2)

    def calls(self) -> Iterator[KernelCall | DelegateCall]:
        """What the program runs, in order."""
        operators = [f"{entry.text(0)}.{entry.text(1)}" for entry in self.plan.tables(6)]
        delegates = self.plan.tables(7)
        for chain in self.plan.tables(5):
            for instruction in chain.tables(2):
                kind = instruction.number(0, "B")
                if kind not in (_KERNEL_CALL, _DELEGATE_CALL):
                    continue
                call = instruction.table(1)
                index = call.number(0, "i")
                known = operators if kind == _KERNEL_CALL else delegates
                if not 0 <= index < len(known):
                    raise DamagedFileError(f"an instruction calls entry {index} of {len(known)}")
                if kind == _KERNEL_CALL:
                    args = tuple(int(value) for value in call.numbers(1, np.int32))
                    yield KernelCall(operators[index], args)
                else:
                    delegate = delegates[index]
                    yield DelegateCall(delegate.text(0), self.pte.compiled(delegate.table(1)))

    def shape(self, value: int) -> list[int]:
        """Sizes of one of the plan's tensors."""
        tensor = self._tensor(value)
        return [] if tensor is None else [int(size) for size in tensor.numbers(2, np.int32)]

    def place(self, value: int) -> tuple[int, ...] | None:
        """Where in planned memory a tensor is computed; None for constants and other values."""
        tensor = self._tensor(value)
        if tensor is None or not tensor.has(6):
            return None
        planned = tensor.table(6)
        return tuple(planned.number(field, "I") for field in range(3))

    def constant(self, value: int) -> Tensor | None:
        """The tensor behind one of the plan's values; None when it is computed at run time."""
        tensor = self._tensor(value)
        if tensor is None:
            return None
        index = tensor.number(5, "I")
        if index == 0 or tensor.has(6):
            return None
        dtype = _SCALAR_TYPES.get(tensor.number(0, "b"))
        if dtype is None:
            raise DamagedFileError(f"a constant has the unknown type {tensor.number(0, 'b')}")
        shape = self.shape(value)
        return tensor_from(self.pte.constant_data(index), dtype, shape)

    def _tensor(self, value: int) -> Table | None:
        if not 0 <= value < len(self._values):
            raise DamagedFileError(f"value {value} of {len(self._values)}")
        entry = self._values[value]
        return entry.table(1) if entry.number(0, "B") == _TENSOR else None


def tensor_from(data: memoryview, dtype: torch.dtype, shape: list[int]) -> Tensor:
    """An own copy of a tensor stored at the start of `data`; raises DamagedFileError when it is short."""
    count = int(np.prod(shape, dtype=np.int64))
    size = count * dtype.itemsize
    if count < 0 or size > len(data):
        raise DamagedFileError(f"a tensor of {size:,} bytes has only {len(data):,}")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data[:size]), dtype=dtype).reshape(shape)
