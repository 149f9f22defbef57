"""What each torch operator becomes in TFLite; `HANDLERS` by its name."""

import math
from typing import Any

import sympy
from torch import fx

from myqasr.core.errors import UserError
from myqasr.exporters.tflite.convolutions import run_layer
from myqasr.exporters.tflite.file import Value
from myqasr.exporters.tflite.graph import GraphTranslator, Handler
from myqasr.exporters.tflite.sizes import end_of, size_of, sizes


def _unary(name: str, table: str | None = None, **fields: Any) -> Handler:
    def handler(graph: GraphTranslator, _node: fx.Node, source: Any, **_options: Any) -> Value:
        return graph.unary(name, graph.value(source), table, **fields)

    return handler


def _binary(name: str, table: str) -> Handler:
    def handler(
        graph: GraphTranslator, node: fx.Node, left: Any, right: Any, alpha: float = 1
    ) -> Value:
        if alpha != 1:
            raise UserError(f"TFLite files can't hold {node.target} with a factor yet")
        return graph.binary(name, graph.value(left), graph.value(right), table)

    return handler


def _reduction(name: str) -> Handler:
    def handler(
        graph: GraphTranslator, _node: fx.Node, source: Any, axes: Any = (), keep: bool = False
    ) -> Value:
        value = graph.input(source)
        return graph.reduced(name, value, axes or range(len(value.shape)), keep)

    return handler


def _same(graph: GraphTranslator, _node: fx.Node, source: Any, **_options: Any) -> Value:
    """Casts between number types, which are all float32 here."""
    return graph.value(source)


def _permute(graph: GraphTranslator, _node: fx.Node, source: Any, order: Any) -> Value:
    value = graph.value(source)
    return graph.transposed(value, [place % len(value.shape) for place in order])


def _reshape(graph: GraphTranslator, node: fx.Node, source: Any, *_shape: Any) -> Value:
    """Views, and dimensions of one that come and go."""
    return graph.reshaped(graph.value(source), sizes(node.meta["val"]))


def _slice(
    graph: GraphTranslator,
    node: fx.Node,
    source: Any,
    dimension: int = 0,
    start: Any = None,
    end: Any = None,
    step: int = 1,
) -> Value:
    value = graph.value(source)
    size = value.shape[dimension % len(value.shape)]
    first = 0 if start is None else size_of(start)
    last = None if end is None else end_of(end, size)
    if not isinstance(first, int):
        rest = sympy.expand(first - size)
        if not rest.is_Integer:
            raise UserError(f"TFLite files can't start at {first} of {size}")
        first = int(rest)
    if first == 0 and last is None and step == 1:
        return value
    made = graph.sliced(value, dimension, first, last, step)
    return Value(made.index, tuple(sizes(node.meta["val"])), made.swapped)


def _select(
    graph: GraphTranslator, node: fx.Node, source: Any, dimension: int, index: int
) -> Value:
    one = graph.sliced(graph.input(source), dimension, index, (index + 1) or None, 1)
    return graph.reshaped(one, sizes(node.meta["val"]))


def _split(
    graph: GraphTranslator, _node: fx.Node, source: Any, parts: Any, dimension: int = 0
) -> list[Value]:
    value, made, start = graph.value(source), [], 0
    for size in parts:
        made.append(graph.sliced(value, dimension, start, start + size, 1))
        start += size
    return made


def _item(graph: GraphTranslator, _node: fx.Node, source: fx.Node, place: int) -> Value:
    value: Value = graph.values[source][place]
    return value


def _join(graph: GraphTranslator, node: fx.Node, sources: Any, dimension: int = 0) -> Value:
    made = graph.joined([graph.value(source) for source in sources], dimension)
    return Value(made.index, tuple(sizes(node.meta["val"])))


def _pad(
    graph: GraphTranslator, _node: fx.Node, source: Any, amounts: Any, number: float = 0
) -> Value:
    if number != 0:
        raise UserError(f"TFLite files can't pad with {number} yet")
    value = graph.input(source)
    around = [(0, 0)] * len(value.shape)
    for place in range(len(amounts) // 2):
        around[-1 - place] = (amounts[2 * place], amounts[2 * place + 1])
    return graph.padded(value, around)


def _matrix_product(graph: GraphTranslator, node: fx.Node, left: Any, right: Any) -> Value:
    operands = [graph.input(left), graph.input(right)]
    shape = sizes(node.meta["val"])
    return graph.graph.call("BATCH_MATMUL", operands, shape, ("BatchMatMulOptions", {}))


def _softmax(
    graph: GraphTranslator, _node: fx.Node, source: Any, dimension: int, _half: bool
) -> Value:
    value = graph.input(source)
    if dimension not in (-1, len(value.shape) - 1):
        raise UserError("TFLite files can't hold a softmax over another dimension than the last")
    return graph.unary("SOFTMAX", value, "SoftmaxOptions", beta=1.0)


def _centred(graph: GraphTranslator, value: Value, axis: int) -> tuple[Value, Value]:
    """x - mean, and the mean, over a stored axis of `value`."""
    mean = graph.reduced("MEAN", value, [axis])
    return graph.binary("SUB", value, mean, "SubOptions"), mean


def _inverse_deviation(graph: GraphTranslator, centred: Value, axis: int, epsilon: float) -> Value:
    """1 / sqrt(variance + epsilon) over a stored axis."""
    squares = graph.binary("MUL", centred, centred, "MulOptions")
    variance = graph.reduced("MEAN", squares, [axis])
    lifted = graph.binary("ADD", variance, graph.value(epsilon), "AddOptions")
    return graph.unary("RSQRT", lifted)


def _affine(graph: GraphTranslator, value: Value, weight: Any, bias: Any) -> Value:
    """Times weight plus bias, over the last stored dimension."""
    if weight is not None:
        value = graph.binary("MUL", value, graph.value(weight), "MulOptions")
    return value if bias is None else graph.binary("ADD", value, graph.value(bias), "AddOptions")


def _layer_norm(
    graph: GraphTranslator, _node: fx.Node, source: Any, _shape: Any, weight: Any, bias: Any,
    epsilon: float,
) -> list[Value]:  # fmt: skip
    value = graph.input(source)
    last = len(value.shape) - 1
    centred, _ = _centred(graph, value, last)
    factor = _inverse_deviation(graph, centred, last, epsilon)
    return [_affine(graph, graph.binary("MUL", centred, factor, "MulOptions"), weight, bias)]


def _group_norm(
    graph: GraphTranslator, _node: fx.Node, source: Any, weight: Any, bias: Any, _batch: Any,
    channels: int, _frames: Any, groups: int, epsilon: float,
) -> list[Value]:  # fmt: skip
    """Over the frames of each channel, as wav2vec 2.0 has it.

    Sums are taken with frames last: there the kernels add in many parts, while over rows they add one after
    the other, which at 4,000 frames is wrong by 1e-6.
    """
    if channels != groups:
        raise UserError(f"TFLite files can't hold a norm of {groups} groups of {channels} channels")
    value = graph.swapped(graph.value(source))
    rows = Value(value.index, value.stored)
    centred, mean = _centred(graph, graph.straight(value), 2)
    factor = _inverse_deviation(graph, centred, 2, epsilon)
    mean, factor = (graph.reshaped(each, [1, 1, channels]) for each in (mean, factor))
    normal = graph.binary(
        "MUL", graph.binary("SUB", rows, mean, "SubOptions"), factor, "MulOptions"
    )
    made = _affine(graph, normal, weight, bias)
    return [Value(made.index, value.shape, True)]


def _clamp(
    graph: GraphTranslator, _node: fx.Node, source: Any, low: Any = None, high: Any = None
) -> Value:
    value = graph.value(source)
    if low is not None:
        value = graph.binary("MAXIMUM", value, graph.value(low), "MaximumMinimumOptions")
    if high is not None:
        value = graph.binary("MINIMUM", value, graph.value(high), "MaximumMinimumOptions")
    return value


def _range(
    graph: GraphTranslator, node: fx.Node, start: Any, _end: Any, step: Any = 1, **_options: Any
) -> Value:
    (length,) = sizes(node.meta["val"])
    if step == 1 and start == 0:
        return graph.counted(length)
    if not all(isinstance(each, int) for each in (start, step, length)):
        raise UserError(f"TFLite files can't count from {start} by {step} yet")
    # Counted at run time: Whisper's 480,400 places of samples would be 2 MB of the file.
    limits = [graph.value(each) for each in (start, start + step * length, step)]
    return graph.graph.call("RANGE", limits, [length], ("RangeOptions", {}))


def _scalar(graph: GraphTranslator, _node: fx.Node, number: Any, **_options: Any) -> Value:
    return graph.number(size_of(number)) if isinstance(number, fx.Node) else graph.value(number)


def _filled(
    graph: GraphTranslator, _node: fx.Node, like: Any, number: float, **_options: Any
) -> Value:
    """One number in the shape of another tensor."""
    zeros = graph.binary("MUL", graph.value(like), graph.value(0.0), "MulOptions")
    return graph.binary("ADD", zeros, graph.value(number), "AddOptions")


def _expand(graph: GraphTranslator, node: fx.Node, source: Any, _shape: Any) -> Value:
    """More dimensions or longer ones of one size; where sizes vary, whoever reads it broadcasts."""
    value = graph.input(source)
    wanted = sizes(node.meta["val"])
    fixed = [size for size in wanted if isinstance(size, int)]
    if len(fixed) < len(wanted) or list(value.shape) == wanted:
        return value
    operands = [value, graph.graph.ints(*fixed)]
    return graph.graph.call("BROADCAST_TO", operands, wanted, version=2)


def _gather(graph: GraphTranslator, node: fx.Node, source: Any, axis: int, at: Any) -> Value:
    """Row i of every head reads its own places: [1, heads, rows, places] at [rows, wanted]."""
    value, whole = graph.input(source), graph.whole(at)
    if axis not in (-1, 3) or len(value.shape) != 4 or len(whole.shape) != 2:
        raise UserError("TFLite files can't hold this gather yet")
    rows = graph.transposed(graph.reshaped(value, value.shape[1:]), [1, 0, 2])
    shape = [rows.shape[0], rows.shape[1], whole.shape[1]]
    options = ("GatherOptions", {"axis": 2, "batchDims": 1})
    found = graph.graph.call("GATHER", [rows, whole], shape, options, version=5)
    return graph.reshaped(graph.transposed(found, [1, 0, 2]), sizes(node.meta["val"]))


def _index(graph: GraphTranslator, node: fx.Node, source: Any, at: Any) -> Value:
    """Places of one dimension."""
    (dimension,) = (place for place, each in enumerate(at) if each is not None)
    return _picked(graph, node, source, dimension, at[dimension])


def _picked(
    graph: GraphTranslator, node: fx.Node, source: Any, dimension: int, places: fx.Node
) -> Value:
    value, whole = graph.input(source), graph.whole(places)
    options = ("GatherOptions", {"axis": dimension % len(value.shape)})
    return graph.graph.call("GATHER", [value, whole], sizes(node.meta["val"]), options)


def _repeat(graph: GraphTranslator, node: fx.Node, source: Any, times: Any) -> Value:
    value = graph.input(source)
    counts = [each for each in map(size_of, times) if isinstance(each, int)]
    if len(counts) < len(times):
        raise UserError("TFLite files can't repeat as often as the input is long")
    value = graph.reshaped(value, [1] * (len(counts) - len(value.shape)) + list(value.shape))
    if set(counts) == {1}:
        return value
    shape = sizes(node.meta["val"])
    return graph.graph.call("TILE", [value, graph.graph.ints(*counts)], shape, ("TileOptions", {}))


def _log_10(graph: GraphTranslator, _node: fx.Node, source: Any) -> Value:
    logs = graph.unary("LOG", graph.value(source))
    return graph.binary("MUL", logs, graph.value(1 / math.log(10)), "MulOptions")


HANDLERS: dict[str, Handler] = {
    "layer": run_layer,
    "aten.add.Tensor": _binary("ADD", "AddOptions"),
    "aten.sub.Tensor": _binary("SUB", "SubOptions"),
    "aten.mul.Tensor": _binary("MUL", "MulOptions"),
    "aten.div.Tensor": _binary("DIV", "DivOptions"),
    "aten.maximum.default": _binary("MAXIMUM", "MaximumMinimumOptions"),
    "aten.neg.default": _unary("NEG", "NegOptions"),
    "aten.abs.default": _unary("ABS", "AbsOptions"),
    "aten.sin.default": _unary("SIN"),
    "aten.cos.default": _unary("COS", "CosOptions"),
    "aten.log.default": _unary("LOG"),
    "aten.log10.default": _log_10,
    "aten.sqrt.default": _unary("SQRT"),
    "aten.relu.default": _unary("RELU"),
    "aten.sigmoid.default": _unary("LOGISTIC"),
    "aten.gelu.default": _unary("GELU", "GeluOptions", approximate=False),
    "aten.mean.dim": _reduction("MEAN"),
    "aten.sum.dim_IntList": _reduction("SUM"),
    "aten.amax.default": _reduction("REDUCE_MAX"),
    "aten.permute.default": _permute,
    "aten.view.default": _reshape,
    "aten.unsqueeze.default": _reshape,
    "aten.squeeze.dims": _reshape,
    "aten.slice.Tensor": _slice,
    "aten.select.int": _select,
    "aten.split_with_sizes.default": _split,
    "getitem": _item,
    "aten.cat.default": _join,
    "aten.constant_pad_nd.default": _pad,
    "aten.bmm.default": _matrix_product,
    "aten._softmax.default": _softmax,
    "aten.native_layer_norm.default": _layer_norm,
    "aten.native_group_norm.default": _group_norm,
    "aten.clamp.default": _clamp,
    "aten.arange.start_step": _range,
    "aten.scalar_tensor.default": _scalar,
    "aten.full_like.default": _filled,
    "aten.expand.default": _expand,
    "aten.gather.default": _gather,
    "aten.index.Tensor": _index,
    "aten.index_select.default": _picked,
    "aten.repeat.default": _repeat,
    "aten._to_copy.default": _same,
    "aten.clone.default": _same,
}
