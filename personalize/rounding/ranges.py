"""Ranges of activations that are stored in the file: how much of what was seen an int8 grid holds.

All of it, or less: what lies outside is clipped, and the rest is resolved more finely.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from myqasr.personalize.rounding.codes import activation_range

PERCENTILE = 99.99
MSE_STEPS = 40
MSE_LEAST = 0.4

Chooser = Callable[[Tensor, float, float], tuple[float, float]]


def min_max(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """All that was seen."""
    return low, high


def percentile(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """Without the most extreme hundredth of a percent, half of it at either end."""
    cut = (1 - PERCENTILE / 100) / 2
    ends = torch.quantile(values.float(), torch.tensor([cut, 1 - cut], device=values.device))
    return float(ends[0]), float(ends[1])


def mse(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """The share of what was seen that leaves the least squared error."""

    def error(share: float) -> float:
        grid = activation_range(share * low, share * high)
        seen = torch.fake_quantize_per_tensor_affine(values, grid.scale, grid.zero_point, -128, 127)
        return float((seen - values).square().mean(dtype=torch.float64))

    shares = [1 - (1 - MSE_LEAST) * step / MSE_STEPS for step in range(MSE_STEPS + 1)]
    best = min(shares, key=error)
    return best * low, best * high


RANGES: dict[str, Chooser] = {"min-max": min_max, "percentile": percentile, "mse": mse}
"""Name -> function of some values [n] and the least and greatest of all, giving the ends of the range."""
