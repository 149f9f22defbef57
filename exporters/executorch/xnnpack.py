"""ExecuTorch .pte files whose layers run on XNNPACK, the CPU kernels of phones.

How the kernels compute, seen on the runtime (ExecuTorch 1.5.1); a reference must do the same:

- `-a8d` linear: every row x of the last dimension has its own grid, found at run time.
  low = min(0, min x), high = max(0, max x), scale = (high - low) / 255,
  zero = -128 - low / scale or 127 - high / scale (whichever has the smaller error), rounded half to even;
  code = clamp(round(x / scale) + zero, -128, 127), x' = (code - zero) * scale; y = x' @ w'.T + bias.
- `-a8d` convolution: the same; its rows are the windows that its output frames see, laid out one after the
  other and run by the linear kernel, as is a float convolution. `personalize.rounding.kernels.has_rows`
  says which convolutions can.
- `-a8s` convolution: input and output on stored grids, code = clamp(round(x / scale) + zero, -128, 127);
  padding is zero; the bias is int32 on the grid input scale * weight scale, rounded half to even.
- fp16: weight, bias, input and result are float16; products are summed in float32 or float16,
  as the CPU does it.
Weights are codes * scales: bfloat16 scales for groups (those that float16 holds too), float32 per channel.

Token embeddings run on ExecuTorch's own kernels, as in `exporters.executorch.portable`; one that has the
head's matrix reads the bytes that lie in the file for XNNPACK (`exporters.executorch.one_copy`).

Only what runs right is in the menu. Left out: asymmetric weights and weight-only integers (wrong results
without an error), groups that aren't a multiple of 32, 4-bit per channel with odd rows; and for
convolutions that can't be laid out as windows everything but static int8: 4 bits are refused, fp16 is
stored as fp32.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.exporters.executorch import portable
from myqasr.exporters.target import ExportOptions, StoredLayer, Target
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32, LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "xnnpack"
SUFFIX = ".pte"

GROUP_SIZES = (32, 64, 128)

_INT4 = QuantSpec(4, activation="int8-dynamic")
_INT8 = QuantSpec(8, activation="int8-dynamic")
_INT8_STATIC = QuantSpec(8, activation="int8-static")

_ALIGNMENT = 128
"""Every piece of constant data starts at a multiple of this in the file."""

_GRAPH_BYTES_PER_LAYER = 950
"""Graph around an fp32 layer: its own node, and the normalisation, reshapes and additions near it."""

_BOOKKEEPING = {
    ("linear", "int8-dynamic", 4): 390,
    ("linear", "int8-dynamic", 8): 350,
    ("linear", "float", 16): 1130,
    ("conv1d", "int8-static", 8): 630,
    ("conv1d", "int8-dynamic", 4): 390,
    ("conv1d", "int8-dynamic", 8): 350,
    ("conv1d", "float", 16): 1130,
}
"""Kind, activation, bits -> bytes of graph, keys and tables beyond those of the same layer in fp32.

Fitted to small models; how a plan splits the graph between delegates moves it by a few hundred bytes.
"""


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that XNNPACK runs for this layer, fp32 last."""
    if shape.fixed or shape.kind == "conv2d":
        return (FLOAT32,)
    if shape.kind == "embedding":
        return portable.menu(shape)
    if shape.kind == "linear":
        in_features = shape.row_weights
        grouped = tuple(
            QuantSpec(4, "int", group, "int8-dynamic")
            for group in GROUP_SIZES
            if in_features % group == 0
        )
        per_channel = (_INT4,) if in_features % 2 == 0 else ()
        return (*grouped, *per_channel, _INT8, FLOAT16, FLOAT32)
    if not shape.has_rows:
        return (_INT8_STATIC, FLOAT32)
    narrow = (_INT4,) if shape.row_weights % 2 == 0 else ()
    return (*narrow, _INT8_STATIC, _INT8, FLOAT16, FLOAT32)


def scale_dtype(spec: QuantSpec) -> str:
    """bfloat16 for groups, and such as float16 holds, which an embedding has; float32 per channel."""
    grouped = spec.scheme == "int" and spec.group_size is not None
    return "bfloat16+float16" if grouped else "float32"


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Weights, scales and bias as they lie in the file, and the layer's part of the graph."""
    if shape.kind == "embedding":
        scales = 0
        if spec.group_size is not None:
            # Of another layer's matrix only the scales are its own: XNNPACK's are bfloat16, these float16.
            groups = shape.out_channels * (shape.row_weights // spec.group_size)
            scales = 2 * groups if shape.matrix_of else -2 * groups
        return portable.layer_bytes(shape, spec) + scales
    if spec.scheme == "float":
        pieces = [shape.weights * spec.bits // 8]
    else:
        row_bytes = (shape.row_weights * spec.bits + 7) // 8
        groups = 1 if spec.group_size is None else shape.row_weights // spec.group_size
        scale_bytes = 4 if spec.group_size is None else 2
        pieces = [shape.out_channels * row_bytes, shape.out_channels * groups * scale_bytes]
    if shape.has_bias:
        pieces.append(shape.out_channels * (2 if spec.bits == 16 else 4))
    data = sum(-(-piece // _ALIGNMENT) * _ALIGNMENT for piece in pieces)
    return data + _BOOKKEEPING.get((shape.kind, spec.activation, spec.bits), 0)


def overhead_bytes(model: "SpeechModel") -> int:
    """Estimate of container and float rest; an export measures it exactly."""
    from myqasr.exporters.checks import float_rest_bytes

    return float_rest_bytes(model, halved=True) + _GRAPH_BYTES_PER_LAYER * len(model.layers())


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
    from myqasr.exporters.executorch.xnnpack_lowering import (
        REWRITES,
        Partitioner,
        needed_passes_only,
    )
    from myqasr.exporters.graph.embeddings import REWRITES_LOW_FIRST

    check_menu(model, codes, menu, NAME)
    planned = planned_program(model, codes, options, {**REWRITES, **REWRITES_LOW_FIRST})
    with needed_passes_only():
        program, order = to_executorch(planned, Partitioner())
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
    half_activations=True,
)
