"""Layers of an XNNPACK delegate: weights, scales and ranges from the file's own bytes.

Field numbers follow the schema of ExecuTorch 1.5's XNNPACK backend.
"""

import struct
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from myqasr.core import packing
from myqasr.core.flatbuffer import DamagedFileError, Table
from myqasr.exporters.executorch.pte import Pte, tensor_from
from myqasr.exporters.target import StoredLayer
from myqasr.personalize.planning.plan import Activation, QuantSpec
from myqasr.personalize.rounding.codes import ActivationRange, LayerCodes

_FULLY_CONNECTED, _CONVOLUTION, _DEPTHWISE = 2, 7, 13
_KINDS = {
    _FULLY_CONNECTED: "fully connected",
    _CONVOLUTION: "convolution",
    _DEPTHWISE: "depthwise convolution",
}
_OPERANDS = {_FULLY_CONNECTED: (0, 1, 3), _CONVOLUTION: (15, 16, 18), _DEPTHWISE: (15, 16, 18)}
"""Fields with the value ids of input, filter and output."""

_DATATYPES = {
    1: "fp32",
    2: "fp16",
    3: "qint8",
    6: "qcint8",
    8: "qcint4",
    9: "qdint8",
    10: "qbint4",
    14: "bf16",
}
_PER_CHANNEL, _PER_TENSOR, _PER_GROUP = 1, 2, 4
_NO_OFFSET = 2**64 - 1


@dataclass(frozen=True, slots=True)
class _Value:
    """One tensor of the graph: its type, shape, constant bytes and quantisation table."""

    datatype: str
    shape: list[int]
    constant: int
    quantisation: int
    parameters: Table | None


class _Graph:
    """The parts of a delegate's flatbuffer that say what its layers are."""

    def __init__(self, pte: Pte, data: memoryview) -> None:
        self.pte = pte
        if bytes(data[4:8]) != b"XH00":
            raise DamagedFileError("an XNNPACK delegate has no header")
        try:
            start, size, constants, _ = struct.unpack_from("<IIIQ", data, 10)
        except struct.error as error:
            raise DamagedFileError("an XNNPACK header is cut short") from error
        self.inline = data[constants:]
        root = Table.root(data[start : start + size])
        self.nodes = root.tables(1)
        self.constants = root.tables(8)
        self.values = dict(_value(entry) for entry in root.tables(2))

    def value(self, identity: int) -> _Value:
        if identity not in self.values:
            raise DamagedFileError(f"an XNNPACK node uses the unknown value {identity}")
        return self.values[identity]

    def bytes_of(self, index: int) -> memoryview:
        """Constant data by index."""
        if not 0 < index < len(self.constants):
            raise DamagedFileError(f"XNNPACK constant {index} of {len(self.constants)}")
        entry = self.constants[index]
        size = entry.number(1, "Q")
        offset = entry.number(0, "Q")
        data = self.pte.named(entry.text(2)) if offset == _NO_OFFSET else self.inline[offset:]
        if len(data) < size:
            raise DamagedFileError(f"constant data of {size:,} bytes has only {len(data):,}")
        return data[:size]


def delegate_layers(pte: Pte, data: memoryview) -> list[StoredLayer]:
    """Weight-bearing nodes of one delegate, in the order it runs them."""
    graph = _Graph(pte, data)
    layers = []
    for node in graph.nodes:
        kind = node.number(0, "B")
        if kind in _OPERANDS:
            source, weight, result = (
                graph.value(node.table(1).number(field, "I")) for field in _OPERANDS[kind]
            )
            if weight.constant:
                layers.append(_layer(graph, kind, source, weight, result))
    return layers


def _value(entry: Table) -> tuple[int, _Value]:
    quantised = entry.number(0, "B") == 2
    outer = entry.table(1)
    tensor = outer.table(0) if quantised else outer
    code = tensor.number(0, "h")
    return tensor.number(6, "I"), _Value(
        _DATATYPES.get(code, f"type {code}"),
        [int(size) for size in tensor.numbers(2, np.uint32)],
        tensor.number(3, "I"),
        outer.number(1, "B") if quantised else 0,
        outer.table(2) if quantised and outer.has(2) else None,
    )


def _layer(graph: _Graph, kind: int, source: _Value, weight: _Value, result: _Value) -> StoredLayer:
    data = graph.bytes_of(weight.constant)
    kernel = f"xnnpack {_KINDS[kind]}, weights {weight.datatype}, input {source.datatype}"
    if weight.datatype in ("fp32", "fp16"):
        dtype = torch.float32 if weight.datatype == "fp32" else torch.float16
        stored = _as_torch(kind, tensor_from(data, dtype, weight.shape))
        spec = QuantSpec(32 if weight.datatype == "fp32" else 16, "float")
        return StoredLayer(kernel, LayerCodes(spec), len(data), stored)
    if weight.datatype not in ("qcint8", "qcint4", "qbint4"):
        raise DamagedFileError(f"an XNNPACK layer has weights of {weight.datatype}")
    packed = weight.datatype != "qcint8"
    codes = _nibbles(data, weight.shape) if packed else tensor_from(data, torch.int8, weight.shape)
    scales, group, scale_bytes = _scales(graph, weight)
    activation: Activation = "int8-static" if source.datatype == "qint8" else "int8-dynamic"
    if source.datatype == "fp32":
        activation = "float"
    return StoredLayer(
        kernel,
        LayerCodes(
            QuantSpec(4 if packed else 8, "int", group, activation),
            _as_torch(kind, codes),
            scales,
            _range(source) if activation == "int8-static" else None,
            _range(result) if activation == "int8-static" else None,
        ),
        len(data) + scale_bytes,
    )


def _as_torch(kind: int, weight: Tensor) -> Tensor:
    """From XNNPACK's channels-last filters to [out, in / groups, kernel]; linear stays [out, in]."""
    if kind == _FULLY_CONNECTED:
        return weight
    if weight.dim() != 4:
        raise DamagedFileError(f"a convolution has weights of shape {tuple(weight.shape)}")
    if kind == _DEPTHWISE:  # [1, kernel, 1, out]
        return weight.reshape(-1, weight.shape[3]).t().unsqueeze(1).contiguous()
    flat = weight.reshape(weight.shape[0], -1, weight.shape[3])  # [out, kernel, in / groups]
    return flat.transpose(1, 2).contiguous()


def _nibbles(data: memoryview, shape: list[int]) -> Tensor:
    """4-bit codes: the first of each pair in the low half of a byte, stored with 8 added."""
    rows, columns = shape
    even = columns + columns % 2  # every row begins in a byte of its own
    packed = tensor_from(data, torch.uint8, [rows, even // 2]).numpy()
    codes = packing.from_offset(packing.unpack(packed, 4, rows * even, first="low"), 4)
    return torch.from_numpy(codes.reshape(rows, even)[:, :columns])


def _scales(graph: _Graph, weight: _Value) -> tuple[Tensor, int | None, int]:
    """Scales float32 [out, groups], group size (None per channel), and bytes in the file."""
    parameters = weight.parameters
    if parameters is None or weight.quantisation not in (_PER_CHANNEL, _PER_GROUP):
        raise DamagedFileError("an XNNPACK weight has no scales")
    if weight.quantisation == _PER_GROUP:
        group = parameters.number(2, "i")
        count = parameters.number(5, "I")
        data = graph.bytes_of(parameters.number(4, "I"))
        scales = tensor_from(data, torch.bfloat16, [weight.shape[0], count // weight.shape[0]])
        return scales.float(), group, len(data)
    data = graph.bytes_of(parameters.number(2, "I"))
    scales = tensor_from(data, torch.float32, [parameters.number(3, "I"), 1])
    return scales, None, len(data)


def _range(value: _Value) -> ActivationRange:
    if value.parameters is None or value.quantisation != _PER_TENSOR:
        raise DamagedFileError("a static layer has no range")
    return ActivationRange(value.parameters.real(0), value.parameters.number(1, "i"))
