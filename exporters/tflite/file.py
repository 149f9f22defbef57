"""A TFLite flatbuffer in the making: tensors, constants and operators, with unnamed constants kept once.

The schema is that of ai-edge-litert. Sizes that vary with the length of the input are sympy expressions;
the file holds the sizes at one length, and -1 in the signature of inputs and outputs. Runtimes work out the
others again when an input is resized.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import flatbuffers
import numpy as np
import sympy
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Size: TypeAlias = Any
"""An int, or a sympy expression of the input's length."""

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT = 16
"""Constants start at a multiple of this, as kernels like it; flatbuffers for Python only see to 4."""

_LARGEST_OLD_CODE = 127

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
    "int4": schema.TensorType.INT4,
    "int2": schema.TensorType.INT2,
}
"""Names used here -> types of the schema."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of a subgraph. shape: as torch sees it.

    swapped: dimensions 1 and 2 lie the other way round in the file: channels last.
    """

    index: int
    shape: tuple[Size, ...]
    swapped: bool = False

    @property
    def stored(self) -> tuple[Size, ...]:
        """Shape as it lies in the file."""
        if not self.swapped:
            return self.shape
        first, second, third, *rest = self.shape
        return (first, third, second, *rest)


class FileWriter:
    """Buffers, operator codes and metadata of a file; subgraphs share them.

    lengths: value of every symbol in shapes, for the sizes that the file states.
    """

    def __init__(self, lengths: Mapping[sympy.Symbol, int]) -> None:
        self.lengths = lengths
        self.model = schema.ModelT()
        self.model.version = SCHEMA_VERSION
        self.model.operatorCodes, self.model.subgraphs = [], []
        self.model.signatureDefs, self.model.metadata = [], []
        self.model.buffers = [schema.BufferT()]  # the first one is empty, for tensors without data
        self._buffers: dict[bytes, int] = {}
        self._codes: dict[tuple[int, int], int] = {}

    def buffer(self, data: NDArray[Any], owner: str = "") -> int:
        """Index of the buffer with these bytes, a new one if there is none of this owner.

        owner: name of a layer's tensor; what layers weigh is planned for each, whatever the others hold.
        """
        raw = np.ascontiguousarray(data).tobytes()
        key = hashlib.sha256(owner.encode() + b"\0" + raw).digest()
        if key not in self._buffers:
            entry = schema.BufferT()
            entry.data = np.frombuffer(raw, np.uint8)
            self._buffers[key] = len(self.model.buffers)
            self.model.buffers.append(entry)
        return self._buffers[key]

    def code(self, operator: str, version: int) -> int:
        """Index of an operator at a version."""
        builtin = getattr(schema.BuiltinOperator, operator)
        if (builtin, version) not in self._codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.version = builtin, version
            entry.deprecatedBuiltinCode = min(builtin, _LARGEST_OLD_CODE)
            self._codes[builtin, version] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(entry)
        return self._codes[builtin, version]

    def add_metadata(self, name: str, text: str) -> None:
        """A named text that runtimes ignore."""
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self.buffer(np.frombuffer(text.encode(), np.uint8))
        self.model.metadata.append(entry)

    def at_length(self, shape: Sequence[Size]) -> list[int]:
        """Sizes as the file states them."""
        return [int(sympy.sympify(size).subs(self.lengths)) for size in shape]

    def packed(self) -> bytes:
        """The whole file."""
        builder = _AlignedBuilder(1 << 16)
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Puts long vectors of bytes at multiples of ALIGNMENT."""

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802  flatbuffers' name
        """As the builder's own, for bytes."""
        if x.dtype != np.uint8:
            offset: int = super().CreateNumpyVector(x)
            return offset
        self.StartVector(1, x.size, ALIGNMENT)
        start = int(self.Head()) - x.size
        self.Bytes[start : start + x.size] = x.tobytes()
        self.head = start
        self.vectorNumElems = x.size
        offset = self.EndVector()
        return offset


class GraphWriter:
    """One subgraph: an entry point of the file, called by the name of its signature."""

    def __init__(self, file: FileWriter, name: str) -> None:
        self.file = file
        self.name = name
        self.graph = schema.SubGraphT()
        self.graph.name = name
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []

    def tensor(
        self,
        name: str,
        shape: Sequence[Size],
        kind: str = "float32",
        data: NDArray[Any] | None = None,
        quantization: Any = None,
    ) -> Value:
        """A new tensor. data: of a constant, packed as the file holds it."""
        entry = schema.TensorT()
        entry.name, entry.type = name, TYPES[kind]
        entry.shape = np.array(self.file.at_length(shape), np.int32)
        entry.buffer = 0 if data is None else self.file.buffer(data, name)
        entry.quantization = quantization
        self.graph.tensors.append(entry)
        return Value(len(self.graph.tensors) - 1, tuple(shape))

    def constant(self, name: str, array: NDArray[Any]) -> Value:
        """A float32, float16 or int32 constant."""
        return self.tensor(name, array.shape, str(array.dtype), array)

    def ints(self, *numbers: int) -> Value:
        """Axes, sizes and the like."""
        return self.constant("", np.array(numbers, np.int32))

    def input(self, name: str, shape: Sequence[Size], kind: str = "float32") -> Value:
        """A new input of the subgraph."""
        value = self.tensor(name, shape, kind)
        self.graph.inputs.append(value.index)
        self._sign(value)
        return value

    def output(self, value: Value) -> None:
        """Declare a result of the subgraph."""
        self.graph.outputs.append(value.index)
        self._sign(value)

    def _sign(self, value: Value) -> None:
        signature = [size if isinstance(size, int) else -1 for size in value.shape]
        self.graph.tensors[value.index].shapeSignature = np.array(signature, np.int32)

    def call(
        self,
        operator: str,
        inputs: Sequence[Value | None],
        shape: Sequence[Size],
        options: tuple[str, Mapping[str, Any]] | None = None,
        kind: str = "float32",
        version: int = 1,
        quantization: Any = None,
    ) -> Value:
        """One operator with one result of this shape. options: table of the schema and its fields."""
        result = self.tensor("", shape, kind, quantization=quantization)
        self.call_into(operator, inputs, [result], options, version)
        return result

    def reshape(self, value: Value, shape: Sequence[Size], kind: str = "float32") -> Value:
        """Another shape, in which one size may vary."""
        written = [size if isinstance(size, int) else -1 for size in shape]
        return self.call("RESHAPE", [value, self.ints(*written)], shape, kind=kind)

    def call_into(
        self,
        operator: str,
        inputs: Sequence[Value | None],
        results: Sequence[Value],
        options: tuple[str, Mapping[str, Any]] | None = None,
        version: int = 1,
    ) -> None:
        """One operator with these results."""
        entry = schema.OperatorT()
        entry.opcodeIndex = self.file.code(operator, version)
        entry.inputs = np.array([-1 if i is None else i.index for i in inputs], np.int32)
        entry.outputs = np.array([result.index for result in results], np.int32)
        if options is not None:
            table, fields = options
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            entry.builtinOptions = getattr(schema, f"{table}T")()
            for field, setting in fields.items():
                if not hasattr(entry.builtinOptions, field):
                    raise ValueError(f"{table} has no {field}")
                setattr(entry.builtinOptions, field, setting)
        self.graph.operators.append(entry)

    def finish(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Drop what nothing reads, and add the subgraph to the file. inputs, outputs: names to call by."""
        self._drop_unused()
        model = self.file.model
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = self.name, len(model.subgraphs)
        signature.inputs = _named(inputs, self.graph.inputs)
        signature.outputs = _named(outputs, self.graph.outputs)
        model.signatureDefs.append(signature)
        model.subgraphs.append(self.graph)

    def _drop_unused(self) -> None:
        needed = {int(index) for index in self.graph.outputs}
        kept = []
        for operator in reversed(self.graph.operators):
            if any(int(index) in needed for index in operator.outputs):
                kept.append(operator)
                needed |= {int(index) for index in operator.inputs}
                needed |= {int(index) for index in operator.outputs}
        needed |= {int(index) for index in self.graph.inputs}
        for index in list(needed):
            details = getattr(self.graph.tensors[index].quantization, "details", None)
            if details is not None:
                needed.add(details.scales)
        order = sorted(needed - {-1})
        places = {old: new for new, old in enumerate(order)}
        places[-1] = -1
        self.graph.operators = kept[::-1]
        self.graph.tensors = [self.graph.tensors[index] for index in order]
        for entry in self.graph.tensors:
            details = getattr(entry.quantization, "details", None)
            if details is not None:
                details.scales = places[details.scales]
        for operator in self.graph.operators:
            operator.inputs = _moved(operator.inputs, places)
            operator.outputs = _moved(operator.outputs, places)
        self.graph.inputs = _moved(self.graph.inputs, places)
        self.graph.outputs = _moved(self.graph.outputs, places)


def _moved(indices: Sequence[int], places: Mapping[int, int]) -> NDArray[np.int32]:
    return np.array([places[int(index)] for index in indices], np.int32)


def _named(names: Sequence[str], indices: Sequence[int]) -> list[Any]:
    entries = []
    for name, index in zip(names, indices, strict=True):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, int(index)
        entries.append(entry)
    return entries
