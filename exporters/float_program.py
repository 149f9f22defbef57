"""The float model as an edge-dialect graph: traced once per model and length range, shared by all plans.

Tracing and decomposing are most of an export's time and don't depend on the plan, so the graph is kept
for as long as the model lives; a plan gets a copy of the graph that shares the weights.
"""

import contextlib
import logging
import warnings
import weakref
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram

from exporters.graph_cleanup import simplify
from exporters.target import ExportOptions
from speech.errors import UserError
from speech.models.base import SpeechModel

_CACHE: "weakref.WeakKeyDictionary[nn.Module, dict[ExportOptions, ExportedProgram]]" = (
    weakref.WeakKeyDictionary()
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the warnings that torch and ExecuTorch give on every export; errors still raise."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def float_program(model: SpeechModel, options: ExportOptions) -> ExportedProgram:
    """A fresh copy of the model's edge graph; weights are shared with `model.module`.

    Input [1, samples], output [1, frames, vocab], both float32. Linear and convolution nodes are whole.
    Raises UserError when the lengths make no sense or the model can't take all of them.
    """
    by_options = _CACHE.setdefault(model.module, {})
    if options not in by_options:
        edge = _edge(_trace(model, options))
        simplify(edge, model.min_samples + model.stride_samples, options.max_samples)
        by_options[options] = edge
    return _copy(by_options[options])


def weight_nodes(program: ExportedProgram, model: SpeechModel) -> dict[str, fx.Node]:
    """The node that computes each layer, by layer name, in graph order.

    Raises UserError when a layer of the model is not in the graph, or runs more than once.
    """
    signature = program.graph_signature
    # A weight whose norm was folded is a buffer.
    parameters = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    wanted = {f"{model.layer_prefix}{name}.weight": name for name in model.layers()}
    found: dict[str, fx.Node] = {}
    for node in program.graph.nodes:
        if node.op != "call_function" or not _is_layer(node):
            continue
        weight = node.args[1]
        name = wanted.get(parameters.get(getattr(weight, "name", ""), ""))
        if name is None:
            continue
        if name in found:
            raise UserError(
                f"{model.model_id}: layer {name} runs twice; shared layers can't be exported"
            )
        found[name] = node
    missing = set(wanted.values()) - set(found)
    if missing:
        raise UserError(
            f"{model.model_id}: the forward pass never runs {', '.join(sorted(missing)[:3])}; "
            "remove unused layers from the model"
        )
    return found


def _is_layer(node: fx.Node) -> bool:
    name = getattr(node.target, "__name__", "")
    return name in ("aten.linear.default", "aten.convolution.default")


def _trace(model: SpeechModel, options: ExportOptions) -> ExportedProgram:
    """Export with a dynamic number of samples."""
    # A single frame would be specialised away; from two frames on the graph is general, and the
    # runtime takes one frame too.
    shortest = max(options.min_samples, model.min_samples + model.stride_samples)
    if options.max_samples <= shortest:
        raise UserError(
            f"a longest input of {options.max_samples:,} samples is too short for {model.model_id}; "
            f"allow more than {shortest:,}"
        )
    samples = Dim("samples", min=shortest, max=options.max_samples)
    example = torch.zeros(1, options.max_samples)
    # oneDNN's choice of kernel depends on the length; traced with it, the file silently refuses long
    # inputs. The trace computes nothing, so nothing is lost without it.
    with quiet(), torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        program = torch.export.export(
            model.module,
            (example,),
            dynamic_shapes=({1: samples},),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    for limits in program.range_constraints.values():
        if int(limits.upper) < options.max_samples:
            raise UserError(
                f"{model.model_id} can only be exported for inputs up to {int(limits.upper):,} samples; "
                f"{options.max_samples:,} were asked for"
            )
    return program


def _edge(program: ExportedProgram) -> ExportedProgram:
    """To core ATen operators, but with `linear` kept whole."""
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    config = EdgeCompileConfig(
        _check_ir_validity=False, preserve_ops=[torch.ops.aten.linear.default]
    )
    with quiet():
        edge = to_edge_transform_and_lower(program, compile_config=config).exported_program()
    return edge


def _copy(program: ExportedProgram) -> ExportedProgram:
    """Own graph and signature, shared tensors."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    output = graph.graph_copy(program.graph, copies)
    graph.output(output)
    for original, node in copies.items():
        node.meta = dict(original.meta)
    original_output = program.graph.output_node()
    graph.output_node().meta = dict(original_output.meta)
    return ExportedProgram(
        root=fx.GraphModule(program.graph_module, graph),
        graph=graph,
        graph_signature=_copy_signature(program),
        state_dict=dict(program.state_dict),
        range_constraints=dict(program.range_constraints),
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=dict(program.constants),
        verifiers=program.verifiers,
    )


def _copy_signature(program: ExportedProgram):  # type: ignore[no-untyped-def]
    signature = program.graph_signature
    return type(signature)(list(signature.input_specs), list(signature.output_specs))
