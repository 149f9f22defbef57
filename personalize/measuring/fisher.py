"""What each precision of each layer costs, from one forward and backward pass per clip, without labels.

The loss is the divergence between the float model's posteriors and the quantised model's. To second
order it is half the expected squared product of the layer's output error with the gradient of the
log-likelihood of labels drawn from the float posterior itself (Fisher information; Amari, "Natural
gradient works efficiently in learning", 1998; Martens, JMLR 2020, section 5). Labels drawn from the model
need no transcript, and frames where the model is certain (blanks, mostly) contribute next to nothing.

For layer output error dy and gradient g, over all output positions of a clip, the cost is

    1/2 * (g . dy)^2,   averaged over clips and label draws, in nats per output frame,

where dy is the difference that the runtime's own arithmetic makes: rounded weights and, where the
kernel quantises them, rounded activations. The product is summed over the whole clip before squaring:
a weight's rounding error is the same in every frame, and squaring frame by frame loses that (rank
correlation with brute force within 4-bit entries 0.94 instead of 0.97, see docs/results.md).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.personalize.measuring.method import ClipCosts, Setting, backward
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import has_rows, kernel_input, layer_output, rows


def clip_costs(setting: Setting, waveform: NDArray[np.float32], seed: int) -> ClipCosts:
    """One clip's costs, summed over its frames. `seed` alone decides which labels are drawn."""
    rounded, draws = setting.rounded, setting.draws
    sums = {name: np.zeros(len(codes)) for name, codes in rounded.items()}

    def add(name: str, module: nn.Module, x: Tensor, y: Tensor, gradient: Tensor) -> None:
        if name not in rounded:
            return
        direct = [not has_rows(module) or c.input_range is not None for c in rounded[name]]
        changes = np.zeros(len(direct))
        for way, is_direct in ((_direct_changes, True), (_row_changes, False)):
            places = [place for place, each in enumerate(direct) if each == is_direct]
            if places:
                changes[places] = way(module, x, y, gradient, [rounded[name][i] for i in places])
        sums[name] += np.square(changes) / (2 * draws)

    frames = backward(setting, waveform, seed, add)
    return ClipCosts(
        frames,
        {
            name: {c.spec.label: float(total) for c, total in zip(codes, sums[name], strict=True)}
            for name, codes in rounded.items()
        },
    )


def _direct_changes(
    module: nn.Module, x: Tensor, y: Tensor, gradient: Tensor, candidates: list[LayerCodes]
) -> NDArray[np.float64]:
    """g . dy of each candidate, by computing its output. y, gradient: shaped like the output."""
    changes = []
    for codes in candidates:
        weight = codes.dequantized(module.weight)  # type: ignore[arg-type]
        error = layer_output(module, x, codes, weight).sub_(y)
        changes.append(float(error.mul_(gradient).sum(dtype=torch.float64)))
    return np.array(changes)


def _row_changes(
    module: nn.Module, x: Tensor, y: Tensor, gradient: Tensor, candidates: list[LayerCodes]
) -> NDArray[np.float64]:
    """g . dy of each candidate of a layer with rows at the price of a product per kind of input.

    With X' the input as the kernel sees it and W' the stored weight,
    g . (X'W'^T - XW^T) = <g^T (X' - X), W> + <g^T X', W' - W>: the sum over time is taken first, so
    that every further precision is only a dot product over the weights.
    """
    if isinstance(module, nn.Conv1d):
        gradient = gradient.transpose(1, 2)  # [batch, frames, out]
    inputs = rows(module, x)
    x2, g2 = inputs.flatten(0, -2), gradient.flatten(0, -2)  # [positions, row], [positions, out]
    weight = module.weight.flatten(1)  # type: ignore[operator]
    plain = g2.T @ x2  # [out, row]
    by_input: dict[tuple[str, bool], tuple[Tensor, float]] = {}
    differences: dict[tuple[int, str, int], Tensor] = {}
    changes = []
    for codes in candidates:
        spec = codes.spec
        key = (spec.activation, spec.scheme == "float")
        if key == ("float", False):  # the kernel sees the input as it is
            by_input[key] = (plain, 0.0)
        elif key not in by_input:
            change = g2.T @ (kernel_input(inputs, codes).flatten(0, -2) - x2)
            by_input[key] = (plain + change, _dot(change, weight))
        outer, input_change = by_input[key]
        stored = (id(codes.codes), spec.scheme, spec.bits)
        if stored not in differences:
            # Candidates with the same integers follow each other.
            differences = {stored: codes.dequantized(weight) - weight}
        changes.append(input_change + _dot(outer, differences[stored]))
    return np.array(changes)


def _dot(a: Tensor, b: Tensor) -> float:
    """Sum of products; float32 within a row, float64 across rows."""
    return float((a * b).sum(dim=1).sum(dtype=torch.float64))
