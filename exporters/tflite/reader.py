"""What is in a .tflite: every layer's codes and scales, from the flatbuffer alone."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core import packing
from myqasr.core.errors import BrokenFileError, UserError
from myqasr.exporters.target import StoredLayer
from myqasr.exporters.tflite.file import IDENTIFIER
from myqasr.exporters.tflite.layers import WEIGHT
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import ActivationRange, LayerCodes

_LAYERS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "EMBEDDING_LOOKUP")
"""Operators that can be layers; their second operand is the weight."""

_OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items()}
_BITS = {schema.TensorType.INT8: 8, schema.TensorType.INT4: 4, schema.TensorType.INT2: 2}
_FLOATS = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}


def read_layers(path: Path) -> tuple[StoredLayer, ...]:
    """Every layer with weights, in the order the subgraphs run them.

    Raises UserError naming the file when it is missing or damaged, or no .tflite.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    if data[4:8] != IDENTIFIER:
        raise BrokenFileError(f"{path} is no TFLite file")
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        return tuple(
            layer for subgraph in model.subgraphs for layer in _Subgraph(model, subgraph).layers()
        )
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise BrokenFileError(f"{path} is damaged ({error}); export it again") from error


@dataclass(frozen=True, slots=True)
class _Constant:
    """A constant tensor: its entry, and its bytes as they lie in the file."""

    entry: Any
    data: NDArray[np.uint8]

    def numbers(self) -> Tensor:
        """The floats of a float tensor."""
        flat = self.data.view(_FLOATS[self.entry.type])
        return torch.from_numpy(flat.reshape(self.entry.shape).copy())

    def codes(self, bits: int) -> Tensor:
        """The integers of a weight, one in an int8."""
        count = int(np.prod(self.entry.shape))
        return torch.from_numpy(unpacked_codes(self.data, bits, count).reshape(self.entry.shape))


class _Subgraph:
    """Where each tensor of a subgraph comes from and goes to."""

    def __init__(self, model: Any, subgraph: Any) -> None:
        self.model = model
        self.subgraph = subgraph
        self.makers = {int(out): each for each in subgraph.operators for out in each.outputs}

    def layers(self) -> Iterator[StoredLayer]:
        """Layers in the order of the operators."""
        for operator in self.subgraph.operators:
            if self.name(operator) not in _LAYERS:
                continue
            index = int(operator.inputs[1])
            maker = self.makers.get(index)
            expanded = maker is not None and self.name(maker) == "DEQUANTIZE"
            if expanded and maker is not None:
                index = int(maker.inputs[0])
            weight = self.constant(index)
            if weight is not None and weight.entry.name.decode().endswith(WEIGHT):
                yield self.layer(operator, weight, expanded)

    def name(self, operator: Any) -> str:
        """What the schema calls an operator."""
        return _OPERATORS[self.model.operatorCodes[operator.opcodeIndex].builtinCode]

    def constant(self, index: int) -> _Constant | None:
        """None for tensors that are computed."""
        entry = self.subgraph.tensors[index]
        data = self.model.buffers[entry.buffer].data
        return None if data is None or len(data) == 0 else _Constant(entry, np.asarray(data))

    def layer(self, operator: Any, weight: _Constant, expanded: bool) -> StoredLayer:
        """One layer. expanded: its weight is made float before it runs."""
        name = self.name(operator)
        if weight.entry.type in _FLOATS:
            values = _arrange(weight.numbers(), name)
            bits = 16 if values.dtype == torch.float16 else 32
            codes = LayerCodes(QuantSpec(bits, "float"))
            return StoredLayer(f"{name} fp{bits}", codes, len(weight.data), values)
        bits = _BITS[weight.entry.type]
        scales, group, scale_bytes = self.scales(weight)
        found = _arrange(weight.codes(bits), name)
        if expanded or name == "EMBEDDING_LOOKUP":
            codes = LayerCodes(QuantSpec(bits, "int", group), found, scales)
        elif name == "FULLY_CONNECTED":
            codes = LayerCodes(QuantSpec(bits, "int", group, "int8-dynamic"), found, scales)
        else:
            if name == "CONV_2D" and found.dim() == 3 and found.shape[2] == 1:
                found = found.squeeze(2)  # rows, in a convolution of width 1
            ranges = self.grid(operator.inputs[0]), self.grid(operator.outputs[0])
            codes = LayerCodes(QuantSpec(bits, "int", group, "int8-static"), found, scales, *ranges)
        kernel = f"{name} int{bits}, activations {codes.spec.activation}"
        return StoredLayer(kernel, codes, len(weight.data) + scale_bytes)

    def scales(self, weight: _Constant) -> tuple[Tensor, int | None, int]:
        """[out_channels, groups], the group size, and the bytes that they take."""
        quantization = weight.entry.quantization
        if quantization.details is not None:
            table = self.constant(quantization.details.scales)
            if table is None:
                raise ValueError("scales of blocks are missing")
            return table.numbers().float(), int(quantization.details.blockSize), len(table.data)
        stored = np.asarray(quantization.scale, np.float32)
        if np.any(np.asarray(quantization.zeroPoint) != 0):
            raise ValueError("weights have zero points")
        return torch.from_numpy(stored.copy())[:, None], None, len(stored) * _SCALE_BYTES

    def grid(self, index: int) -> ActivationRange:
        """The grid of an int8 tensor."""
        quantization = self.subgraph.tensors[int(index)].quantization
        return ActivationRange(float(quantization.scale[0]), int(quantization.zeroPoint[0]))


_SCALE_BYTES = 12
"""A channel's scale and zero point in the file."""


def unpacked_codes(data: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int8]:
    """Inverse of `packed_codes`; raises ValueError for another number of bytes."""
    return packing.from_twos_complement(packing.unpack(data, bits, count, first="low"), bits)


def _arrange(weight: Tensor, operator: str) -> Tensor:
    """From the order of a weight in the file to torch's; a height of one is dropped."""
    if operator == "DEPTHWISE_CONV_2D":
        weight = weight.permute(3, 0, 1, 2)
    elif operator == "CONV_2D":
        weight = weight.permute(0, 3, 1, 2)
    flat = weight.dim() == 4 and weight.shape[2] == 1
    return (weight.squeeze(2) if flat else weight).contiguous()
