"""Layers with weights as TFLite operators, at the planned precision, with the given integers unchanged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.core import packing
from myqasr.exporters.tflite.file import GraphWriter, Size, Value
from myqasr.personalize.rounding.codes import ActivationRange, LayerCodes, window_rows

WEIGHT = ".weight"
"""Ends the names of weight tensors; before it stands the layer's name."""

_VALID = schema.Padding.VALID


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the model: its name, what it is at float, and how it is to be stored."""

    name: str
    module: nn.Module
    codes: LayerCodes

    @property
    def weight(self) -> Tensor:
        """float32, as the module has it."""
        weight: Any = self.module.weight  # a parameter, or a buffer where a norm was folded in
        tensor: Tensor = weight.detach()
        return tensor

    @property
    def bias(self) -> NDArray[np.float32] | None:
        """[out_channels], None where there is none."""
        bias = self.module.bias
        return bias.detach().float().numpy() if isinstance(bias, Tensor) else None


class LayerWriter:
    """Writes layers into one subgraph.

    fully_connected_version: of every such operator. looks_up_codes: whether the runtime reads rows of codes;
    else a table is made float when the file is loaded.
    """

    def __init__(
        self, graph: GraphWriter, fully_connected_version: int, looks_up_codes: bool
    ) -> None:
        self.graph = graph
        self.fully_connected_version = fully_connected_version
        self.looks_up_codes = looks_up_codes

    def linear(self, x: Value, layer: Layer) -> Value:
        """[..., in] -> [..., out]. The weight may be a convolution's; then x holds windows."""
        weight, codes = layer.weight, layer.codes.codes
        if weight.dim() == 3:
            weight = window_rows(weight)
            codes = None if codes is None else window_rows(codes)
        spec = layer.codes.spec
        if codes is not None and spec.activation == "int8-static":
            return self._static_rows(x, layer, codes)
        stored = self._weight(layer, weight, codes, 0)
        bias = None if layer.bias is None else self._bias(layer, layer.bias)
        dynamic = spec.activation == "int8-dynamic"
        return self.graph.call(
            "FULLY_CONNECTED",
            [x, stored, bias],
            (*x.shape[:-1], int(weight.shape[0])),
            (
                "FullyConnectedOptions",
                {"keepNumDims": True, "asymmetricQuantizeInputs": dynamic},
            ),
            version=self.fully_connected_version,
        )

    def convolution(self, x: Value, layer: Layer, shape: Sequence[Size]) -> Value:
        """Channels-last x [1, height, width, in] -> [1, height, width, out], padded already."""
        module: Any = layer.module
        stride, dilation = [(1, 1, *pair)[-2:] for pair in (module.stride, module.dilation)]
        codes = layer.codes.codes
        weight, depthwise = layer.weight, _is_depthwise(module)
        stored = self._weight(
            layer,
            _channels_last(weight, depthwise),
            None if codes is None else _channels_last(codes, depthwise),
            3 if depthwise else 0,
        )
        fields: dict[str, Any] = {
            "padding": _VALID,
            "strideH": stride[0],
            "strideW": stride[1],
            "dilationHFactor": dilation[0],
            "dilationWFactor": dilation[1],
        }
        operator, table = "CONV_2D", "Conv2DOptions"
        if depthwise:
            operator, table = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
            fields["depthMultiplier"] = module.out_channels // module.in_channels
        return self._run(x, stored, layer, shape, operator, (table, fields))

    def lookup(self, ids: Value, layer: Layer) -> Value:
        """Rows of a table, [..., size] of int32 ids [...]."""
        codes = layer.codes.codes
        if codes is not None and self.looks_up_codes:
            stored = self._codes(layer, codes, self._quantization(layer, 0))
        else:
            stored = self._weight(layer, layer.weight, codes, 0)
        count, size = math.prod(ids.shape), int(layer.weight.shape[1])
        flat = self.graph.reshape(ids, [count], "int32")
        rows = self.graph.call("EMBEDDING_LOOKUP", [flat, stored], [count, size])
        return self.graph.reshape(rows, (*ids.shape, size))

    def _static_rows(self, x: Value, layer: Layer, codes: Tensor) -> Value:
        """[..., in] -> [..., out] as a convolution of width 1, which tflite-runtime 2.14 runs at 4 bits."""
        (out, wide), leading = codes.shape, x.shape[:-1]
        frames = math.prod(leading)
        stored = self._weight(layer, layer.weight, codes.reshape(out, 1, 1, wide), 0)
        x = self.graph.reshape(x, [1, 1, frames, wide])
        fields = {"padding": _VALID, "strideH": 1, "strideW": 1}
        fields |= {"dilationHFactor": 1, "dilationWFactor": 1}
        options = ("Conv2DOptions", fields)
        made = self._run(x, stored, layer, [1, 1, frames, out], "CONV_2D", options)
        return self.graph.reshape(made, (*leading, out))

    def _run(
        self, x: Value, stored: Value, layer: Layer, shape: Sequence[Size], operator: str,
        options: tuple[str, dict[str, Any]],
    ) -> Value:  # fmt: skip
        """A convolution on float32, or on int8 where the layer is static."""
        bias = layer.bias
        if bias is None:
            bias = np.zeros(layer.weight.shape[0], np.float32)
        if layer.codes.spec.activation != "int8-static":
            return self.graph.call(operator, [x, stored, self._bias(layer, bias)], shape, options)
        source, target = layer.codes.input_range, layer.codes.output_range
        if source is None or target is None:
            raise ValueError("a static layer needs an input and an output range")
        coded = self._quantized(x, source)
        unit = _scales(layer.codes)[:, 0] * np.float32(source.scale)
        counts = np.round(bias.astype(np.float64) / unit).clip(-(2**31), 2**31 - 1)
        stored_bias = self.graph.tensor(
            f"{layer.name}.bias",
            counts.shape,
            "int32",
            counts.astype(np.int32),
            _per_channel(unit, 0),
        )
        result = self.graph.call(
            operator,
            [coded, stored, stored_bias],
            shape,
            options,
            "int8",
            version=3,
            quantization=_grid(target),
        )
        return self.graph.call("DEQUANTIZE", [result], shape)

    def blocks(self, x: Value, size: int, frames: Size) -> Value:
        """One channel [1, samples, 1] in blocks [1, samples // size, size]; what is left over is dropped.

        A convolution with the unit matrix, as a reshape can't drop samples whose number isn't known.
        """
        unit = np.eye(size, dtype=np.int8).reshape(size, 1, size, 1)
        stored = self.graph.tensor(
            "", unit.shape, "int8", unit, _per_channel(np.ones(1, np.float32), 0)
        )
        matrix = self.graph.call("DEQUANTIZE", [stored], stored.shape, version=2)
        none = self.graph.constant("", np.zeros(size, np.float32))
        four = self.graph.call("EXPAND_DIMS", [x, self.graph.ints(1)], [1, 1, x.shape[1], 1])
        fields = {"padding": _VALID, "strideH": 1, "strideW": size}
        fields |= {"dilationHFactor": 1, "dilationWFactor": 1}
        made = self.graph.call(
            "CONV_2D", [four, matrix, none], [1, 1, frames, size], ("Conv2DOptions", fields)
        )
        return self.graph.reshape(made, [1, frames, size])

    def _quantized(self, x: Value, grid: ActivationRange) -> Value:
        return self.graph.call("QUANTIZE", [x], x.shape, None, "int8", quantization=_grid(grid))

    def _bias(self, layer: Layer, bias: NDArray[np.float32]) -> Value:
        return self.graph.constant(f"{layer.name}.bias", bias)

    def _weight(self, layer: Layer, weight: Tensor, codes: Tensor | None, channels: int) -> Value:
        """The operand that stands for the weight. channels: dimension of the output channels."""
        name, spec = f"{layer.name}{WEIGHT}", layer.codes.spec
        if codes is not None:
            stored = self._codes(layer, codes, self._quantization(layer, channels))
            if spec.activation != "float":
                return stored
            return self.graph.call("DEQUANTIZE", [stored], stored.shape, version=2)
        if spec.bits == 32:
            return self.graph.constant(name, weight.numpy())
        halves = self.graph.constant(name, weight.half().numpy())
        return self.graph.call("DEQUANTIZE", [halves], halves.shape, version=3)

    def _codes(self, layer: Layer, codes: Tensor | None, quantization: Any) -> Value:
        if codes is None:
            raise ValueError("a float layer has no codes")
        bits = layer.codes.spec.bits
        data = packed_codes(codes.numpy(), bits)
        name = f"{layer.name}{WEIGHT}"
        return self.graph.tensor(name, codes.shape, f"int{bits}", data, quantization)

    def _quantization(self, layer: Layer, channels: int) -> Any:
        scales = _scales(layer.codes)
        group = layer.codes.spec.group_size
        if group is None:
            return _per_channel(scales[:, 0], channels)
        halves = scales.astype(np.float16)
        if not np.array_equal(halves.astype(np.float32), scales):
            raise ValueError(f"{layer.name}: group scales that float16 can't hold")
        stored = self.graph.constant(f"{layer.name}.scales", halves)
        details = schema.BlockwiseQuantizationT()
        details.scales, details.zeroPoints, details.blockSize = stored.index, -1, group
        entry = schema.QuantizationParametersT()
        entry.detailsType = schema.QuantizationDetails.BlockwiseQuantization
        entry.details = details
        return entry


def packed_codes(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Codes as the file holds them: 4 and 2 bits several in a byte, the first in the lowest bits."""
    return packing.pack(packing.to_twos_complement(codes, bits), bits, first="low")


def _scales(codes: LayerCodes) -> NDArray[np.float32]:
    if codes.scales is None:
        raise ValueError("a float layer has no scales")
    return codes.scales.float().numpy()


def _is_depthwise(module: Any) -> bool:
    return bool(module.groups == module.in_channels and module.groups > 1)


def _channels_last(weight: Tensor, depthwise: bool) -> Tensor:
    """[out, in, taps] or [out, in, height, width] -> [out, height, width, in], or [1, ..., out]."""
    four = weight.unsqueeze(2) if weight.dim() == 3 else weight
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    return four.permute(order).contiguous()


def _per_channel(scales: NDArray[np.float32], dimension: int) -> Any:
    entry = schema.QuantizationParametersT()
    entry.scale = np.ascontiguousarray(scales, np.float32)
    entry.zeroPoint = np.zeros(len(scales), np.int64)
    entry.quantizedDimension = dimension
    return entry


def _grid(limits: ActivationRange) -> Any:
    entry = schema.QuantizationParametersT()
    entry.scale = np.array([limits.scale], np.float32)
    entry.zeroPoint = np.array([limits.zero_point], np.int64)
    return entry


def as_float(tensor: Tensor) -> NDArray[np.float32]:
    """A constant of the graph; integers too are computed with in float32."""
    array: NDArray[np.float32] = tensor.detach().to(torch.float32).contiguous().numpy()
    return array
