"""Read a Core ML package without Apple's libraries: the program of model.mlmodel, constants of weight.bin.

weight.bin: a header of 64 bytes (count, version), then for each constant 64 bytes of metadata, `<IIQQQ`:
0xDEADBEEF, type, bytes, offset of the data, bits of padding; data start at multiples of 64. Integers narrower
than a byte lie one after the other, least significant bit first. The program's schema is Core ML's own
protobuf, of which coremltools has the Python classes.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myqasr.core import packing
from myqasr.core.errors import BrokenFileError
from myqasr.exporters.coreml.files import Files, package_files

MODEL = Path("Data", "com.apple.CoreML", "model.mlmodel")
WEIGHTS = Path("Data", "com.apple.CoreML", "weights", "weight.bin")

MAIN = "main"
"""The only function of a package that has one."""

STRIDE_KEY = "myqasr.stride_samples"
"""In the package's description: samples per output frame, where input lengths are listed."""

SENTINEL = 0xDEADBEEF
ALIGNMENT = 64

_TYPES: dict[str, tuple[int, type[np.generic]]] = {
    "float16": (16, np.float16),
    "float32": (32, np.float32),
    "uint1": (1, np.uint8),
    "uint2": (2, np.uint8),
    "uint3": (3, np.uint8),
    "uint4": (4, np.uint8),
    "uint6": (6, np.uint8),
    "uint8": (8, np.uint8),
    "uint16": (16, np.uint16),
    "uint32": (32, np.uint32),
    "int4": (4, np.int8),
    "int8": (8, np.int8),
    "int16": (16, np.int16),
    "int32": (32, np.int32),
    "bool": (8, np.bool_),
}
"""Type of a constant -> bits of a value, and what it becomes in memory."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value of the program. kind: its type, e.g. `uint4`. stored_bytes: in weight.bin, else 0."""

    value: Any
    kind: str
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """One step. inputs: parameter -> names of values, or constants. output_kinds: their types, `float16`."""

    kind: str
    name: str
    inputs: dict[str, tuple["str | Constant", ...]]
    outputs: tuple[str, ...]
    output_kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """One function of a package. inputs: names. metadata: of the package, as its author wrote it.

    lengths: sizes that the first input may have, where they are listed; empty: any within a range.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    metadata: dict[str, str]
    path: Path
    name: str
    lengths: tuple[int, ...]

    def constants(self) -> dict[str, Constant]:
        """Values of the `const` operations by name."""
        return {
            operation.outputs[0]: value
            for operation in self.operations
            if operation.kind == "const"
            and isinstance(value := operation.inputs["val"][0], Constant)
        }


def weights_file(function: str) -> Path:
    """Where a function's constants lie in a package that we write."""
    return WEIGHTS if function == MAIN else WEIGHTS.with_name(f"{function}.bin")


def read_programs(path: Path) -> dict[str, Program]:
    """Parse the functions of a package, or of the one in a .pte, by name in order.

    Raises UserError when it is damaged.
    """
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError

    files = package_files(path)
    if str(MODEL) not in files:
        raise BrokenFileError(f"{path} is no .mlpackage: it has no {MODEL.name}")
    try:
        spec = Model_pb2.Model.FromString(bytes(files[str(MODEL)]))
        if spec.WhichOneof("Type") != "mlProgram":
            raise ValueError(f"it holds a {spec.WhichOneof('Type')}, not an ML program")
        return {name: _parse(spec, files, path, name) for name in sorted(spec.mlProgram.functions)}
    except (DecodeError, ValueError, KeyError, IndexError, struct.error) as error:
        raise BrokenFileError(
            f"{path} is damaged or no ML program ({error}); export it again"
        ) from error


def _parse(spec: Any, files: Files, path: Path, name: str) -> Program:
    function = spec.mlProgram.functions[name]
    block = function.block_specializations[function.opset]
    operations = []
    for operation in block.operations:
        if any(operation.blocks):
            raise ValueError(f"{operation.type} has blocks of its own")
        inputs = {
            key: tuple(
                binding.name
                if binding.WhichOneof("binding") == "name"
                else _constant(binding.value, files)
                for binding in argument.arguments
            )
            for key, argument in operation.inputs.items()
        }
        inputs |= {
            key: (_constant(value, files),)
            for key, value in operation.attributes.items()
            if key != "name"
        }
        title = operation.attributes["name"].immediateValue.tensor.strings.values
        outputs = tuple(output.name for output in operation.outputs)
        kinds = tuple(_kind(output.type.tensorType) for output in operation.outputs)
        operations.append(
            Operation(operation.type, title[0] if title else "", inputs, outputs, kinds)
        )
    return Program(
        tuple(each.name for each in function.inputs),
        tuple(block.outputs),
        tuple(operations),
        dict(spec.description.metadata.userDefined),
        path,
        name,
        _listed_lengths(spec.description, name),
    )


def _listed_lengths(description: Any, function: str) -> tuple[int, ...]:
    """Sizes of the last dimension of a function's first input; empty for a range."""
    described = {each.name: each for each in description.functions}.get(function, description)
    array = described.input[0].type.multiArrayType
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        return tuple(sorted(each.shape[-1] for each in array.enumeratedShapes.shapes))
    return () if flexibility == "shapeRange" else (array.shape[-1],)


def _kind(tensor: Any) -> str:
    from coremltools.proto import MIL_pb2

    return str(MIL_pb2.DataType.Name(tensor.dataType)).lower()


def _constant(value: Any, files: Files) -> Constant:
    tensor = value.type.tensorType
    kind = _kind(tensor)
    shape = tuple(dimension.constant.size for dimension in tensor.dimensions)
    if value.WhichOneof("value") == "blobFileValue":
        held = files[str(WEIGHTS.with_name(Path(value.blobFileValue.fileName).name))]
        data = blob(held, value.blobFileValue.offset, kind)
        count = int(np.prod(shape, dtype=np.int64))
        bits, dtype = _TYPES[kind]
        return Constant(unpacked_bits(data, bits, count, dtype).reshape(shape), kind, len(data))
    found = value.immediateValue.tensor
    if kind == "string":
        return Constant(found.strings.values[0], "string")
    field = found.WhichOneof("value")
    values = getattr(found, field).values
    bits, dtype = _TYPES[kind]
    if field == "bytes":
        count = int(np.prod(shape, dtype=np.int64))
        array = unpacked_bits(bytes(values), bits, count, dtype)
    else:
        array = np.array(values, dtype)
    return Constant(array.reshape(shape), kind)


def blob(weights: bytes | memoryview, offset: int, kind: str) -> bytes:
    """Data of the constant whose metadata lie at `offset`; raises ValueError when they are not metadata."""
    sentinel, _, size, start, padding_bits = struct.unpack_from("<IIQQQ", weights, offset)
    if sentinel != SENTINEL:
        raise ValueError(f"weight.bin has no constant at byte {offset}")
    if start + size > len(weights) or padding_bits >= ALIGNMENT:
        raise ValueError(f"weight.bin ends inside the {kind} constant at byte {offset}")
    return bytes(weights[start : start + size])


def unpacked_bits(data: bytes, bits: int, count: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Values of so many bits, the first in the lowest, flat, signed if `dtype` is.

    Raises ValueError for another number of bytes.
    """
    if bits > 8:
        if len(data) * 8 != count * bits:
            raise ValueError(f"{count} values of {bits} bits don't take {len(data)} bytes")
        return np.frombuffer(data, dtype)
    values = packing.unpack(np.frombuffer(data, np.uint8), bits, count, first="low")
    if np.issubdtype(dtype, np.signedinteger):
        return packing.from_twos_complement(values, bits)
    return values.view(dtype)
