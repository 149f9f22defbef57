"""The float model as a Core ML program: traced and converted once per model and length range.

Constants are float16, as Core ML's fast units compute in it, with two exceptions that stay float32: what no
learned parameter reaches (log-mel front ends, whose energies overflow float16, and positions), and
layers that a plan wants in float32.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.frontend.torch import ops as torch_ops
from torch import nn

from myqasr.core.errors import UserError
from myqasr.exporters.graph.float_program import quiet
from myqasr.exporters.graph.methods import Method, Part, methods
from myqasr.exporters.target import ExportOptions
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.speech.models.base import SpeechModel

MERGING_PASSES = {
    "common::const_deduplication",  # equal weights of two layers would become one
    "common::fuse_conv_scale",  # these change weights
    "common::fuse_conv_batchnorm",
    "common::fuse_elementwise_to_batchnorm",
}
"""Passes of coremltools after which a constant is no longer one layer's weight, unchanged."""

DEPLOYMENT = {
    "coreml": ct.target.iOS18,
    "coreml-ios16": ct.target.iOS16,
    "coreml-pte": ct.target.iOS18,
}

_CACHE: "weakref.WeakKeyDictionary[nn.Module, dict[Any, dict[str, ct.models.MLModel]]]" = (
    weakref.WeakKeyDictionary()
)


def float_packages(
    model: SpeechModel, options: ExportOptions, target: str, wide: frozenset[str]
) -> dict[str, ct.models.MLModel]:
    """Each of the model's methods as a Core ML model in memory, weights in float16.

    wide: layers that stay in float32. Raises UserError when coremltools can't convert the model.
    """
    by_choice = _CACHE.setdefault(model.module, {})
    key = (options, DEPLOYMENT[target], wide)
    if key not in by_choice:
        by_choice.clear()  # one at a time: each holds all weights
        by_choice[key] = {
            name: _convert(model, method, DEPLOYMENT[target], wide)
            for name, method in methods(model, options).items()
        }
    return by_choice[key]


def weight_constants(model: SpeechModel, module: nn.Module) -> dict[str, str]:
    """Name of the constant that holds each layer's weight, without what casting appends -> layer name.

    module: what was traced. Raises UserError when two names become one.
    """
    prefix = "whole." if isinstance(module, Part) else ""
    names: dict[str, str] = {}
    for name in model.layers():
        constant = f"{prefix}{model.layer_prefix}{name}.weight".replace(".", "_")
        if constant in names:
            raise UserError(
                f"{model.model_id}: layers {names[constant]} and {name} have the same name in Core ML"
            )
        names[constant] = name
    return names


def _convert(
    model: SpeechModel, method: Method, deployment: ct.target, wide: frozenset[str]
) -> ct.models.MLModel:
    constants = weight_constants(model, method.module)
    fixed = {
        constant
        for constant, name in constants.items()
        if layer_shape(name, model.layers()[name]).fixed
    }
    parameters = {name.replace(".", "_") for name, _ in method.module.named_parameters()}
    learned = (parameters | set(constants)) - fixed
    kept = {constant for constant, name in constants.items() if name in wide}
    pipeline = ct.PassPipeline.DEFAULT
    pipeline.remove_passes(MERGING_PASSES)
    with quiet(), _numpy_scalars(), torch.no_grad():
        traced = torch.jit.trace(method.module, method.example, check_trace=False)
        try:
            return ct.convert(
                traced,
                convert_to="mlprogram",
                minimum_deployment_target=deployment,
                compute_precision=ct.transform.FP16ComputePrecision(_half(learned, kept)),
                inputs=_inputs(method),
                outputs=[ct.TensorType(name, dtype=np.float32) for name in method.outputs],
                pass_pipeline=pipeline,
                skip_model_load=True,
            )
        except (ValueError, NotImplementedError, RuntimeError, TypeError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"coremltools can't convert {model.model_id}: {line}") from error


def _inputs(method: Method) -> list[Any]:
    """The method's; the first of the listed lengths, or any within a range."""
    shapes: dict[str, Any] = {name: tuple(tensor.shape) for name, tensor in method.inputs.items()}
    first = next(iter(shapes))
    if method.listed:
        listed = [(1, length) for length in method.listed]
        shapes[first] = ct.EnumeratedShapes(listed, default=listed[-1])
    elif method.varying is not None:
        shortest, longest = method.varying
        shapes[first] = ct.Shape((1, ct.RangeDim(shortest, longest, default=longest)))
    return [
        ct.TensorType(name, shapes[name], np.float32 if tensor.is_floating_point() else np.int32)
        for name, tensor in method.inputs.items()
    ]


def _half(learned: set[str], kept: set[str]) -> Callable[[Any], bool]:
    """Whether an operation computes in float16, for coremltools' pass over the program in order.

    learned: constants whose layers' outputs need no more. kept: constants whose layers stay float32.
    """
    reached: dict[Any, bool] = {}

    def is_reached(operation: Any) -> bool:
        """Whether some learned layer's values, not only their shape, decide the result."""
        pending = [operation]
        while pending:
            top = pending[-1]
            before = [v.op for v in _variables(top) if v.op is not None and v.op not in reached]
            if before and top.op_type != "shape":
                pending += before
                continue
            pending.pop()
            reached[top] = top.op_type != "shape" and any(
                _name(v) in learned or (v.op is not None and reached[v.op]) for v in _variables(top)
            )
        return reached[operation]

    def selector(operation: Any) -> bool:
        if any(_name(variable) in kept for variable in _variables(operation)):
            return False
        return is_reached(operation)

    return selector


def _name(variable: Any) -> str:
    """As it will be in the file, where names have no dots."""
    return str(variable.name).replace(".", "_")


def _variables(operation: Any) -> Iterator[Any]:
    for value in operation.inputs.values():
        yield from value if isinstance(value, list | tuple) else (value,)


@contextlib.contextmanager
def _numpy_scalars() -> Iterator[None]:
    """While open, coremltools casts arrays of one element, which numpy no longer does by itself."""
    original = torch_ops._cast

    def cast(context: Any, node: Any, dtype: Any, dtype_name: str) -> None:
        inputs = torch_ops._get_inputs(context, node, expected=1)
        x = inputs[0]
        if x.can_be_folded_to_const() and np.ndim(x.val) > 0 and np.size(x.val) == 1:
            value = dtype(np.reshape(x.val, -1)[0])
            context.add(torch_ops.mb.const(val=value, name=node.name), node.name)
            return
        original(context, node, dtype, dtype_name)

    with mock.patch.object(torch_ops, "_cast", cast):
        yield


def layer_names(model: SpeechModel, module: nn.Module) -> Mapping[str, str]:
    """`weight_constants` with the names that constants have after casting, too."""
    plain = weight_constants(model, module)
    return {**plain, **{f"{constant}_to_fp16": name for constant, name in plain.items()}}
