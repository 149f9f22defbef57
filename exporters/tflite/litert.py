"""TFLite files for LiteRT (ai-edge-litert 2.x), the runtime of Android and of Google Play services.

How its kernels compute, seen on the runtime (2.3.0 with XNNPACK); a reference must do the same:

- `-a8d`: as on XNNPACK in `exporters.executorch.xnnpack`: every row has its own grid, found at run time.
  Convolutions that have rows run as fully connected operators over windows that are laid out in the graph.
- `-a8s`: quantise, convolution on int8, dequantise; the bias is int32 as there.
- int4 and int8 without a suffix: the weight is made float when the file is loaded; so is fp16. Activations
  are float32. Token embeddings are looked up row by row instead: only fp16 ones are made float at load.
Without its delegate, built-in kernels run: they misread the code -8 with a scale for every channel, which is
therefore never made (`rounding.layers.code_limits`).
Weights are codes * scales: float16 scales for groups (those that bfloat16 holds too), float32 per channel.

Every fully connected operator is stamped version 12, which tflite-runtime 2.14.0 doesn't have: it would run
these files and compute garbage. Left out: weight-only integers for layers that have rows (they run, in
float: as much memory and time as fp32), 2 bits in groups (refused).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.exporters.target import ExportOptions, StoredLayer, Target
from myqasr.exporters.tflite import container as tflite
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32, LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "litert"
SUFFIX = ".litert.tflite"

GROUP_SIZES = (32, 64, 128)
FULLY_CONNECTED_VERSION = 12


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that LiteRT runs for this layer, fp32 last."""
    if shape.fixed or shape.kind == "conv2d":
        return (FLOAT32,)
    row = shape.row_weights
    if shape.kind == "embedding":
        return (*_table(row), QuantSpec(8), FLOAT16, FLOAT32)
    if not shape.has_rows:
        narrow = tuple(bits for bits in (2, 4) if shape.weights % (8 // bits) == 0)
        # 4 bits in a depthwise one: 38 dB.
        depthwise = shape.weight_shape[1] == 1
        static = [bits for bits in (*narrow, 8) if bits >= (8 if depthwise else 4)]
        return (
            *(QuantSpec(bits) for bits in narrow),
            *(
                QuantSpec(bits, activation="int8-static")
                for bits in static
                if shape.kind == "conv1d"
            ),
            QuantSpec(8),
            FLOAT16,
            FLOAT32,
        )
    rows = tuple(
        QuantSpec(bits, activation="int8-dynamic") for bits in (2, 4) if row % (8 // bits) == 0
    )
    grouped = tuple(
        QuantSpec(4, "int", group, "int8-dynamic")
        for group in GROUP_SIZES
        if shape.kind == "linear" and row % group == 0
    )
    return (*grouped, *rows, QuantSpec(8, activation="int8-dynamic"), FLOAT16, FLOAT32)


def _table(row: int) -> tuple[QuantSpec, ...]:
    """2 and 4 bits of a token embedding with rows of this size."""
    grouped = (
        QuantSpec(4, "int", group) for group in GROUP_SIZES if row % group == 0 and group < row
    )
    return (*grouped, *(QuantSpec(bits) for bits in (2, 4) if row % (8 // bits) == 0))


def scale_dtype(spec: QuantSpec) -> str:
    """bfloat16 that float16 holds for groups, float32 per channel."""
    grouped = spec.scheme == "int" and spec.group_size is not None
    return "bfloat16+float16" if grouped else "float32"


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Weights, scales and bias as they lie in the file, and the layer's operators and tensors."""
    return tflite.layer_bytes(shape, spec)


def overhead_bytes(model: "SpeechModel") -> int:
    """Estimate of container and float rest; an export measures it exactly."""
    return tflite.overhead_bytes(model)


def write(
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
) -> tuple[str, ...]:
    """Write the .tflite, whole or not at all; returns layer names in the order the program runs them.

    Raises UserError when codes and model don't fit, or layers' precisions aren't on their menus.
    """
    return tflite.write(
        model, codes, path, options, NAME, menu, FULLY_CONNECTED_VERSION, looks_up_codes=True
    )


def read(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer of the file, in the order it runs; from the file alone."""
    return tflite.read(path)


TARGET = Target(
    name=NAME,
    suffix=SUFFIX,
    menu=menu,
    layer_bytes=layer_bytes,
    scale_dtype=scale_dtype,
    overhead_bytes=overhead_bytes,
    write=write,
    read=read,
    runner="litert",
    needs=("ai_edge_litert",),
    extra="tflite",
)
