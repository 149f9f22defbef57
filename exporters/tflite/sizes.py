"""Sizes and constants as the nodes of a graph name them."""

from collections.abc import Sequence
from typing import Any

import sympy
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from myqasr.core.errors import UserError
from myqasr.exporters.tflite.file import Size

_TO_THE_END = 2**62


def times_of(length: Size, known: Size) -> tuple[int | None, int]:
    """How often `known` goes into `length`, once or twice, and what is left; None when neither fits."""
    for times in (1, 2):
        rest = sympy.expand(length - times * known)
        if rest.is_Integer:
            return times, int(rest)
    return None, 0


def broadcast(left: Sequence[Size], right: Sequence[Size]) -> list[Size]:
    """Shape of an element-wise result."""
    longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
    padded = [1] * (len(longer) - len(shorter)) + list(shorter)
    return [b if a == 1 else a for a, b in zip(longer, padded, strict=True)]


def is_number(node: fx.Node) -> bool:
    """Whether a node stands for a size, a condition or a check, not for a tensor."""
    value = node.meta.get("val")
    return node.op == "call_function" and (
        value is None or isinstance(value, int | float | bool | torch.SymInt | torch.SymBool)
    )


def size_of(argument: Any) -> Size:
    """A size in the arguments of a node: a number, or an expression of the input's length."""
    value = argument.meta["val"] if isinstance(argument, fx.Node) else argument
    if isinstance(value, torch.SymInt):
        expression: sympy.Expr = value.node.expr
        return int(expression) if expression.is_Integer else expression
    return int(value)


def sizes(fake: Tensor) -> list[Size]:
    """Shape of a traced tensor."""
    return [size_of(size) for size in fake.shape]


def end_of(argument: Any, size: Size) -> int | None:
    """The end of a slice of a dimension of this size: negative where it is told from the end."""
    end = size_of(argument)
    if isinstance(end, int) and (end >= _TO_THE_END or (isinstance(size, int) and end >= size)):
        return None
    if isinstance(end, int):
        return end
    rest = sympy.expand(end - size)
    if rest.is_Integer and rest <= 0:
        return int(rest) or None
    raise UserError(f"TFLite files can't cut {size} off at {end}")


def constant_of(program: ExportedProgram, node: fx.Node) -> Tensor:
    """The tensor behind a parameter, buffer or lifted constant."""
    signature = program.graph_signature
    parameters = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    if node.name in parameters:
        held: Tensor = program.state_dict.get(
            parameters[node.name], program.constants.get(parameters[node.name])
        )
        return held
    lifted: Tensor = program.constants[signature.inputs_to_lifted_tensor_constants[node.name]]
    return lifted
