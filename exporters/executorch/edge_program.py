"""The float model in the edge dialect, ExecuTorch's form of a graph, from the graphs that all targets share.

ExecuTorch's own way there decomposes the graph twice and then traces it anew for every pass; the passes
are the same here, but run in one tracing.
"""

import weakref

import torch
from executorch.exir import EdgeCompileConfig
from executorch.exir.passes import DebugHandleGeneratorPass
from executorch.exir.passes.memory_format_ops_pass import MemoryFormatOpsPass
from executorch.exir.passes.normalize_transpose_pass import NormalizeTransposePass
from executorch.exir.passes.remove_mixed_type_operators import RemoveMixedTypeOperators
from executorch.exir.passes.remove_unused_parameters_pass import remove_unused_parameters_pass
from executorch.exir.passes.replace_aten_with_edge_pass import OpReplacePass
from executorch.exir.passes.replace_broken_ops_with_function_ops_pass import (
    ReplaceBrokenOpsWithFunctionalOpsPass,
)
from executorch.exir.passes.replace_sym_size_op_pass import ReplaceSymSizeOpPass
from executorch.exir.passes.scalar_to_tensor_pass import ScalarToTensorPass
from executorch.exir.passes.sym_to_tensor_pass import SymToTensorPass
from executorch.exir.program._program import (
    _get_updated_graph_signature,
    lift_constant_tensor_pass,
)
from executorch.exir.verification.verifier import EXIREdgeDialectVerifier
from torch import nn
from torch.export import ExportedProgram

from myqasr.exporters.graph.float_program import copy_of, float_programs, quiet
from myqasr.exporters.target import ExportOptions
from myqasr.speech.models.base import SpeechModel

CONFIG = EdgeCompileConfig(_check_ir_validity=False, preserve_ops=[torch.ops.aten.linear.default])

_CACHE: "weakref.WeakKeyDictionary[nn.Module, dict[ExportOptions, dict[str, ExportedProgram]]]" = (
    weakref.WeakKeyDictionary()
)


class _ToEdge(
    NormalizeTransposePass,
    ReplaceBrokenOpsWithFunctionalOpsPass,
    ScalarToTensorPass,
    SymToTensorPass,
    RemoveMixedTypeOperators,
    OpReplacePass,
    MemoryFormatOpsPass,
):
    """Each hands an operator on to the next, in the order in which ExecuTorch runs them."""


def edge_programs(model: SpeechModel, options: ExportOptions) -> dict[str, ExportedProgram]:
    """As `float_programs`, in the edge dialect."""
    by_options = _CACHE.setdefault(model.module, {})
    if options not in by_options:
        programs = float_programs(model, options)
        by_options[options] = {name: _edge(program) for name, program in programs.items()}
    return {name: copy_of(program) for name, program in by_options[options].items()}


def _edge(program: ExportedProgram) -> ExportedProgram:
    program = remove_unused_parameters_pass(program)
    module = program.graph_module
    with quiet():
        for each in (ReplaceSymSizeOpPass(), _ToEdge()):
            module = each(module).graph_module
    edge = ExportedProgram(
        root=module,
        graph=module.graph,
        graph_signature=_get_updated_graph_signature(program.graph_signature, module),
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
        # `preserve_ops` stays in the configuration: the verifier extends a list given here in place.
        verifiers=[EXIREdgeDialectVerifier(edge_compile_config=CONFIG, class_only=True)],
    )
    lift_constant_tensor_pass(edge)
    edge.graph.eliminate_dead_code()
    DebugHandleGeneratorPass()(edge.graph_module)
    return edge
