"""TFLite files for tflite-runtime 2.14.0, the last wheel of that name, and for apps as old.

It runs what it doesn't know and computes garbage: 8-bit fully connected weights with a scale for every
channel (it reads the first). It crashed on some precisions that `litert` has. So only what it computes
right is on the menu:

- int4 and int8 `-a8s` of layers that have rows: a convolution of width 1, whose kernels have a scale for
  every channel, and 4 bits. As fast as float on x86.
- int8: the weight is made float when the file is loaded: time and memory are those of fp32.
- Token embeddings: int8 and fp16, made float when the file is loaded. It reads all rows with one scale,
  and has no 4 bits for them.
- `-a8s` of other convolutions, fp16: as in `exporters.tflite.litert`.
Left out: int8 activations found at run time (on emulated ARM64 the runtime crashed in its kernel for them;
on x86 they take two and a half times as long as float), weight-only 4 bits and 2 bits (refused).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.exporters.target import ExportOptions, StoredLayer, Target
from myqasr.exporters.tflite import container as tflite
from myqasr.exporters.tflite import litert
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32, LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "tflite-runtime"
SUFFIX = ".tflite"

FULLY_CONNECTED_VERSION = 4


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that tflite-runtime computes right for this layer, fp32 last."""
    if shape.kind == "embedding":
        return (FLOAT32,) if shape.fixed else (QuantSpec(8), FLOAT16, FLOAT32)
    if shape.fixed or not shape.has_rows:
        return tuple(
            spec
            for spec in litert.menu(shape)
            if spec.bits >= 8 or spec.activation == "int8-static"
        )
    rows = [QuantSpec(8, activation="int8-static"), QuantSpec(8), FLOAT16, FLOAT32]
    if shape.row_weights % 2 == 0:
        rows.insert(0, QuantSpec(4, activation="int8-static"))
    return tuple(rows)


def scale_dtype(spec: QuantSpec) -> str:
    """Always float32."""
    return "float32"


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
        model, codes, path, options, NAME, menu, FULLY_CONNECTED_VERSION, looks_up_codes=False
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
    runner="tflite-runtime",
    needs=("ai_edge_litert",),
    extra="tflite",
)
