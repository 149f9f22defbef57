"""From a decomposed graph of torch to a TFLite subgraph, operator by operator, for inputs of any length.

Every operator here has an output size that the runtime works out from its input's when the input is resized
(no shapes computed at run time, which would keep the graph from XNNPACK). Positions that depend on the
length come from running sums of ones. Integers are computed with as float32, exact up to 2^24.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy
from torch import fx
from torch.export import ExportedProgram

from myqasr.core.errors import UserError
from myqasr.exporters.graph.cleanup import operator_name
from myqasr.exporters.tflite.file import GraphWriter, Size, Value
from myqasr.exporters.tflite.layers import Layer, LayerWriter, as_float
from myqasr.exporters.tflite.sizes import (
    broadcast,
    constant_of,
    is_number,
    size_of,
    sizes,
    times_of,
)


class GraphTranslator:
    """Translates one program into one subgraph.

    layers: node of the program -> the layer that it computes.
    """

    def __init__(
        self, graph: GraphWriter, program: ExportedProgram, layers: Mapping[fx.Node, Layer],
        writer: LayerWriter,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.program = program
        self.layers = layers
        self.writer = writer
        self.values: dict[fx.Node, Any] = {}
        self.integers: dict[fx.Node, Value] = {}
        self.straightened: dict[int, Value] = {}
        self.ones: dict[Size, Value] = {}
        self.order: list[str] = []

    def run(self, handlers: "Mapping[str, Handler]") -> None:
        """Translate all nodes. Raises UserError naming an operator that has no translation."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node.op == "output":
                for result in node.args[0]:
                    self.graph.output(self.straight(self.value(result)))
            elif is_number(node):
                continue
            elif node in self.layers:
                self.order.append(self.layers[node].name)
                self.values[node] = handlers["layer"](self, node, *node.args)
            else:
                name = operator_name(node)
                if name not in handlers:
                    raise UserError(
                        f"TFLite files can't hold the operator {name} of this model yet"
                    )
                self.values[node] = handlers[name](self, node, *node.args, **node.kwargs)

    def _placeholder(self, node: fx.Node) -> None:
        signature = self.program.graph_signature
        if node.name not in signature.user_inputs:
            return
        fake = node.meta["val"]
        kind = "float32" if fake.dtype.is_floating_point else "int32"
        value = self.graph.input(node.name, sizes(fake), kind)
        if kind == "int32":
            self.integers[node] = value
            value = self.cast(value, "float32")
        self.values[node] = value

    # -- values ----------------------------------------------------------------------------------

    def value(self, argument: Any) -> Value:
        """The tensor of a node or number, perhaps swapped."""
        if not isinstance(argument, fx.Node):
            return self.graph.constant("", np.array(argument, np.float32))
        if argument not in self.values:
            if is_number(argument):
                return self.number(size_of(argument))
            tensor = constant_of(self.program, argument)
            self.values[argument] = self.graph.constant("", as_float(tensor))
        value: Value = self.values[argument]
        return value

    def straight(self, value: Value) -> Value:
        """The same, with its dimensions in torch's order."""
        if not value.swapped:
            return value
        if value.index not in self.straightened:
            order = [0, 2, 1, *range(3, len(value.shape))]
            moved = self._transposed(Value(value.index, value.stored), order)
            self.straightened[value.index] = Value(moved.index, value.shape)
        return self.straightened[value.index]

    def swapped(self, value: Value) -> Value:
        """The same [batch, channels, frames] with frames before channels in memory."""
        if value.swapped:
            return value
        moved = self._transposed(value, [0, 2, 1])
        return Value(moved.index, value.shape, True)

    def input(self, argument: Any) -> Value:
        """The tensor of a node or number in torch's order."""
        return self.straight(self.value(argument))

    def whole(self, argument: fx.Node) -> Value:
        """The tensor of a node as int32, for what looks up places."""
        if argument in self.integers:
            return self.integers[argument]
        return self.cast(self.input(argument), "int32")

    def axis(self, value: Value, dimension: int) -> int:
        """Where a dimension lies in memory."""
        place = dimension % len(value.shape)
        return {1: 2, 2: 1}.get(place, place) if value.swapped else place

    # -- operators that several translations need --------------------------------------------------

    def like(self, value: Value, made: Value) -> Value:
        """`made` as stored, with the order of dimensions of `value`."""
        if not value.swapped:
            return made
        first, second, third, *rest = made.shape
        return Value(made.index, (first, third, second, *rest), True)

    def _transposed(self, value: Value, order: Sequence[int]) -> Value:
        shape = [value.shape[place] for place in order]
        return self.graph.call(
            "TRANSPOSE", [value, self.graph.ints(*order)], shape, ("TransposeOptions", {})
        )

    def transposed(self, value: Value, order: Sequence[int]) -> Value:
        """Dimensions in another order; free where that undoes a swap."""
        if list(order) == [0, 2, 1]:
            shape = (value.shape[0], value.shape[2], value.shape[1])
            return Value(value.index, shape, not value.swapped)
        return self._transposed(self.straight(value), order)

    def unary(self, name: str, value: Value, table: str | None = None, **fields: Any) -> Value:
        """Element-wise, whatever the order of dimensions."""
        options = None if table is None else (table, fields)
        made = self.graph.call(name, [value], value.stored, options)
        return self.like(value, made)

    def binary(self, name: str, left: Value, right: Value, table: str) -> Value:
        """Element-wise with broadcasting."""
        both = left.swapped and right.swapped and len(left.shape) == len(right.shape) == 3
        if both or (left.swapped and not right.shape) or (right.swapped and not left.shape):
            like = left if left.swapped else right
            shape = broadcast(left.stored, right.stored)
            return self.like(like, self.graph.call(name, [left, right], shape, (table, {})))
        left, right = self.straight(left), self.straight(right)
        return self.graph.call(name, [left, right], broadcast(left.shape, right.shape), (table, {}))

    def reshaped(self, value: Value, shape: Sequence[Size]) -> Value:
        """Another shape: one size may vary, or dimensions of one come or go."""
        value = self.straight(value)
        wanted = list(shape)
        varying = [place for place, size in enumerate(wanted) if not isinstance(size, int)]
        if len(varying) <= 1:
            return self.graph.reshape(value, wanted)
        return self._with_units(value, wanted)

    def _with_units(self, value: Value, wanted: list[Size]) -> Value:
        if [size for size in value.shape if size != 1] != [size for size in wanted if size != 1]:
            raise UserError(f"a reshape from {value.shape} to {wanted} has two sizes that vary")
        ones = [place for place, size in enumerate(value.shape) if size == 1]
        bare = [size for size in value.shape if size != 1]
        if ones:
            value = self.graph.call(
                "SQUEEZE", [value], bare, ("SqueezeOptions", {"squeezeDims": ones})
            )
        for place, size in enumerate(wanted):
            if size == 1:
                bare = [*bare[:place], 1, *bare[place:]]
                value = self.graph.call(
                    "EXPAND_DIMS", [value, self.graph.ints(place)], bare, ("ExpandDimsOptions", {})
                )
        return value

    def sliced(self, value: Value, dimension: int, start: int, end: int | None, step: int) -> Value:
        """start to end (negative: from the end; None: all) by steps."""
        place = self.axis(value, dimension)
        rank = len(value.shape)
        size = value.stored[place]
        stop = size if end is None else end if end >= 0 else size + end
        begin = size + start if start < 0 else start
        length = -((begin - stop) // step) if isinstance(stop, int) and isinstance(begin, int) else (
            stop - begin if step == 1 else (stop - begin + step - 1) // step
        )  # fmt: skip
        begins, ends, steps = [0] * rank, [0] * rank, [1] * rank
        begins[place], ends[place], steps[place] = start, end or 0, step
        open_ends = sum(1 << i for i in range(rank) if i != place or end is None)
        shape = [*value.stored[:place], length, *value.stored[place + 1 :]]
        operands = [value, *(self.graph.ints(*each) for each in (begins, ends, steps))]
        fields = {"beginMask": sum(1 << i for i in range(rank) if i != place), "endMask": open_ends}
        made = self.graph.call("STRIDED_SLICE", operands, shape, ("StridedSliceOptions", fields))
        return self.like(value, made)

    def joined(self, values: Sequence[Value], dimension: int) -> Value:
        """One after the other along a dimension."""
        if len(values) == 1:
            return values[0]
        straight = [self.straight(value) for value in values]
        place = dimension % len(straight[0].shape)
        total = sum(value.shape[place] for value in straight)
        shape = [*straight[0].shape[:place], total, *straight[0].shape[place + 1 :]]
        return self.graph.call(
            "CONCATENATION", straight, shape, ("ConcatenationOptions", {"axis": place})
        )

    def reduced(self, name: str, value: Value, axes: Sequence[int], keep: bool = True) -> Value:
        """Sum, mean or maximum over stored axes; shapes as stored."""
        places = {axis % len(value.shape) for axis in axes}
        shape = [1 if i in places else size for i, size in enumerate(value.shape)]
        if not keep:
            shape = [size for i, size in enumerate(value.shape) if i not in places]
        return self.graph.call(
            name,
            [value, self.graph.ints(*sorted(places))],
            shape,
            ("ReducerOptions", {"keepDims": keep}),
        )

    def cast(self, value: Value, kind: str) -> Value:
        """float32 <-> int32."""
        return self.graph.call("CAST", [self.straight(value)], value.shape, None, kind)

    def padded(self, value: Value, around: Sequence[tuple[int, int]]) -> Value:
        """Zeros before and after, per stored dimension."""
        if not any(sum(pair) for pair in around):
            return value
        table = self.graph.constant("", np.array(around, np.int32))
        shape = [size + sum(pair) for size, pair in zip(value.shape, around, strict=True)]
        return self.graph.call("PAD", [value, table], shape, ("PadOptions", {}))

    # -- what depends on the length ----------------------------------------------------------------

    def counted(self, length: Size) -> Value:
        """0, 1, 2, ... as float32 [length]."""
        if isinstance(length, int):
            return self.graph.constant("", np.arange(length, dtype=np.float32))
        ones = self.run_of_ones(length)
        return self.graph.call(
            "CUMSUM",
            [ones, self.graph.constant("", np.array(0, np.int32))],
            [length],
            ("CumsumOptions", {"exclusive": True}),
        )

    def number(self, size: Size) -> Value:
        """A length as a float32 tensor without dimensions."""
        if isinstance(size, int):
            return self.graph.constant("", np.array(size, np.float32))
        for known in self._known_lengths():
            rest = sympy.expand(size - known)
            if rest.is_Integer:
                total = self.reduced("SUM", self.run_of_ones(known), [0], keep=False)
                return self.binary("ADD", total, self.value(int(rest)), "AddOptions")
        raise UserError(f"TFLite files can't hold a length of {size} in this model")

    def run_of_ones(self, length: Size) -> Value:
        """float32 [length] of ones; from a tensor with that many frames, or twice half as many."""
        if length in self.ones:
            return self.ones[length]
        for known, (value, place) in self._known_lengths().items():
            times, rest = times_of(length, known)
            if times is None or rest > 0:
                continue
            made = self.joined([self._ones_of(value, place)] * times, 0)
            if rest:
                made = self.sliced(made, 0, 0, rest, 1)
            self.ones[length] = Value(made.index, (length,))
            return self.ones[length]
        raise UserError(f"TFLite files can't count to {length} in this model")

    def _known_lengths(self) -> dict[Size, tuple[Value, int]]:
        """Sizes that vary of tensors so far, the last made first."""
        found: dict[Size, tuple[Value, int]] = {}
        for value in reversed(list(self.values.values())):
            if isinstance(value, Value):
                for place, size in enumerate(value.stored):
                    if not isinstance(size, int):
                        found.setdefault(size, (Value(value.index, value.stored), place))
        return found

    def _ones_of(self, value: Value, place: int) -> Value:
        rank = len(value.shape)
        shape = [1 if i != place else size for i, size in enumerate(value.shape)]
        ends = [1] * rank
        operands = [
            value,
            *(self.graph.ints(*each) for each in ([0] * rank, ends, [1] * rank)),
        ]
        fields = {"beginMask": 0, "endMask": 1 << place}
        some = self.graph.call("STRIDED_SLICE", operands, shape, ("StridedSliceOptions", fields))
        flat = self.reshaped(some, [value.shape[place]])
        zeros = self.binary("MUL", flat, self.value(0.0), "MulOptions")
        return self.binary("ADD", zeros, self.value(1.0), "AddOptions")


Handler = Callable[..., Any]
"""Takes a translator, a node and the node's arguments; gives the value, or the list of values."""
