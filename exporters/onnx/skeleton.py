"""The float model as ONNX graphs without the layers' weights: made once per model and lengths.

torch's own exporter draws the graph; linear layers become one `Einsum` each, so that their weights stay whole
and keep their names. What a plan puts in place of a layer is in `exporters.onnx.layers`.
"""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn
from torch.export import ExportedProgram

from myqasr.core.errors import UserError
from myqasr.exporters.checks import fits_half
from myqasr.exporters.graph.float_program import quiet, trace
from myqasr.exporters.graph.methods import Method, Part, methods
from myqasr.exporters.target import ExportOptions
from myqasr.speech.models.base import SpeechModel

OPSET = 21
IR_VERSION = 10
"""What ONNX 1.16 has, as that set of operators."""
_LINEAR = "...k,nk->...n"
_LAYERS = {"Einsum": 1, "Conv": 1, "Gather": 0}
"""Operator that can be a layer -> which of its inputs is the weight."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """One graph. layers: place of a layer's node in it -> the layer's name, in the order they run."""

    model: ModelProto
    layers: dict[int, str]


_CACHE: "weakref.WeakKeyDictionary[nn.Module, dict[ExportOptions, dict[str, Skeleton]]]" = (
    weakref.WeakKeyDictionary()
)


def skeletons(model: SpeechModel, options: ExportOptions) -> dict[str, Skeleton]:
    """The graph of each method by name; shared, to be copied by who changes it.

    Raises UserError when the lengths make no sense, or a layer is in no graph or runs more than once.
    """
    by_options = _CACHE.setdefault(model.module, {})
    if options not in by_options:
        wanted = {f"{model.layer_prefix}{name}.weight": name for name in model.layers()}
        drawn = {
            name: _skeleton(model.model_id, method, wanted)
            for name, method in methods(model, options).items()
        }
        _check_all(model, [name for each in drawn.values() for name in each.layers.values()])
        by_options[options] = drawn
    return by_options[options]


def _skeleton(model_id: str, method: Method, wanted: dict[str, str]) -> Skeleton:
    proto = _drawn(trace(model_id, method), method)
    graph = proto.graph
    _rename(proto, "whole." if isinstance(method.module, Part) else "")
    layers = {}
    for place, node in enumerate(graph.node):
        weight = _LAYERS.get(node.op_type)
        if weight is not None and node.input[weight] in wanted:
            layers[place] = wanted[node.input[weight]]
    held = [each for each in graph.initializer if each.name not in wanted]
    stored, casts = _halved(held)
    shift = len(casts)
    nodes = [*casts, *graph.node]
    for field, values in (("initializer", stored), ("node", nodes)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    return Skeleton(proto, {place + shift: name for place, name in layers.items()})


def _drawn(program: ExportedProgram, method: Method) -> ModelProto:
    """torch's ONNX of a traced program, without what it notes of where nodes come from."""
    from onnxscript import opset21

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        product = opset21.Einsum(x, weight, equation=_LINEAR)
        return product if bias is None else opset21.Add(product, bias)

    for node in program.graph.nodes:
        # torch's exporter can't do without what this operator's default is.
        if node.target is torch.ops.aten.amax.default and len(node.args) == 1:
            node.args = (*node.args, list(range(node.args[0].meta["val"].dim())))
    with quiet():
        drawn = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            optimize=True,
            opset_version=OPSET,
            input_names=list(method.inputs),
            output_names=list(method.outputs),
            custom_translation_table={torch.ops.aten.linear.default: linear},
        )
    if drawn is None:
        raise RuntimeError("torch's exporter gave nothing")
    return _plain(drawn.model_proto)


def _plain(source: ModelProto) -> ModelProto:
    graph = source.graph
    for each in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    for node in graph.node:
        node.ClearField("name")
    for value, size in ((graph.input[0], "samples"), (graph.output[0], "frames")):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.WhichOneof("value") != "dim_value":
                dimension.dim_param = size
    graph.ClearField("value_info")
    graph.name = "myqasr"
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="myqasr",
    )


def _rename(proto: ModelProto, prefix: str) -> None:
    """Call constants what the model calls them."""
    for tensor in proto.graph.initializer:
        tensor.name = tensor.name.removeprefix(prefix)
    for node in proto.graph.node:
        node.input[:] = [name.removeprefix(prefix) for name in node.input]


def _halved(tensors: Iterable[TensorProto]) -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    """Large constants that float16 holds exactly, stored so, and what makes them float32 when loaded."""
    stored, casts = [], []
    for tensor in tensors:
        values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        if fits_half(values):
            name = f"{tensor.name}:half"
            stored.append(numpy_helper.from_array(values.half().numpy(), name))
            casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
        else:
            stored.append(tensor)
    return stored, casts


def _check_all(model: SpeechModel, found: list[str]) -> None:
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise UserError(
            f"{model.model_id}: layer {twice[0]} runs twice; shared layers can't be exported"
        )
    missing = set(model.layers()) - set(found)
    if missing:
        raise UserError(
            f"{model.model_id}: the forward pass never runs {', '.join(sorted(missing)[:3])}; "
            "remove unused layers from the model"
        )
