"""Core ML .mlpackage files for iOS 18 and macOS 15 on: 1 to 8 bits per layer.

How Core ML computes, which a reference must do the same: weights are expanded to float16 when the model is
loaded or run: palette[index], or code * scale rounded to float16. Constants are float16; float32 are layers
whose plan says so, and what lies before the first learned layer (a log-mel front end).

- int8: symmetric, a float16 scale per output channel. int4: the same, or a scale for 32 or 64 weights of
  a row.
- lutB: a palette of 2^B float16 values for the whole layer; lutB-gN: one for every N output channels.
- 5 and 7 bits don't exist, nor zero points here; `enable_per_channel_scale` makes files larger.

The package is a folder; its bytes are those of its files. weight.bin is foretold exactly: every constant of
ten values or more takes 64 bytes and its data, filled up to a multiple of 64; smaller ones are part of the
program.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.exporters.target import ExportOptions, StoredLayer, Target, needs_extra
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32, LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.exporters.manifest import Artifact
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "coreml"
SUFFIX = ".mlpackage"

GROUP_SIZES = (32, 64)
PALETTE_BITS = (1, 2, 3, 4, 6, 8)
GROUPED_PALETTE_BITS = (1, 2, 3, 4, 6)
PALETTE_CHANNELS = 16
"""Output channels that share a palette where not all of them do."""

_INT8 = QuantSpec(8)
_INT4 = QuantSpec(4)

_ALIGNMENT = 64
_LEAST_VALUES = 10
"""Constants with fewer values lie in the program."""

_GRAPH_BYTES = {"lut": 144, "int": 144, "float": 0}
"""Scheme -> bytes of the program beyond those of the same layer in float16."""


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that Core ML has for this layer, fp32 last."""
    if shape.fixed or shape.kind == "conv2d":
        return (FLOAT32,)
    palettes = [QuantSpec(bits, "lut") for bits in PALETTE_BITS]
    if shape.out_channels % PALETTE_CHANNELS == 0 and shape.out_channels > PALETTE_CHANNELS:
        palettes += [QuantSpec(bits, "lut", PALETTE_CHANNELS) for bits in GROUPED_PALETTE_BITS]
    blocks = [
        QuantSpec(4, "int", group)
        for group in GROUP_SIZES
        if shape.kind == "linear" and shape.row_weights % group == 0 and shape.row_weights > group
    ]
    return (*palettes, *blocks, _INT4, _INT8, FLOAT16, FLOAT32)


def scale_dtype(spec: QuantSpec) -> str:
    """Scales and palettes are float16."""
    return "float16"


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """The layer's part of weight.bin, exactly, and of the program, nearly."""
    return weight_bytes(shape, spec) + _GRAPH_BYTES[spec.scheme]


def weight_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """The layer's part of weight.bin: codes, scales or palettes, and bias."""
    total = _stored(shape.weights, spec.bits)
    if spec.scheme != "float":
        total += _stored(table_values(shape, spec), 16)
    if shape.has_bias:
        total += _stored(shape.out_channels, 32 if spec.bits == 32 else 16)
    return total


def table_values(shape: LayerShape, spec: QuantSpec) -> int:
    """Number of scales, or of palette entries, of a layer."""
    if spec.scheme == "lut":
        palettes = 1 if spec.group_size is None else shape.out_channels // spec.group_size
        return palettes * 2**spec.bits
    groups = 1 if spec.group_size is None else shape.row_weights // spec.group_size
    return shape.out_channels * groups


def _stored(values: int, bits: int) -> int:
    """Bytes of weight.bin that a constant takes."""
    if values < _LEAST_VALUES:
        return 0
    payload = -(-values * bits // 8)
    return _ALIGNMENT + -(-payload // _ALIGNMENT) * _ALIGNMENT


def overhead_bytes(model: "SpeechModel") -> int:
    """Estimate of program and float rest; an export measures it exactly."""
    from myqasr.exporters.checks import float_rest_bytes

    return float_rest_bytes(model) + 1_000 * len(model.layers())


def write(
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
) -> tuple[str, ...]:
    """Write the package, whole or not at all; returns layer names in the order the program runs them.

    Input `waveform` float32 [1, samples] between the options' lengths, output `logits` float32
    [1, frames, vocab]. Raises UserError when codes and model don't fit, or a layer's precision isn't on
    its menu.
    """
    return write_for(NAME, menu, model, codes, path, options)


def write_for(
    target: str,
    offered: Callable[[LayerShape], tuple[QuantSpec, ...]],
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
) -> tuple[str, ...]:
    """`write` of the Core ML target that has this name and menu."""
    with needs_extra(target):
        from myqasr.exporters.checks import check_menu
        from myqasr.exporters.coreml.write import write_package

    check_menu(model, codes, offered, target)
    return write_package(model, codes, path, options, target)


def read(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer of the package, in the order it runs; from the package alone."""
    with needs_extra(NAME):
        from myqasr.exporters.coreml.read import read_layers

        return read_layers(path)


def companions(
    model: "SpeechModel", codes: "dict[str, LayerCodes]", path: Path, artifact: "Artifact"
) -> str:
    """What it takes to check and time the package on a Mac, in a folder beside it."""
    from myqasr.exporters.coreml.kit import write_kit

    kit = write_kit(model, codes, path, artifact)
    return f"to check and time it on a Mac: {kit}/bench_macos.py"


TARGET = Target(
    name=NAME,
    suffix=SUFFIX,
    menu=menu,
    layer_bytes=layer_bytes,
    scale_dtype=scale_dtype,
    overhead_bytes=overhead_bytes,
    write=write,
    read=read,
    runner="coreml",
    when_asked=True,
    needs=("coremltools",),
    extra="coreml",
    wrote_by=("coremltools",),
    lists_lengths=True,
    companions=companions,
)
