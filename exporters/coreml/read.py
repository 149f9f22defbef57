"""Layers as a written .mlpackage holds them."""

import math
from pathlib import Path

import numpy as np
import torch

from myqasr.exporters.coreml.mlpackage import (
    Constant,
    Operation,
    Program,
    read_programs,
    unpacked_bits,
)
from myqasr.exporters.target import StoredLayer
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes

WEIGHT_ARGUMENT = {"linear": "weight", "conv": "weight", "gather": "x"}
"""Operation that can be a layer -> its parameter that is the weight."""

LAYERS_KEY = "myqasr.layers"
"""In the package's description, with a function's name: its values that are layers' weights, by line."""

PARTS = {
    "constexpr_blockwise_shift_scale": ("data", "scale"),
    "constexpr_affine_dequantize": ("quantized_data", "scale"),
    "constexpr_lut_to_dense": ("indices", "lut"),
}
"""Operation that makes a weight -> its parameters for codes, and for scales or palettes."""


def read_layers(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer in the order of the program; raises UserError when the file is damaged."""
    return tuple(
        layer for program in read_programs(path).values() for _, layer in stored_layers(program)
    )


def stored_layers(program: Program) -> list[tuple[str, StoredLayer]]:
    """The value that is a layer's weight, and what is stored of it, in the order of the program."""
    constants = program.constants()
    makers = {each.outputs[0]: each for each in program.operations if each.outputs}
    listed = set(program.metadata.get(f"{LAYERS_KEY}.{program.name}", "").split())
    found = []
    for operation in program.operations:
        argument = operation.inputs.get(WEIGHT_ARGUMENT.get(operation.kind, ""), ("",))[0]
        maker = makers.get(argument) if isinstance(argument, str) else None
        if maker is None or not isinstance(argument, str):
            continue
        is_layer = argument in listed if listed else operation.kind != "gather"
        if not is_layer:
            continue
        if maker.kind == "const":
            found.append((argument, _float_layer(operation, constants[argument])))
        elif maker.kind in PARTS:
            codes, table = parts(maker, constants)
            kernel = f"coreml {operation.kind} {maker.kind} {codes.kind} {table.kind}"
            size = codes.stored_bytes + table.stored_bytes
            found.append((argument, StoredLayer(kernel, layer_codes(maker, constants), size)))
    return found


def parts(maker: Operation, constants: dict[str, Constant]) -> tuple[Constant, Constant]:
    """Codes, and scales or palettes, of an operation that makes a weight."""

    def part(key: str) -> Constant:
        value = maker.inputs[key][0]
        return constants[value] if isinstance(value, str) else value

    codes, table = PARTS[maker.kind]
    return part(codes), part(table)


def layer_codes(maker: Operation, constants: dict[str, Constant]) -> LayerCodes:
    """The same in our terms: codes shaped like the weight, scales or palettes a row for each group."""
    codes, table = parts(maker, constants)
    values = codes.value
    if maker.kind == "constexpr_lut_to_dense":
        lut = table.value.shape
        entries = lut[0] if len(lut) == 1 else lut[-2]
        tables = table.value.reshape(-1, entries)
        bits = entries.bit_length() - 1
        if len(lut) == 1:  # iOS 16: the indices are packed by the writer
            shape_of = maker.inputs["shape"][0]
            sizes = constants[shape_of] if isinstance(shape_of, str) else shape_of
            shape = tuple(int(size) for size in sizes.value)
            values = unpacked_bits(values.tobytes(), bits, math.prod(shape), np.uint8)
            values = values.reshape(shape)
        group = len(values) // len(tables) if len(tables) > 1 else None
        spec = QuantSpec(bits, "lut", group)
    else:
        tables = table.value.reshape(len(values), -1)
        groups = tables.shape[1]
        group = values[0].size // groups if groups > 1 else None
        spec = QuantSpec(4 if codes.kind == "int4" else 8, "int", group)
    scales = torch.from_numpy(tables.astype(np.float32))
    return LayerCodes(spec, torch.from_numpy(values.copy()), scales)


def _float_layer(operation: Operation, weight: Constant) -> StoredLayer:
    spec = QuantSpec(8 * weight.value.dtype.itemsize, "float")
    stored = torch.from_numpy(weight.value.copy())
    kernel = f"coreml {operation.kind} {weight.kind}"
    return StoredLayer(kernel, LayerCodes(spec), weight.stored_bytes, stored)
