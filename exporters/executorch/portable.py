"""ExecuTorch .pte files without a delegate: the same program on ExecuTorch's own kernels.

Weights are stored at 4, 8, 16 or 32 bits and expanded to float32 each time the layer runs; activations
stay float32, so the result is that of the dequantised weights. Smaller than float, not faster.

- int8: `dequantize_per_channel`. int4: `embedding_4bit` over all rows, two codes in a byte. fp16: a cast.
- Tried and left out: `mixed_linear` (no kernel to export it with on the CPU), float16 scales for
  `embedding_4bit` (it then computes in float16: 75 dB), integer activations (no linear kernel for them).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.exporters.target import ExportOptions, StoredLayer, Target
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32, LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "executorch"
SUFFIX = ".portable.pte"

GROUP_SIZES = (32, 64, 128)

_INT4 = QuantSpec(4)
_INT8 = QuantSpec(8)

_ALIGNMENT = 16
"""Every constant starts at a multiple of this in the file."""

_BOOKKEEPING = {
    ("linear", 4): 330,
    ("linear", 8): 290,
    ("linear", 16): 170,
    ("conv1d", 4): 420,
    ("conv1d", 8): 420,
    ("conv1d", 16): 300,
    ("embedding", 4): 330,
    ("embedding", 8): 290,
    ("embedding", 16): 170,
}
"""Kind, bits -> measured bytes of the program beyond those of the same layer in fp32.

Row numbers for `embedding_4bit` are shared by layers of equal height and not counted here.
"""


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that ExecuTorch's kernels run for this layer, fp32 last."""
    if shape.fixed or shape.kind == "conv2d":
        return (FLOAT32,)
    row = shape.row_weights
    grouped = tuple(
        QuantSpec(4, "int", group) for group in GROUP_SIZES if row % group == 0 and group < row
    )
    per_channel = (_INT4,) if row % 2 == 0 else ()
    return (*grouped, *per_channel, _INT8, FLOAT16, FLOAT32)


def scale_dtype(spec: QuantSpec) -> str:
    """Always float32."""
    return "float32"


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Weights, scales and bias as they lie in the file, and the layer's part of the program."""
    if spec.scheme == "float":
        pieces = [shape.weights * spec.bits // 8]
    else:
        groups = 1 if spec.group_size is None else shape.row_weights // spec.group_size
        row_bytes = shape.row_weights * spec.bits // 8
        pieces = [shape.out_channels * row_bytes, shape.out_channels * groups * 4]
    if shape.matrix_of:  # what lies in the file once lies there as the other layer's
        pieces = []
    if shape.has_bias:
        pieces.append(shape.out_channels * 4)
    data = sum(-(-piece // _ALIGNMENT) * _ALIGNMENT for piece in pieces)
    return data + _BOOKKEEPING.get((shape.kind, spec.bits), 0)


def overhead_bytes(model: "SpeechModel") -> int:
    """Estimate of container and float rest; an export measures it exactly."""
    from myqasr.exporters.checks import float_rest_bytes

    return float_rest_bytes(model, halved=True)


def write(
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
) -> tuple[str, ...]:
    """Write the .pte, whole or not at all; returns layer names in the order the program runs them.

    Method `forward`: float32 [1, samples] up to options.max_samples to logits float32 [1, frames, vocab].
    Models that write token by token have `encode` and `decode` instead.
    Raises UserError when codes and model don't fit, or a layer's precision isn't on its menu.
    """
    import executorch.kernels.quantized  # noqa: F401  registers the kernels' schemas

    from myqasr.exporters.checks import check_menu
    from myqasr.exporters.executorch.lowering import planned_program, save, to_executorch
    from myqasr.exporters.graph.embeddings import REWRITES as EMBEDDING_REWRITES
    from myqasr.exporters.graph.layers import expanded_bytes, expanded_halves, expanded_nibbles

    check_menu(model, codes, menu, NAME)
    by_bits = {4: expanded_nibbles, 8: expanded_bytes, 16: expanded_halves}
    rewrites = {
        f"{kind} float {bits}": rewrite
        for kind in ("linear", "conv1d", "windows")
        for bits, rewrite in by_bits.items()
    }
    planned = planned_program(model, codes, options, {**rewrites, **EMBEDDING_REWRITES})
    program, order = to_executorch(planned, None)
    save(program, path)
    return order


def read(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer of the file, in the order it runs; from the file alone."""
    from myqasr.exporters.executorch.pte_layers import read_layers

    return read_layers(path)


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
    runner="executorch",
)
