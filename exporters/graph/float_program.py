"""The float model as graphs of core ATen operators: traced once per model and lengths, shared by all plans.

Tracing and decomposing are most of an export's time and don't depend on the plan, so the graph is kept
for as long as the model lives; a plan gets a copy of the graph that shares the weights.
"""

import contextlib
import io
import logging
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import ExportGraphSignature

from myqasr.core.errors import UserError
from myqasr.exporters.graph.cleanup import operator_name, simplify
from myqasr.exporters.graph.decompose import decomposed
from myqasr.exporters.graph.methods import Method, Part, methods
from myqasr.exporters.target import ExportOptions
from myqasr.speech.models.base import SpeechModel

_CACHE: "weakref.WeakKeyDictionary[nn.Module, dict[ExportOptions, dict[str, ExportedProgram]]]" = (
    weakref.WeakKeyDictionary()
)

WEIGHT_ARGUMENT = {
    "aten.linear.default": 1,
    "aten.convolution.default": 1,
    "aten.embedding.default": 0,
}
"""Node that can be a layer -> which of its arguments is the weight."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what torch, ExecuTorch and coremltools print on every export; errors still raise."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def float_programs(model: SpeechModel, options: ExportOptions) -> dict[str, ExportedProgram]:
    """Fresh copies of the graphs of the model's methods; weights are shared with `model.module`.

    Inputs and outputs are those of the methods, logits float32. Linear, convolution and embedding nodes are
    whole. Raises UserError when the lengths make no sense or the model can't take all of them.
    """
    by_options = _CACHE.setdefault(model.module, {})
    if options not in by_options:
        programs = {}
        for name, method in methods(model, options).items():
            with quiet():
                program = decomposed(trace(model.model_id, method))
            simplify(program, *(method.varying or (1, 1)))
            _name_as_in_model(method.module, program)
            programs[name] = program
        by_options[options] = programs
    return {name: copy_of(program) for name, program in by_options[options].items()}


def weight_nodes(
    programs: Mapping[str, ExportedProgram], model: SpeechModel
) -> dict[str, tuple[ExportedProgram, fx.Node]]:
    """The node that computes each layer and its program, by layer name, in the order of the graphs.

    Raises UserError when a layer of the model is in no graph, or runs more than once.
    """
    wanted = {f"{model.layer_prefix}{name}.weight": name for name in model.layers()}
    found: dict[str, tuple[ExportedProgram, fx.Node]] = {}
    for program in programs.values():
        signature = program.graph_signature
        # A weight whose norm was folded is a buffer.
        parameters = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        for node in program.graph.nodes:
            weight = weight_of(node)
            name = wanted.get(parameters.get(getattr(weight, "name", ""), ""))
            if name is None:
                continue
            if name in found:
                raise UserError(
                    f"{model.model_id}: layer {name} runs twice; shared layers can't be exported"
                )
            found[name] = (program, node)
    missing = set(wanted.values()) - set(found)
    if missing:
        raise UserError(
            f"{model.model_id}: the forward pass never runs {', '.join(sorted(missing)[:3])}; "
            "remove unused layers from the model"
        )
    return found


def weight_of(node: fx.Node) -> Any:
    """The argument that holds the weight of a linear, convolution or embedding node; None for others."""
    place = WEIGHT_ARGUMENT.get(operator_name(node))
    return None if place is None else node.args[place]


def _name_as_in_model(part: nn.Module, program: ExportedProgram) -> None:
    """Call the parameters of a traced part what the model calls them."""
    prefix = "whole." if isinstance(part, Part) else ""
    signature = program.graph_signature
    specs = [
        replace(spec, target=spec.target.removeprefix(prefix)) if spec.target else spec
        for spec in signature.input_specs
    ]
    program._graph_signature = ExportGraphSignature(specs, list(signature.output_specs))
    program._state_dict = {
        name.removeprefix(prefix): tensor for name, tensor in program.state_dict.items()
    }


def trace(model_id: str, method: Method) -> ExportedProgram:
    """A method as torch draws it, not decomposed; the length of its first input varies where it may.

    Raises UserError when the model can't take all of the lengths.
    """
    shapes: list[dict[int, Dim] | None] = [None for _ in method.example]
    if method.varying is not None:
        shapes[0] = {1: Dim("length", min=method.varying[0], max=method.varying[1])}
    # oneDNN's choice of kernel depends on the length; traced with it, the file silently refuses long
    # inputs. The trace computes nothing, so nothing is lost without it.
    with quiet(), torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        program = torch.export.export(
            method.module,
            method.example,
            dynamic_shapes=(tuple(shapes),) if isinstance(method.module, Part) else tuple(shapes),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    for limits in program.range_constraints.values():
        if method.varying is not None and int(limits.upper) < method.varying[1]:
            raise UserError(
                f"{model_id} can only be exported for inputs up to {int(limits.upper):,}; "
                f"{method.varying[1]:,} were asked for"
            )
    return program


def copy_of(program: ExportedProgram) -> ExportedProgram:
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
