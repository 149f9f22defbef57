"""ONNX files for ONNX Runtime 1.32, on phones, desktops and in sherpa-onnx.

How it computes, seen on the runtime (CPU); a reference must do the same:

- int4 in groups of linear layers: MatMulNBits at `accuracy_level` 1, activations float32. At level 4,
  which it chooses itself for int4 behind DequantizeLinear, the runtime rounds them to int8 (43 to 47 dB).
- int8-a8d: integer products (MatMulInteger), activations int8 with a grid for every row, found at run time in
  standard operators; what XNNPACK computes, to its reference. On x86 without VNNI the kernel for unsigned
  times signed bytes saturates unless the session sets `session.x64quantprecision` to 1, as our runner does;
  ARM's doesn't.
- int4 and int8 of convolutions, fp16: the weight is made float as the file is loaded or run; activations are
  float32. Token tables are read row by row, and one that is the head's matrix, too, lies in the file once.

Left out: 8 bits in MatMulNBits (right, but one row takes it thirty times as long as 4 bits where
activations stay float: it expands the weights at every call), 2 bits in it (the same),
DynamicQuantizeLinear (one grid for all rows of a tensor: not what `-a8d` is), QDQ with stored ranges,
scales in float16 (activations would have to be float16, too).

A model with one method is one file; one that writes token by token is a folder with `encode.onnx` and
`decode.onnx`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.exporters.target import ExportOptions, StoredLayer, Target, needs_extra
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32, LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.exporters.manifest import Artifact
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "onnx"
SUFFIX = ".onnx"

GROUP_SIZES = (32, 64, 128)


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that ONNX Runtime runs for this layer, fp32 last."""
    if shape.fixed or shape.kind == "conv2d":
        return (FLOAT32,)
    row = shape.row_weights
    if shape.kind == "conv1d":
        halves = (QuantSpec(4),) if row % 2 == 0 else ()
        return (*halves, QuantSpec(8), FLOAT16, FLOAT32)
    grouped = tuple(QuantSpec(4, "int", group) for group in GROUP_SIZES if row % group == 0)
    whole = QuantSpec(8) if shape.kind == "embedding" else QuantSpec(8, activation="int8-dynamic")
    return (*grouped, whole, FLOAT16, FLOAT32)


def scale_dtype(spec: QuantSpec) -> str:
    """Always float32, as activations are."""
    return "float32"


_NODES = {
    ("linear", "int", 4): (202, 5),
    ("linear", "int", 8): (112, 5),
    ("linear", "float", 16): (155, 7),
    ("linear", "float", 32): (122, 5),
    ("conv1d", "int", 4): (276, 9),
    ("conv1d", "int", 8): (230, 7),
    ("conv1d", "float", 16): (192, 5),
    ("conv1d", "float", 32): (157, 3),
    ("embedding", "int", 4): (107, 5),
    ("embedding", "int", 8): (104, 5),
    ("embedding", "float", 16): (99, 5),
    ("embedding", "float", 32): (66, 3),
}
"""Kind, scheme, bits -> measured bytes of nodes and of constants' heads, and how often they hold its name."""

_CONTAINER_BYTES, _AROUND_BYTES = 2_000, 440
"""Of a graph without layers: so much, and around each so much; at most 3 kB off on every kind of model."""


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Weights, scales and bias as they lie in the file, and the layer's nodes."""
    data = (shape.weights * spec.bits + 7) // 8
    if spec.scheme == "int":
        groups = 1 if spec.group_size is None else shape.row_weights // spec.group_size
        data += 4 * shape.out_channels * groups
    if shape.matrix_of:  # what lies in the file once lies there as the other layer's
        data = 0
    if shape.has_bias:
        data += 4 * shape.out_channels
    kind = "conv1d" if shape.kind == "conv2d" else shape.kind
    fixed, names = _NODES[kind, spec.scheme, spec.bits]
    return data + fixed + names * len(shape.name)


def overhead_bytes(model: "SpeechModel") -> int:
    """Estimate of container and float rest; an export measures it exactly."""
    from myqasr.exporters.checks import halved_rest_bytes

    return halved_rest_bytes(model) + _CONTAINER_BYTES + _AROUND_BYTES * len(model.layers())


def write(
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
) -> tuple[str, ...]:
    """Write the file or folder, whole or not at all; layer names in the order the graphs run them.

    Input `waveform`: float32 [1, samples] of any length; output `logits`: float32 [1, frames, vocab]. Models
    that write token by token have `encode.onnx` and `decode.onnx` instead, inputs and results named as in
    `exporters.graph.methods`, ids and positions int64.
    Raises UserError when codes and model don't fit, or a layer's precision isn't on its menu.
    """
    from myqasr.exporters.checks import check_layers, check_menu

    check_layers(model, codes)
    check_menu(model, codes, menu, NAME)
    with needs_extra(NAME):
        from myqasr.exporters.onnx.write import write_model

        return write_model(model, codes, path, options)


def read(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer, in the order it runs; from the file or folder alone."""
    with needs_extra(NAME):
        from myqasr.exporters.onnx.read import read_layers

    return read_layers(path)


def companions(
    model: "SpeechModel", codes: "dict[str, LayerCodes]", path: Path, artifact: "Artifact"
) -> str:
    """The folder for sherpa-onnx, where it can run the model."""
    from myqasr.exporters.onnx.sherpa import write_sherpa_folder

    return write_sherpa_folder(model, path)


TARGET = Target(
    name=NAME,
    suffix=SUFFIX,
    menu=menu,
    layer_bytes=layer_bytes,
    scale_dtype=scale_dtype,
    overhead_bytes=overhead_bytes,
    write=write,
    read=read,
    one_copy=True,
    runner="onnxruntime",
    needs=("onnx", "onnxscript", "onnxruntime"),
    extra="onnx",
    wrote_by=("onnx", "onnxscript"),
    companions=companions,
)
