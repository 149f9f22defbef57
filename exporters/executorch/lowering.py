"""From a float graph and codes to a program in memory, with the order in which its layers run."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from executorch.exir import (
    EdgeCompileConfig,
    EdgeProgramManager,
    ExecutorchBackendConfig,
    ExecutorchProgramManager,
)
from executorch.exir.passes import MemoryPlanningPass
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, OutputSpec, TensorArgument

from myqasr.core.errors import UserError
from myqasr.core.placing import replacing
from myqasr.exporters.checks import check_layers
from myqasr.exporters.executorch.edge_program import edge_programs
from myqasr.exporters.executorch.halves import halve_constants
from myqasr.exporters.executorch.one_copy import one_copy
from myqasr.exporters.graph.float_program import quiet, weight_nodes, weight_of
from myqasr.exporters.graph.layers import (
    EMBEDDING_4BIT,
    EMBEDDING_4BIT_TO,
    EMBEDDING_BYTE,
    LayerEditor,
    Rewrite,
)
from myqasr.exporters.graph.windows import drop_transposes
from myqasr.exporters.target import ExportOptions
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import has_rows, kind_of
from myqasr.speech.models.base import SpeechModel, TokenEmbedding


@dataclass(frozen=True, slots=True)
class PlannedProgram:
    """The model's graphs at the planned precisions, before any backend sees them.

    programs: one for each method of the file. weight_constants: name of the constant that holds a layer's
    weight (or codes) -> layer name.
    """

    programs: dict[str, ExportedProgram]
    weight_constants: dict[str, str]


def planned_program(
    model: SpeechModel,
    codes: dict[str, LayerCodes],
    options: ExportOptions,
    rewrites: Mapping[str, Rewrite],
) -> PlannedProgram:
    """Rewrite every layer as its spec says.

    rewrites: `rewrite_key` -> how; fp32 layers stay as they are.
    Raises UserError when `codes` and the model don't name the same layers.
    """
    check_layers(model, codes)
    modules = model.layers()
    programs = edge_programs(model, options)
    constants = {}
    found = weight_nodes(programs, model)
    weights = {_constant_of(program, weight_of(node)) for program, node in found.values()}
    for program in programs.values():
        halve_constants(program, weights)
    for index, (name, (program, node)) in enumerate(found.items()):
        layer = codes[name]
        rewrite = rewrites.get(rewrite_key(modules[name], layer))
        if rewrite is None:
            constants[_constant_of(program, weight_of(node))] = name
        else:
            prefix = f"layer{index}"
            rewrite(LayerEditor(program, node, prefix), layer)
            constants.update({f"{prefix}_{what}": name for what in ("codes", "weight", "windows")})
    for program in programs.values():
        drop_transposes(program)
        _follow_outputs(program)
        program.graph.lint()
        program.graph_module.recompile()
    return PlannedProgram(programs, constants)


def rewrite_key(module: torch.nn.Module, layer: LayerCodes) -> str:
    """Key into a target's table of rewrites, e.g. `linear int8-dynamic 4`, `windows float 32`."""
    windowed = "windows" if has_rows(module) else "conv1d"
    kind = "linear" if isinstance(module, torch.nn.Linear) else windowed
    if isinstance(module, torch.nn.Conv2d | TokenEmbedding):
        kind = kind_of(module)
    return f"{kind} {layer.spec.activation} {layer.spec.bits}"


def to_executorch(
    planned: PlannedProgram, partitioner: Any | None
) -> tuple[ExecutorchProgramManager, tuple[str, ...]]:
    """Lower to a backend (None: ExecuTorch's own kernels); layer names in the order they run.

    Methods are taken in the order of their names.
    """
    manager = EdgeProgramManager(
        planned.programs, None, EdgeCompileConfig(_check_ir_validity=False)
    )
    with quiet():
        if partitioner is not None:
            manager = manager.to_backend(partitioner)
        order = tuple(
            name
            for method in sorted(planned.programs)
            for name in layer_order(manager.exported_program(method), planned.weight_constants)
        )
        missing = set(planned.weight_constants.values()) - set(order)
        if missing:
            raise UserError(f"lowering lost {len(missing)} layers, e.g. {min(missing)}")
        # Inputs are read where the caller has them: a step of a decoder takes megabytes of them.
        planning = MemoryPlanningPass(alloc_graph_input=False)
        config = ExecutorchBackendConfig(memory_planning_pass=planning)
        return manager.to_executorch(config), order


def layer_order(program: ExportedProgram, weight_constants: dict[str, str]) -> tuple[str, ...]:
    """Layer names as the lowered program reaches them, delegated graphs walked where they are called."""
    names: list[str] = []
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        if "executorch_call_delegate" in str(node.target):
            lowered = getattr(program.graph_module, node.args[0].target)
            names += layer_order(lowered.original_module, weight_constants)
            continue
        weight = _embedded_codes(program, node) or weight_of(node)
        if weight is not None:
            constant = _constant_of(program, _behind_dequantise(weight))
            if constant in weight_constants:
                names.append(weight_constants[constant])
    return tuple(names)


def save(manager: ExecutorchProgramManager, path: Path) -> None:
    """Write the program, whole or not at all, what is in it twice once."""
    with replacing(path) as temporary:
        temporary.write_bytes(one_copy(manager.buffer))


def _embedded_codes(program: ExportedProgram, node: fx.Node) -> fx.Node | None:
    """Codes of a quantised embedding; None where the kernel expands a weight, all of its rows."""
    if node.target not in (EMBEDDING_BYTE, EMBEDDING_4BIT, EMBEDDING_4BIT_TO):
        return None
    codes: Any = node.args[0]
    ids: Any = node.args[5]
    return None if ids.name in program.graph_signature.inputs_to_buffers else codes


def _behind_dequantise(node: fx.Node) -> fx.Node:
    while node.op == "call_function" and node.target is not operator.getitem:
        node = node.args[0]
    return node


def _constant_of(program: ExportedProgram, node: fx.Node) -> str:
    """State-dict key of a parameter or buffer placeholder."""
    signature = program.graph_signature
    parameters, buffers = signature.inputs_to_parameters, signature.inputs_to_buffers
    return parameters.get(node.name) or buffers.get(node.name) or node.name


def _follow_outputs(program: ExportedProgram) -> None:
    """Name the graph's present results in the signature; rewriting the last layer changes them."""
    results = program.graph.output_node().args[0]
    signature = program.graph_signature
    program._graph_signature = ExportGraphSignature(
        list(signature.input_specs),
        [
            OutputSpec(spec.kind, TensorArgument(result.name), spec.target)
            for spec, result in zip(signature.output_specs, results, strict=True)
        ],
    )
