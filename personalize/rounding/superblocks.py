"""ggml's k-quants: 256 weights share two float16 numbers, by which the scales of their blocks are integers.

q4_K and q5_K: 8 blocks of 32 with a scale and a least value each, of 6 bits: d * scale * code - dmin * least.
q6_K: 16 blocks of 16 with a scale of 8 bits: d * scale * code. Scales of each block are searched for as
those of `rounding.blocks`, then made integers, none of them zero; codes are the nearest on what this leaves.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from myqasr.personalize.planning.plan import BLOCK, SUPERBLOCK, QuantSpec
from myqasr.personalize.rounding import blocks
from myqasr.personalize.rounding.blocks import code_range
from myqasr.personalize.rounding.codes import MIN_SCALE, grid

LARGEST = 63
"""Scale and least value of a block at 4 and 5 bits."""
LARGEST_SIGNED = 127


def round_blocks(
    rows: Tensor, spec: QuantSpec, error: Callable[[Tensor], Tensor], points: int
) -> tuple[Tensor, Tensor]:
    """Codes [n, 256] (uint8, at 6 bits int8) and scales as `LayerCodes` has them, [n, 18] or [n, 17].

    error: of rounded weights [n, 256], [n, 1]; says whether the searched scales are better than plain ones.
    points: as of `blocks.round_blocks`.
    """
    best: tuple[Tensor, Tensor] | None = None
    least = torch.empty(0)
    for tried in dict.fromkeys((1, points)):
        scales = _signed(rows, spec, tried) if spec.bits == 6 else _with_least(rows, spec, tried)
        codes, rounded = _nearest(rows, spec, scales)
        made = error(rounded)
        if best is None:
            best, least = (codes, scales), made
            continue
        better = made < least
        best = torch.where(better, codes, best[0]), torch.where(better, scales, best[1])
    assert best is not None
    codes, scales = best
    return codes.to(torch.int8 if spec.bits == 6 else torch.uint8), scales


def _nearest(rows: Tensor, spec: QuantSpec, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Codes [n, 256] as floats, and what they stand for."""
    low, high = code_range(spec)
    steps, least = grid(spec, scales[:, None])
    parts = rows.unflatten(1, (steps.shape[1], -1))
    offset = torch.zeros_like(steps) if least is None else least
    codes = ((parts - offset[:, :, None]) / steps[:, :, None]).round().clamp(low, high)
    return codes.flatten(1), (codes * steps[:, :, None] + offset[:, :, None]).flatten(1)


def _with_least(rows: Tensor, spec: QuantSpec, points: int) -> Tensor:
    """[n, 18]: what is added is never above zero, so a block that is has zero as its least value."""
    some = rows.reshape(-1, BLOCK)
    lowered = torch.minimum(some.amin(dim=1, keepdim=True), torch.zeros(1, device=rows.device))
    held = torch.cat((some, lowered.expand(-1, 1)), dim=1)  # zero is among the values
    plain = QuantSpec(spec.bits, "q1", BLOCK)
    _, pairs = blocks.round_blocks(
        held, plain, lambda rounded: _squared(some, rounded[:, :BLOCK]), points
    )
    pairs = pairs.reshape(len(rows), -1, 2)
    scale, scales = _integers(pairs[..., 0].clamp_min(0), LARGEST)
    lows, least = _integers((-pairs[..., 1]).clamp_min(0), LARGEST)
    return torch.cat((scale, lows, scales.clamp_min(1), least), dim=1)


def _signed(rows: Tensor, spec: QuantSpec, points: int) -> Tensor:
    """[n, 17]."""
    some = rows.reshape(-1, SUPERBLOCK // 16)
    plain = QuantSpec(spec.bits, "q0", BLOCK)
    _, found = blocks.round_blocks(some, plain, lambda rounded: _squared(some, rounded), points)
    step, scales = _integers(found.reshape(len(rows), -1), LARGEST_SIGNED)
    return torch.cat((step, torch.where(scales == 0, 1.0, scales)), dim=1)


def _integers(values: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """A float16 step [n, 1] and how many of them each value is, [n, k]."""
    step = (values.abs().amax(dim=1, keepdim=True) / largest).clamp_min(MIN_SCALE).half().float()
    return step, (values / step).round().clamp(-largest, largest) + 0.0  # no negative zero


def _squared(weights: Tensor, rounded: Tensor) -> Tensor:
    return (rounded - weights).square().sum(dim=1, keepdim=True)
