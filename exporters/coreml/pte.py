"""ExecuTorch .pte files whose only step is Core ML: a package of `coreml.ios18` in ExecuTorch's delegate.

For apps that run ExecuTorch already, iOS 18 or macOS 15. Precisions, constants and what is computed are those
of the .mlpackage of target `coreml`, which lies inside byte for byte; around it there are about 3 kB.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.exporters.coreml import ios18 as coreml
from myqasr.exporters.target import ExportOptions, Target, needs_extra

if TYPE_CHECKING:
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "coreml-pte"
SUFFIX = ".coreml.pte"

menu = coreml.menu
scale_dtype = coreml.scale_dtype
layer_bytes = coreml.layer_bytes
read = coreml.read

_CONTAINER_BYTES = 3_000


def overhead_bytes(model: "SpeechModel") -> int:
    """The package's, and the container around it."""
    return coreml.overhead_bytes(model) + _CONTAINER_BYTES


def write(
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
) -> tuple[str, ...]:
    """Write the file, whole or not at all; returns layer names in the order the program runs them.

    Methods `forward`, or `encode` and `decode`, with inputs and outputs as of target `xnnpack`. Raises
    UserError when codes and model don't fit, or a layer's precision isn't on its menu.
    """
    with needs_extra(NAME):
        from myqasr.exporters.checks import check_menu
        from myqasr.exporters.coreml.delegate import write_delegated

    check_menu(model, codes, menu, NAME)
    return write_delegated(model, codes, path, options, NAME)


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
)
