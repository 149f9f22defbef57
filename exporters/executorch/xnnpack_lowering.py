"""XNNPACK's partitioner and preprocessing, without the passes that a graph doesn't need.

Preprocessing runs 17 passes over each delegated graph and each traces the graph again; for a speech
model that is most of an export. Passes for operators that a graph doesn't have change nothing.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from executorch.backends.xnnpack import _passes as passes
from executorch.backends.xnnpack import xnnpack_preprocess
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from torch.export import ExportedProgram

from myqasr.exporters.graph.layers import (
    Rewrite,
    dynamic_linear,
    half_linear,
    static_convolution,
)
from myqasr.exporters.graph.windows import dynamic_windows, float_windows, half_windows

REWRITES: dict[str, Rewrite] = {
    "linear int8-dynamic 4": dynamic_linear,
    "linear int8-dynamic 8": dynamic_linear,
    "linear float 16": half_linear,
    "conv1d int8-static 8": static_convolution,
    "windows int8-static 8": static_convolution,
    "windows int8-dynamic 4": dynamic_windows,
    "windows int8-dynamic 8": dynamic_windows,
    "windows float 16": half_windows,
    "windows float 32": float_windows,
}
"""Layer kind, activation and bits -> how the graph is rewritten; what isn't named stays as it is.

`windows` are convolutions that one matrix product can stand for (`has_rows`)."""

_NEEDED_FOR: dict[str, tuple[Any, ...]] = {
    "clone": (passes.XNNPACKRemoveCloneOpsTransform,),
    "dim_order": (passes.DimOrderOpsRevertPass,),
    "mm.default": (passes.ConvertToLinearPass,),
    "batch_norm": (passes.FuseBatchNormPass, passes.DecomposeBatchNorm),
    "relu": (passes.FuseActivationPass,),
    "hardtanh": (passes.FuseActivationPass,),
    "cat.default": (passes.DecomposeConcatenate,),
    "max_": (passes.RemoveGetItemPass,),
    "pad": (passes.InsertPadQDQPass,),
    "prelu": (passes.PReLUReshapePass,),
    "convolution": (passes.Conv1dUnsqueezePass, passes.ChannelsLastTaggedReshapePass),
    "pool": (passes.ChannelsLastTaggedReshapePass,),
    "copy": (passes.RemoveRedundantCopyPass,),
}
"""Part of an operator's name -> passes that act on it, in the order in which they must run."""


class Partitioner(XnnpackPartitioner):
    """XNNPACK's own, without its remark on how it was called."""

    def _check_if_called_from_to_backend(self) -> bool:
        return False


@contextlib.contextmanager
def needed_passes_only() -> Iterator[None]:
    """While open, XNNPACK graphs are preprocessed with the passes they need."""
    complete = xnnpack_preprocess.XNNPACKPassManager

    def manager(program: ExportedProgram, passes: Any = None) -> Any:
        return complete(program, passes=passes or _needed(program))

    with mock.patch.object(xnnpack_preprocess, "XNNPACKPassManager", manager):
        yield


def _needed(program: ExportedProgram) -> list[Any]:
    names = " ".join(
        node.target.__name__ for node in program.graph.nodes if node.op == "call_function"
    )
    chosen = [each for part, group in _NEEDED_FOR.items() if part in names for each in group]
    # An empty list would mean all passes.
    return list(dict.fromkeys(chosen)) or [passes.RemoveGetItemPass]
