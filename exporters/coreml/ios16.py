"""Core ML .mlpackage files that run from iOS 16 and macOS 13 on.

int8 with a float16 scale per output channel, and palettes of 1, 2, 4, 6 or 8 bits for a whole layer. What
`exporters.coreml.ios18` has beyond that came with iOS 18: 3 bits, int4, groups, and several functions in a
package, which models that write token by token need.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.exporters.coreml import ios18 as coreml
from myqasr.exporters.target import ExportOptions, Target
from myqasr.personalize.planning.plan import LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "coreml-ios16"
SUFFIX = ".ios16.mlpackage"

PALETTE_BITS = (1, 2, 4, 6, 8)


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that Core ML had for this layer in iOS 16, fp32 last."""
    return tuple(
        spec
        for spec in coreml.menu(shape)
        if spec.scheme == "float"
        or (
            spec.group_size is None
            and spec.bits in (PALETTE_BITS if spec.scheme == "lut" else (8,))
        )
    )


scale_dtype = coreml.scale_dtype
layer_bytes = coreml.layer_bytes
overhead_bytes = coreml.overhead_bytes
read = coreml.read


def write(
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
) -> tuple[str, ...]:
    """As `exporters.coreml.ios18.write`; raises UserError for models that write token by token, too."""
    return coreml.write_for(NAME, menu, model, codes, path, options)


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
    companions=coreml.companions,
)
