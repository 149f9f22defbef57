"""From a traced graph to one of core ATen operators, with `linear` kept whole.

torch's own `run_decompositions` walks the graph twice, once only to see what it writes in place, and wraps
each tensor so that nothing is. Speech models write nothing in place, so one plain walk does, in a third of
the time.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import fx
from torch._decomp import get_decompositions
from torch._dispatch.python import enable_python_dispatcher
from torch._ops import OpOverload
from torch._subclasses import FakeTensor
from torch.export import ExportedProgram, default_decompositions
from torch.export.exported_program import (
    _override_composite_implicit_decomp,
    _split_decomp_table_to_cia_and_python_decomp,
)
from torch.export.graph_signature import ExportGraphSignature, TensorArgument
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.runtime_assert import insert_deferred_runtime_asserts


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """The same program in core ATen operators and `linear`; inputs and weights keep their names."""
    if any(_writes_in_place(node) for node in program.graph.nodes):
        program = program.run_decompositions({})
    graph = _retraced(program).graph
    new, old = (each.find_nodes(op="placeholder") for each in (graph, program.graph))
    for node, original in zip(new, old, strict=True):
        node.name = node.target = original.name
        node.meta = dict(original.meta)
    graph.eliminate_dead_code()
    signature = program.graph_signature
    results: Any = graph.output_node().args[0]
    outputs = [
        replace(spec, arg=TensorArgument(result.name))
        for spec, result in zip(signature.output_specs, results, strict=True)
    ]
    return ExportedProgram(
        root=fx.GraphModule(program.graph_module, graph),
        graph=graph,
        graph_signature=ExportGraphSignature(list(signature.input_specs), outputs),
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
    )


def _retraced(program: ExportedProgram) -> fx.GraphModule:
    inputs = [node.meta["val"] for node in program.graph.find_nodes(op="placeholder")]
    mode: Any = next(value.fake_mode for value in inputs if isinstance(value, FakeTensor))
    table = default_decompositions()
    table.update(get_decompositions([torch.ops.aten.linalg_vector_norm.default]))
    table.pop(torch.ops.aten.linear.default)
    tables: Any = _split_decomp_table_to_cia_and_python_decomp(table)
    composite, others = tables

    def run(*values: Any) -> Any:
        return fx.Interpreter(program.graph_module).run(*values, enable_io_processing=False)

    with (
        mode,
        enable_python_dispatcher(),
        _override_composite_implicit_decomp(composite),
        torch.no_grad(),
        fx.traceback.preserve_node_meta(),  # ExecuTorch wants to know where nodes come from
    ):
        module = make_fx(run, decomposition_table=others)(*inputs)
    # Sizes then come from the input's, not from tensors on the way, which a delegate would have to hand out.
    insert_deferred_runtime_asserts(module, mode.shape_env, "decomposed", export=True)
    return module


def _writes_in_place(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable
