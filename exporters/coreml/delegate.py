"""A Core ML package as an ExecuTorch program: each method one call of the delegate that holds the package.

ExecuTorch's own partitioner converts and compresses graphs itself. Here the package that was made and checked
is placed where its delegate looks for one; the traced float graph only gives the shapes of inputs and
outputs, whose lengths stay dynamic up to the longest.
"""

import copy
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executorch.exir import EdgeCompileConfig, EdgeProgramManager
from executorch.exir._serialize._named_data_store import NamedDataStore, NamedDataStoreOutput
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.delegate import executorch_call_delegate
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.utils._pytree import tree_structure

from myqasr.core.children import scratch_folder
from myqasr.core.errors import UserError
from myqasr.core.storage import sha256_of
from myqasr.exporters.coreml.files import (
    BACKEND,
    METADATA,
    PACKAGE,
    metadata_for,
    package_files,
    reference_to,
)
from myqasr.exporters.coreml.inmemory_files import flattened
from myqasr.exporters.coreml.mlpackage import read_programs
from myqasr.exporters.coreml.write import FUNCTIONS, write_package
from myqasr.exporters.executorch.edge_program import edge_programs
from myqasr.exporters.executorch.lowering import save
from myqasr.exporters.graph.float_program import quiet
from myqasr.exporters.target import ExportOptions
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.speech.models.base import SpeechModel

_ANY_UNIT = CompileSpec("compute_units", b"all")


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a method's delegate call holds. shared: what several of them hold together, by name."""

    data: bytes
    shared: NamedDataStoreOutput | None = None


def write_delegated(
    model: SpeechModel,
    codes: dict[str, LayerCodes],
    path: Path,
    options: ExportOptions,
    target: str,
) -> tuple[str, ...]:
    """Write the .pte, whole or not at all; returns layer names in the order the program runs them.

    Raises UserError when codes and model don't fit, or the model can't be converted or traced.
    """
    with scratch_folder("package") as folder:
        package = folder / PACKAGE
        order = write_package(model, codes, package, options, target)
        pieces = _pieces(package)
        programs = {
            name: _one_call(program, pieces[FUNCTIONS.get(name, name)])
            for name, program in edge_programs(model, options).items()
        }
        manager = EdgeProgramManager(programs, None, EdgeCompileConfig(_check_ir_validity=False))
        with quiet():
            lowered = manager.to_executorch()
        save(lowered, path)
        if package_files(path) != package_files(package):
            raise UserError(f"{path} doesn't hold the package that was put into it; report this")
    return order


def _pieces(package: Path) -> dict[str, _Piece]:
    """Of each function of a package, what its delegate call holds."""
    files = {f"{PACKAGE}/{name}": bytes(data) for name, data in package_files(package).items()}
    signatures = {
        name: (list(program.inputs), list(program.outputs))
        for name, program in read_programs(package).items()
    }
    # The same name would bring up the compiled model of another file.
    identifier = f"myqasr_{sha256_of(package)}"
    data = flattened({**files, METADATA: metadata_for(signatures, identifier)})
    if len(signatures) == 1:
        return {name: _Piece(data) for name in signatures}
    store = NamedDataStore()
    store.add_named_data(identifier, data)
    shared = store.get_named_data_store_output()
    return {name: _Piece(reference_to(identifier, name), shared) for name in signatures}


def _one_call(program: ExportedProgram, piece: _Piece) -> ExportedProgram:
    """A program with the inputs and outputs of this one that does nothing but call the delegate."""
    results: Any = program.graph.output_node().args[0]
    # A delegate's results are a tuple, even if there is just one.
    whole = copy.deepcopy(program.module_call_graph)
    whole[0].signature.out_spec = tree_structure(tuple(range(len(results))))
    program._module_call_graph = whole
    module = LoweredBackendModule(program, BACKEND, piece.data, [_ANY_UNIT], piece.shared)
    signature, graph = program.graph_signature, fx.Graph()
    taken = set(signature.user_inputs)
    inputs = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in taken:
            inputs.append(_like(node, graph.placeholder(node.name)))
    name = "lowered_module_0"
    call = graph.call_function(executorch_call_delegate, (graph.get_attr(name), *inputs))
    call.meta["val"] = [result.meta["val"] for result in results]
    outputs = [
        _like(result, graph.call_function(operator.getitem, (call, index)))
        for index, result in enumerate(results)
    ]
    graph.output(tuple(outputs))
    return ExportedProgram(
        root=fx.GraphModule({name: module}, graph),
        graph=graph,
        graph_signature=ExportGraphSignature(
            [_input(node) for node in inputs],
            [_output(node) for node in outputs],
        ),
        state_dict={},
        range_constraints=dict(program.range_constraints),
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants={},
        verifiers=program.verifiers,
    )


def _like(original: fx.Node, node: fx.Node) -> fx.Node:
    """The node, of the original's shape and type."""
    node.meta["val"] = original.meta["val"]
    return node


def _input(node: fx.Node) -> InputSpec:
    return InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), None)


def _output(node: fx.Node) -> OutputSpec:
    return OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), None)
