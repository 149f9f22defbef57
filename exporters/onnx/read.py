"""What is in an ONNX file: every layer's codes and scales, from the protobuf alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from myqasr.core import packing
from myqasr.core.reading import reading
from myqasr.exporters.onnx.layers import SCALES, SHAPE, WEIGHT
from myqasr.exporters.target import StoredLayer
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes

_EXPANDING = ("Cast", "Transpose", "Int8Kernels", "Int4Kernels")
"""Operators between a stored weight and what computes with it."""


def read_layers(path: Path) -> tuple[StoredLayer, ...]:
    """Every layer with weights, in the order the graphs run them, those of a folder by name.

    Raises UserError naming the file when it isn't an ONNX file of ours.
    """
    files = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    found: list[StoredLayer] = []
    for file in files:
        with reading(file, "is not an ONNX file that this can read", "export it again"):
            found += _Graph(onnx.load_model_from_string(file.read_bytes())).layers()
    with reading(path, "is not an ONNX file that this can read", "export it again"):
        if not found:
            raise ValueError("no layers in it")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A layer's constants."""

    weight: TensorProto
    scales: TensorProto | None
    shape: TensorProto | None

    @property
    def payload_bytes(self) -> int:
        """As they lie in the file."""
        return len(self.weight.raw_data) + (len(self.scales.raw_data) if self.scales else 0)


class _Graph:
    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output}

    def layers(self) -> Iterator[StoredLayer]:
        """In the order of the nodes that compute them."""
        for node in self.graph.node:
            if node.op_type in _EXPANDING:
                continue
            for name in node.input:
                stored = self._behind(name)
                if stored is not None:
                    yield _stored_layer(node, stored)

    def _behind(self, name: str) -> _Stored | None:
        """The weight that a value is made of, if it is one's."""
        if name in self.constants and name.endswith(WEIGHT):
            layer = name.removesuffix(WEIGHT)
            scales, shape = (self.constants.get(layer + each) for each in (SCALES, SHAPE))
            return _Stored(self.constants[name], scales, shape)
        maker = self.makers.get(name)
        if maker is None or maker.op_type not in _EXPANDING:
            return None
        return self._behind(maker.input[0])


def _stored_layer(node: NodeProto, stored: _Stored) -> StoredLayer:
    weight = stored.weight
    if stored.scales is None:
        values = torch.from_numpy(numpy_helper.to_array(weight).copy())
        bits = 16 if values.dtype == torch.float16 else 32
        codes = LayerCodes(QuantSpec(bits, "float"))
        return StoredLayer(f"{node.op_type} fp{bits}", codes, stored.payload_bytes, values)
    scales = torch.from_numpy(numpy_helper.to_array(stored.scales).copy())
    settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    group = None
    if weight.data_type == TensorProto.UINT8:  # two codes in a byte, the first in the lower half
        bits, count = 4, 2 * len(weight.raw_data)
        codes_of = packing.unpack(np.frombuffer(weight.raw_data, np.uint8), bits, count)
        found = packing.from_offset(codes_of, bits).reshape(weight.dims[0], -1)
        if stored.shape is not None:
            found, scales = (
                found.reshape(numpy_helper.to_array(stored.shape)),
                scales.reshape(-1, 1),
            )
        else:
            group = 2 * weight.dims[2]
        if node.op_type == "MatMulNBits" and (settings["bits"], settings["block_size"]) != (
            4,
            group,
        ):
            raise ValueError(f"{node.name}: its node speaks of other codes than there are")
    elif weight.data_type == TensorProto.INT8:
        bits, scales = 8, scales.reshape(-1, 1)
        found = numpy_helper.to_array(weight).copy()
    else:
        raise ValueError(
            f"{node.name}: weights of type {TensorProto.DataType.Name(weight.data_type)}"
        )
    dynamic = node.op_type == "Int8Linear"
    spec = QuantSpec(bits, "int", group, "int8-dynamic" if dynamic else "float")
    level = settings.get("accuracy_level")
    how = "" if level is None else f", accuracy level {level}"
    kernel = f"{node.op_type} int{bits}, activations {spec.activation}{how}"
    return StoredLayer(kernel, LayerCodes(spec, _tensor(found), scales), stored.payload_bytes)


def _tensor(array: NDArray[np.int8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
