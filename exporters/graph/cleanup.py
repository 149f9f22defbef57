"""Make a decomposed graph simpler without changing a number, so that whole blocks go to one delegate.

Dropout, attention and its mask leave copies and reshapes that XNNPACK doesn't take when lengths vary;
each splits the delegated graph in two, which costs export time, file bytes and run time.

Copies are dropped whatever the strides before them: files hold contiguous tensors only, so that a view that
torch could only take of the copy reads the same numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import SymInt, Tensor, fx
from torch._ops import OpOverload
from torch.export import ExportedProgram

_COPIES = (
    "aten.clone.default",
    "aten.expand.default",
    "aten.slice.Tensor",
    "aten._to_copy.default",
)
_CHECKS_OF_TYPES = ("aten._assert_tensor_metadata.default",)
_VIEW = "aten.view.default"
_SAMPLES_TRIED = 3


def simplify(program: ExportedProgram, shortest: int, longest: int) -> None:
    """Edit the graph in place. shortest, longest: lengths of the input, samples."""
    graph = program.graph
    for node in _calls(graph, _CHECKS_OF_TYPES):
        graph.erase_node(node)
    for node in _calls(graph, _COPIES):
        _drop_copy(node)
    for node in _calls(graph, ("aten.add.Tensor",)):
        _drop_zero_mask(program, node, shortest, longest)
    for node in _calls(graph, (_VIEW,)):
        _infer_one_dimension(node)
    for node in _calls(graph, (_VIEW,)):
        _stay_without_batch(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _calls(graph: fx.Graph, names: Sequence[str]) -> Iterator[fx.Node]:
    for node in list(graph.nodes):
        if operator_name(node) in names:
            yield node


def operator_name(node: fx.Node) -> str:
    """What a node calls, in ATen and edge graphs alike: `aten.add.Tensor`, `getitem`; else nothing."""
    target = node.target
    if node.op != "call_function":
        return ""
    return str(target if isinstance(target, OpOverload) else getattr(target, "__name__", target))


def _is_scalar(argument: Any) -> bool:
    return not isinstance(argument, fx.Node) or argument.meta["val"].dim() == 0


def _shape(node: fx.Node) -> list[str]:
    """Sizes as text, so that equal symbolic sizes compare equal."""
    return [str(size) for size in node.meta["val"].shape]


def _drop_copy(node: fx.Node) -> None:
    """Remove a copy that keeps shape and type."""
    source = node.args[0]
    same = source.meta["val"].dtype == node.meta["val"].dtype
    if same and _shape(source) == _shape(node):
        node.replace_all_uses_with(source)
        node.graph.erase_node(node)


def _drop_zero_mask(program: ExportedProgram, node: fx.Node, shortest: int, longest: int) -> None:
    """Remove the addition of an attention mask that hides nothing.

    The mask must not depend on the audio, only on its length, and be zero at the shortest, a middle and
    the longest length.
    """
    value, mask = node.args[0], node.args[1]
    if not isinstance(mask, fx.Node) or _shape(value) != _shape(node):
        return
    if mask.op != "call_function" or not any("s" in size for size in _shape(mask)):
        return
    step = (longest - shortest) // (_SAMPLES_TRIED - 1)
    lengths = [shortest + index * step for index in range(_SAMPLES_TRIED)]
    if all(_is_zero(_evaluate(program, mask, length)) for length in lengths):
        node.replace_all_uses_with(value)
        node.graph.erase_node(node)


def _is_zero(value: Any) -> bool:
    return isinstance(value, Tensor) and not bool(value.any())


def _evaluate(program: ExportedProgram, node: fx.Node, samples: int) -> Any:
    """Value of a node for one input length; None when it depends on what the input holds."""
    signature = program.graph_signature
    constants = {**signature.inputs_to_lifted_tensor_constants, **signature.inputs_to_buffers}
    held = {**program.constants, **program.state_dict}
    known: dict[fx.Node, Any] = {}
    pending = [node]
    while pending:
        current = pending[-1]
        if current in known:
            pending.pop()
            continue
        if current.op == "placeholder":
            if current.name not in constants:
                return None
            known[current] = held[constants[current.name]]
            continue
        size = current.meta.get("val")
        if isinstance(size, SymInt):
            expression = size.node.expr
            known[current] = int(expression.subs(dict.fromkeys(expression.free_symbols, samples)))
            continue
        missing = [source for source in current.all_input_nodes if source not in known]
        if missing:
            pending += missing
            continue
        args = fx.map_arg(current.args, known.__getitem__)
        options = fx.map_arg(current.kwargs, known.__getitem__)
        known[current] = current.target(*args, **options)  # type: ignore[operator]
    return known[node]


def _infer_one_dimension(node: fx.Node) -> None:
    """Write a reshape with at most one varying size as numbers and one -1."""
    sizes = node.meta["val"].shape
    if sum(not isinstance(size, int) for size in sizes) <= 1:
        written = [size if isinstance(size, int) else -1 for size in sizes]
        node.args = (node.args[0], written)


def _stay_without_batch(node: fx.Node) -> None:
    """Skip `[heads, frames, frames] -> [1, heads, frames, frames]` and back around scale and softmax."""
    source = node.args[0]
    if _shape(node) != ["1", *_shape(source)]:
        return
    chain: list[fx.Node] = []
    current = node
    while len(current.users) == 1:
        (user,) = current.users
        if operator_name(user) == _VIEW:
            break
        name = operator_name(user)
        scaled = name == "aten.mul.Tensor" and _is_scalar(user.args[1])
        if not scaled and not (name == "aten._softmax.default" and user.args[1] == -1):
            return
        chain.append(user)
        current = user
    else:
        return
    if not chain or _shape(user) != _shape(source):
        return
    node.replace_all_uses_with(source)
    for link in chain:
        link.meta = {**link.meta, "val": link.meta["val"][0]}
    user.replace_all_uses_with(current)
