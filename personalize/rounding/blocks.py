"""ggml's blocks: 32 weights of a row share one float16 scale, and a least value with `q1`.

`q0` (q4_0, q5_0): codes are lopsided, -8 to 7 at 4 bits, and the scale may be negative, so that the weight
furthest from zero can lie on the lowest code whatever its sign; q8_0 keeps to -127 to 127. `q1` (q4_1, q5_1):
code * scale + least. Scales are tried at several shares of the range; each is then the one of least squares
for the codes that it led to, in float16 as the file holds it.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from myqasr.personalize.planning.plan import BLOCK, SUPERBLOCK, QuantSpec
from myqasr.personalize.rounding.codes import MIN_SCALE, unsigned

LEAST_KEPT = 0.6
"""Share of the range at the far end of the search; below, what is clipped costs more than is gained."""


def code_range(spec: QuantSpec) -> tuple[int, int]:
    """Smallest and largest code of a spec in blocks."""
    if unsigned(spec):
        return 0, 2**spec.bits - 1
    largest = 2 ** (spec.bits - 1) - 1
    return (-largest if spec.bits == 8 else -largest - 1), largest


def round_blocks(
    blocks: Tensor, spec: QuantSpec, error: Callable[[Tensor], Tensor], points: int
) -> tuple[Tensor, Tensor]:
    """Codes [n, 32] (int8, uint8 with `q1`) and scales [n] or, with least values, [n, 2] of weights [n, 32].

    error: of rounded weights [n, 32], [n, 1]. points: shares of the range that are tried; 1 is what ggml's
    own quantiser does.
    """
    low, high = code_range(spec)
    best = torch.full_like(blocks[:, :1], torch.inf)
    found = torch.ones_like(best), torch.zeros_like(best)

    def codes_of(scale: Tensor, least: Tensor) -> Tensor:
        return (blocks - least).div_(scale).round_().clamp_(low, high)

    starts = (
        _ranges(blocks, high, points) if spec.scheme == "q1" else _extremes(blocks, spec, points)
    )
    refit = _line if spec.scheme == "q1" else _slope
    for start in starts:
        tried = [_stored(*start)]
        if points > 1:
            tried.append(_stored(*refit(blocks, codes_of(*tried[0]))))
        for scale, least in tried:
            made = error(codes_of(scale, least).mul_(scale).add_(least))
            better = made < best
            best = torch.where(better, made, best)
            found = torch.where(better, scale, found[0]), torch.where(better, least, found[1])
    codes = codes_of(*found)
    if spec.scheme == "q1":
        return codes.to(torch.uint8), torch.cat(found, dim=1)
    return codes.to(torch.int8), found[0][:, 0]


def _shares(points: int) -> list[float]:
    return [1 - (1 - LEAST_KEPT) * place / max(1, points - 1) for place in range(points)]


def _extremes(blocks: Tensor, spec: QuantSpec, points: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Scales that put the furthest weight on the lowest code, as ggml does, or else on the highest."""
    low, high = code_range(spec)
    place = blocks.abs().argmax(dim=1, keepdim=True)
    furthest, none = blocks.gather(1, place), torch.zeros_like(blocks[:, :1])
    if spec.bits == 8:  # symmetric: the sign says nothing
        furthest, low = furthest.abs(), high
    for share in _shares(points):
        yield furthest * (share / low), none
        if points > 1 and low != high:
            yield furthest * (share / high), none


def _ranges(blocks: Tensor, high: int, points: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Scales and least values of the whole range, and of less of it at either end or at both."""
    least, most = blocks.amin(dim=1, keepdim=True), blocks.amax(dim=1, keepdim=True)
    for share in _shares(-(-points // 3)):  # each in three ways
        cut = (1 - share) * (most - least)
        for below, above in ((0.5, 0.5),) if share == 1 else ((0.5, 0.5), (1.0, 0.0), (0.0, 1.0)):
            start = least + below * cut
            yield (most - above * cut - start) / high, start


def _slope(blocks: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The scale of least squared error for these codes."""
    power = codes.square().sum(dim=1, keepdim=True).clamp_min(1e-30)
    return (blocks * codes).sum(dim=1, keepdim=True) / power, torch.zeros_like(power)


def _line(blocks: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and least value of least squared error for these codes."""
    middle, mean = codes.mean(dim=1, keepdim=True), blocks.mean(dim=1, keepdim=True)
    spread = (codes - middle).square().sum(dim=1, keepdim=True).clamp_min(1e-30)
    scale = ((codes - middle) * blocks).sum(dim=1, keepdim=True) / spread
    return scale, mean - scale * middle


def _stored(scale: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """What float16 makes of them; no scale is zero."""
    size = scale.abs().clamp(MIN_SCALE, torch.finfo(torch.float16).max).half().float()
    return torch.where(scale < 0, -size, size), least.half().float()


def quantize_blocks(x: Tensor) -> Tensor:
    """Fake-quantise [..., row]: int8 with a float16 scale for every 32 values (ggml's q8_0).

    Codes are those of the scale before it is rounded to float16, as ggml's kernels have them.
    """
    blocks = x.unflatten(-1, (-1, BLOCK))
    peak = blocks.abs().amax(dim=-1, keepdim=True)
    steps = torch.where(peak > 0, 127 / peak, 0.0)  # codes per unit
    scales = (peak / 127).half().to(x.dtype)
    return (blocks * steps).round_().mul_(scales).flatten(-2)


def quantize_superblocks(x: Tensor) -> Tensor:
    """The same for k-quants: int8 with a float32 scale for every 256 values (ggml's q8_K).

    The value furthest from zero is code -127, whatever its sign.
    """
    blocks = x.unflatten(-1, (-1, SUPERBLOCK))
    furthest = blocks.gather(-1, blocks.abs().argmax(dim=-1, keepdim=True))
    steps = torch.where(furthest != 0, -127 / furthest, 0.0)  # codes per unit
    scales = torch.where(furthest != 0, 1 / steps, 0.0)
    return (blocks * steps).round_().clamp_max_(127).mul_(scales).flatten(-2)
