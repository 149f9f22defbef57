"""Layers as TFLite runs them: linear, over windows, as convolutions, channels last, or looked up."""

from typing import Any

from torch import fx, nn

from myqasr.exporters.tflite.file import Size, Value
from myqasr.exporters.tflite.graph import GraphTranslator
from myqasr.exporters.tflite.layers import Layer
from myqasr.exporters.tflite.sizes import sizes
from myqasr.personalize.rounding.kernels import has_rows
from myqasr.speech.models.base import TokenEmbedding


def run_layer(graph: GraphTranslator, node: fx.Node, source: Any, *others: Any) -> Value:
    """Linear, convolution or token embedding of the model."""
    layer = graph.layers[node]
    if isinstance(layer.module, TokenEmbedding):
        return graph.writer.lookup(graph.whole(others[0]), layer)
    if isinstance(layer.module, nn.Linear):
        return graph.writer.linear(graph.input(source), layer)
    if isinstance(layer.module, nn.Conv1d):
        return _convolution_1d(graph, node, graph.value(source), layer)
    return _convolution_2d(graph, node, graph.input(source), layer)


def _convolution_1d(graph: GraphTranslator, node: fx.Node, x: Value, layer: Layer) -> Value:
    """Channels last: over windows where the layer can, else as a two-dimensional one of height 1."""
    module: Any = layer.module
    stored = graph.swapped(x).stored
    x = Value(graph.swapped(x).index, stored)  # [1, samples, channels]
    shape = tuple(sizes(node.meta["val"]))
    out, frames = shape[1:]
    if has_rows(module):
        made = graph.writer.linear(_windows(graph, x, module, frames), layer)
        return Value(made.index, shape, True)
    (padding,) = _padding(node)
    x = graph.padded(x, [(0, 0), (padding, padding), (0, 0)])
    four = graph.reshaped(x, [1, 1, *x.shape[1:]])
    made = graph.writer.convolution(four, layer, [1, 1, frames, out])
    made = graph.reshaped(made, [1, frames, out])
    return Value(made.index, shape, True)


def _windows(graph: GraphTranslator, x: Value, module: Any, frames: Size) -> Value:
    """[1, samples, channels] -> [1, frames, taps * channels], all channels of a tap together."""
    (taps,), (stride,), (dilation,) = module.kernel_size, module.stride, module.dilation
    channels = module.in_channels
    if channels == 1:
        # Taps are a multiple of the stride: windows are several blocks of `stride` samples.
        channels, taps = stride, taps // stride
        x = graph.writer.blocks(x, stride, x.shape[1] // stride)
        stride = 1
    padding = int(module.padding[0])
    x = graph.padded(x, [(0, 0), (padding, padding), (0, 0)])
    picked = []
    for tap in range(taps):
        end = (tap - taps + 1) * dilation or None
        some = graph.sliced(x, 1, tap * dilation, end, stride) if taps > 1 or stride > 1 else x
        picked.append(Value(some.index, (1, frames, channels)))
    return graph.joined(picked, 2)


def _convolution_2d(graph: GraphTranslator, node: fx.Node, x: Value, layer: Layer) -> Value:
    out = sizes(node.meta["val"])
    up, side = _padding(node)
    last = graph.transposed(x, [0, 2, 3, 1])
    last = graph.padded(last, [(0, 0), (up, up), (side, side), (0, 0)])
    made = graph.writer.convolution(last, layer, [out[0], out[2], out[3], out[1]])
    return graph.transposed(made, [0, 3, 1, 2])


def _padding(node: fx.Node) -> tuple[int, ...]:
    around: Any = node.args[4]
    return tuple(around)
