"""TFLite files for tflite-runtime 2.14.0, the last wheel of that name, and for apps as old.

It runs what it doesn't know and computes garbage: 8-bit fully connected weights with a scale for every
channel (it reads the first), 4 bits in groups (it crashes). So only what it computes right is on the menu:

- int8 `-a8d`: the weights' scale is 1 in the file, sums are multiplied by the channel scales and the bias is
  added by operators of their own. The arithmetic is that of `exporters.litert`, but not by XNNPACK here: half
  the memory of fp32, and on x86 3 to 8 times its time.
- int4 and int8 `-a8s` of linear layers and windows: a convolution of width 1, as this runtime's static fully
  connected operator reads one scale a tensor, and no 4 bits. As fast as float on x86.
- int8: as there, and for layers that have rows, too: time and memory are those of fp32.
- `-a8s` of other convolutions, fp16: as there.
Left out: other 4 bits (fully connected ones run, but differ from every reference tried: 36 to 40 dB;
weight-only ones are refused) and 2 bits (refused).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from exporters import litert, tflite
from exporters.target import ExportOptions, StoredLayer
from personalize.plan import FLOAT16, LayerShape, QuantSpec

if TYPE_CHECKING:
    from personalize.codes import LayerCodes
    from speech.models.base import SpeechModel

NAME = "tflite-runtime"
SUFFIX = ".tflite"

FULLY_CONNECTED_VERSION = 4


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that tflite-runtime computes right for this layer, fp32 last."""
    kept = [
        spec for spec in litert.menu(shape) if spec.bits >= 8 or spec.activation == "int8-static"
    ]
    if shape.fixed or not shape.has_rows:
        return tuple(kept)
    narrow = (4,) if shape.row_weights % 2 == 0 else ()
    kept.insert(kept.index(FLOAT16), QuantSpec(8))
    return (*(QuantSpec(bits, activation="int8-static") for bits in (*narrow, 8)), *kept)


def scale_dtype(spec: QuantSpec) -> str:
    """Always float32."""
    return "float32"


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Weights, scales and bias as they lie in the file, and the layer's operators and tensors."""
    return tflite.layer_bytes(shape, spec, scales_after=True)


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
    return tflite.write(model, codes, path, options, NAME, menu, FULLY_CONNECTED_VERSION, True)


def read(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer of the file, in the order it runs; from the file alone."""
    return tflite.read(path)
