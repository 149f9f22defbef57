"""Codes that make up for each other's rounding errors on this speaker's activations.

Columns of the weight are rounded one after the other; the error that each leaves in the layer's output is
taken up by the columns still to come, as far as the inputs are correlated (GPTQ: Frantar et al., "GPTQ:
Accurate post-training quantization for generative pre-trained transformers", ICLR 2023; the update is that of
Optimal Brain Surgeon, Hassibi and Stork, 1993). Scales are fixed before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from myqasr.core.errors import UserError

BLOCK = 64
ROWS_AT_A_TIME = 8192
DAMPING = 0.1
"""Share of the mean of the diagonal that is added to it.

More than the usual 0.01: a dozen short clips say little about rare directions, and what is fitted to them
doesn't carry over to the next clip.
"""


@dataclass(frozen=True, slots=True)
class Grid:
    """What codes may stand for: code * scale + least.

    scales, least: [out, groups], each for in / groups neighbouring columns; no least value is zero.
    limits: smallest and largest code.
    """

    scales: Tensor
    limits: tuple[int, int]
    least: Tensor | None = None


def made_up_codes(rows: Tensor, scales: Tensor, limits: tuple[int, int], root: Tensor) -> Tensor:
    """Codes [out, in], int8, of weight rows [out, in].

    scales, limits: of a `Grid`. root: from `inverse_root`.
    """
    return next(iter(codes_on_grids(rows, [Grid(scales, limits)], root)))


def codes_on_grids(rows: Tensor, grids: Sequence[Grid], root: Tensor) -> list[Tensor]:
    """Codes [out, in], int8, of weight rows [out, in] for each of several grids.

    Rows know nothing of each other: so many are worked on at a time, each on all grids, as stay in the cache.
    """
    found: list[list[Tensor]] = [[] for _ in grids]
    step = max(1, ROWS_AT_A_TIME // max(1, len(grids)))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        codes = _on_grids(
            some, [_rows_of(grid, slice(start, start + step)) for grid in grids], root
        )
        for parts, part in zip(found, codes.split(len(some)), strict=True):
            parts.append(part)
    return [torch.cat(parts) for parts in found]


def _rows_of(grid: Grid, some: slice) -> Grid:
    least = None if grid.least is None else grid.least[some]
    return Grid(grid.scales[some], grid.limits, least)


def _on_grids(rows: Tensor, grids: Sequence[Grid], root: Tensor) -> Tensor:
    """Codes [grids * out, in]: those of the first grid first."""
    out, columns = rows.shape

    def by_column(parts: list[Tensor]) -> Tensor:
        """[in, grids * out] of [out, groups] each."""
        return torch.cat(
            [each.T.repeat_interleave(columns // each.shape[1], dim=0) for each in parts], dim=1
        )

    scales = by_column([grid.scales for grid in grids])
    low, high = (
        torch.tensor(
            [float(grid.limits[end]) for grid in grids], device=rows.device
        ).repeat_interleave(out)
        for end in (0, 1)
    )
    if all(grid.least is None for grid in grids):

        def nearest(column: int, values: Tensor, codes: Tensor) -> Tensor:
            torch.div(values, scales[column], out=codes).round_().clamp_(low, high)
            return codes * scales[column]

    else:
        none = [torch.zeros_like(grid.scales) for grid in grids]
        pairs = zip(grids, none, strict=True)
        least = by_column([zero if grid.least is None else grid.least for grid, zero in pairs])

        def nearest(column: int, values: Tensor, codes: Tensor) -> Tensor:
            torch.div(values - least[column], scales[column], out=codes).round_()
            codes.clamp_(low, high)
            return codes * scales[column] + least[column]

    return _made_up(rows.repeat(len(grids), 1), nearest, root, torch.int8)


def made_up_indices(rows: Tensor, tables: Tensor, root: Tensor) -> Tensor:
    """Indices [out, in], uint8, into palettes of weight rows [out, in].

    tables: rising entries [palettes, entries], each for out / palettes neighbouring rows.
    """
    halfway = ((tables[:, 1:] + tables[:, :-1]) / 2).contiguous()

    def nearest(_column: int, values: Tensor, codes: Tensor) -> Tensor:
        indices = torch.searchsorted(halfway, values.reshape(len(tables), -1))
        codes.copy_(indices.reshape(-1))
        return tables.gather(1, indices).reshape(-1)

    return _made_up(rows, nearest, root, torch.uint8)


def _made_up(
    rows: Tensor, nearest: Callable[[int, Tensor, Tensor], Tensor], root: Tensor, kind: torch.dtype
) -> Tensor:
    """Codes [out, in] of a type; `nearest` writes those of a column and returns what they stand for."""
    # Columns of the weight as rows in memory: each is read and written in one piece.
    rest = rows.detach().to(torch.float32).T.contiguous()
    columns = len(rest)
    codes = torch.empty_like(rest)
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        block = rest[start:stop]
        errors = torch.empty_like(block)
        for at in range(stop - start):
            column = start + at
            rounded = nearest(column, block[at], codes[column])
            errors[at] = (block[at] - rounded) / root[column, column]
            block[at + 1 :].addr_(root[column, column + 1 : stop], errors[at], alpha=-1)
        rest[stop:].addmm_(root[start:stop, stop:].T, errors, alpha=-1)
    return codes.to(kind).T.contiguous()


def inverse_root(moments: Tensor, rows: float = math.inf) -> Tensor:
    """Upper triangular root of the inverse of a layer's damped input moments, both [in, in], float32 out.

    moments: sum over positions of the outer product of the layer's input with itself. rows: how many
    different positions; with fewer than inputs the damping grows in proportion.
    Raises UserError when they aren't finite.
    """
    if not torch.isfinite(moments).all():
        raise UserError("a layer's inputs are not finite; the model's weights are damaged")
    damped = moments.to(torch.float64, copy=True)
    mean = damped.diagonal().mean()
    if mean == 0:
        return torch.eye(len(moments), device=moments.device)
    damped.diagonal().add_(DAMPING * max(1.0, len(moments) / max(rows, 1.0)) * mean)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()
