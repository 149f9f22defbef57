"""TFLite files, as two targets write them: one program, with the operators that both runtimes have.

exporters/tflite/litert.py and exporters/tflite/tflite_runtime.py say what their runtimes run; the rest is
here.
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from myqasr.core.errors import NotInstalledError
from myqasr.exporters.target import ExportOptions, StoredLayer
from myqasr.personalize.planning.plan import LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

METADATA = "myqasr"
USUAL_SAMPLES = 16_000

_ALIGNMENT = 16
_CHANNEL_BYTES = 12
"""A channel's scale and zero point."""


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Weights, scales and bias as they lie in the file, and the layer's operators and tensors."""
    out = shape.out_channels
    pieces = [(shape.weights * spec.bits + 7) // 8]
    static = spec.activation == "int8-static"
    if shape.has_bias or (static and shape.has_rows):  # of zeros, if need be
        pieces.append(out * 4)
    extra = 0
    if spec.scheme == "int":
        if spec.group_size is not None:
            pieces.append(out * shape.row_weights // spec.group_size * 2)
        else:
            extra += out * _CHANNEL_BYTES
    if static:
        extra += out * _CHANNEL_BYTES  # of the bias
    data = sum(-(-piece // _ALIGNMENT) * _ALIGNMENT for piece in pieces)
    return data + extra + _bookkeeping(shape, spec)


def _bookkeeping(shape: LayerShape, spec: QuantSpec) -> int:
    """Measured bytes of operators, tensors and names beyond those of the same layer in fp32."""
    if spec.scheme == "float":
        return 80 if spec.bits == 16 else 0
    if spec.activation == "int8-static":
        rows = 640 if shape.has_bias else 790
        return rows if shape.has_rows else 370
    if spec.activation == "float":
        return 150
    return 155 if spec.group_size is not None else 34


def overhead_bytes(model: "SpeechModel") -> int:
    """Estimate of container and float rest; an export measures it exactly."""
    from myqasr.exporters.checks import float_rest_bytes

    return float_rest_bytes(model)


def read(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer of the file, in the order it runs; from the file alone."""
    _need_schema()
    from myqasr.exporters.tflite.reader import read_layers

    return read_layers(path)


def write(
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
    target: str,
    menu: Callable[[LayerShape], tuple[QuantSpec, ...]],
    fully_connected_version: int,
    *,
    looks_up_codes: bool,
) -> tuple[str, ...]:
    """Write the .tflite, whole or not at all; returns layer names in the order the program runs them.

    fully_connected_version: stamped on every fully connected operator, so that older runtimes refuse.
    looks_up_codes: whether the runtime reads rows of a token embedding's codes.
    Signature `forward`: float32 [1, samples] of any length to logits float32 [1, frames, vocab]. Models that
    write token by token have `encode` and `decode` instead, inputs and results named as in
    `exporters.graph.methods`, ids and positions int32.
    Raises UserError when codes and model don't fit, or the model has an operator that TFLite doesn't.
    """
    _need_schema()
    from myqasr.core.placing import write_bytes
    from myqasr.exporters.checks import check_layers, check_menu
    from myqasr.exporters.graph.float_program import float_programs, weight_nodes
    from myqasr.exporters.graph.methods import methods
    from myqasr.exporters.tflite.file import FileWriter, GraphWriter
    from myqasr.exporters.tflite.graph import GraphTranslator
    from myqasr.exporters.tflite.layers import Layer, LayerWriter
    from myqasr.exporters.tflite.operators import HANDLERS

    check_layers(model, codes)
    check_menu(model, codes, menu, target)
    modules = model.layers()
    signatures = methods(model, options)
    programs = float_programs(model, options)
    nodes = weight_nodes(programs, model)
    lengths = _lengths(programs, options)
    file = FileWriter(lengths)
    order: list[str] = []
    for name in sorted(programs):  # `decode` first: interpreters reach into the first one's memory
        program = programs[name]
        layers = {
            node: Layer(layer, modules[layer], codes[layer])
            for layer, (owner, node) in nodes.items()
            if owner is program
        }
        graph = GraphWriter(file, name)
        translator = GraphTranslator(
            graph,
            program,
            layers,
            LayerWriter(graph, fully_connected_version, looks_up_codes),
        )
        translator.run(HANDLERS)
        order += translator.order
        graph.finish(tuple(signatures[name].inputs), signatures[name].outputs)
    file.add_metadata(METADATA, _about(model, codes, target))
    write_bytes(path, file.packed())
    return tuple(order)


def _need_schema() -> None:
    """Raise NotInstalledError saying what to install where the schema of TFLite files is missing."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise NotInstalledError("TFLite files need ai-edge-litert", "pip install 'myqasr[tflite]'")


def _lengths(programs: Mapping[str, Any], options: ExportOptions) -> dict[Any, int]:
    """The length that a file states for every symbol: a second, where that is allowed."""
    lengths = {}
    for program in programs.values():
        for symbol, limits in program.range_constraints.items():
            low, high = int(limits.lower), int(limits.upper)
            lengths[symbol] = min(max(USUAL_SAMPLES, low), high)
    return lengths


def _about(model: "SpeechModel", codes: "dict[str, LayerCodes]", target: str) -> str:
    from myqasr.core.storage import record_hash

    precisions = {name: layer.spec.label for name, layer in codes.items()}
    return f"target={target} model={model.model_id} precisions={record_hash(precisions)}"
