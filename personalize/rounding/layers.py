"""Codes for a chosen precision: symmetric integers with a scale that leaves the least error.

For every scale the search tries a grid of clipping points and keeps the one with the least error of the
weights, as in OCTAV (Sakr et al., ICML 2022) or the calibrations of post-training toolkits. Scales are
rounded to what the target stores *before* codes are chosen, so that no later rounding shifts them.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import LayerProfile, LayerShape, QuantSpec
from myqasr.personalize.rounding import blocks, gptq, superblocks
from myqasr.personalize.rounding.codes import MIN_SCALE, LayerCodes, Precisions, Rounding, grid
from myqasr.personalize.rounding.observe import Moments, Observed
from myqasr.personalize.rounding.palettes import Sorted, nearest_indices
from myqasr.speech.models.base import SpeechModel

CHUNK_WEIGHTS = 1 << 18  # weights searched at a time: stays in the CPU's cache

Errors = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Weights and rounded weights [n, group], importance [n, group] or None -> error [n, 1]."""


@dataclass(frozen=True, slots=True)
class ScaleSearch:
    """How a scale is looked for.

    error: what is least. points: of the grid, over the share of the largest magnitude that stays
    representable; 1 keeps it all. rounds: every further one has as many points around the best of the last.
    by_inputs: whether errors count by the second moment of the input that they meet.
    """

    error: Errors
    points: int = 20
    rounds: int = 1
    by_inputs: bool = False


def squared(weights: Tensor, rounded: Tensor, importance: Tensor | None) -> Tensor:
    """Squared error, by importance if there is any."""
    error = (rounded - weights).square_()
    return (error if importance is None else error.mul_(importance)).sum(dim=1, keepdim=True)


def absolute(weights: Tensor, rounded: Tensor, importance: Tensor | None) -> Tensor:
    """Absolute error."""
    return (rounded - weights).abs_().sum(dim=1, keepdim=True)


def by_magnitude(weights: Tensor, rounded: Tensor, importance: Tensor | None) -> Tensor:
    """Squared error that counts linearly by the magnitude of the weight."""
    return (rounded - weights).square_().mul_(weights.abs()).sum(dim=1, keepdim=True)


def angle(weights: Tensor, rounded: Tensor, importance: Tensor | None) -> Tensor:
    """One minus the cosine."""
    return 1 - nn.functional.cosine_similarity(weights, rounded, dim=1)[:, None]


SCALES = {
    "mse": ScaleSearch(squared),
    "mse-fine": ScaleSearch(squared, points=100, rounds=3),
    "l1": ScaleSearch(absolute, points=100, rounds=3),
    "weighted": ScaleSearch(by_magnitude, points=100, rounds=3),
    "cosine": ScaleSearch(angle, points=100, rounds=3),
    "hessian": ScaleSearch(squared, points=100, rounds=3, by_inputs=True),
    "max": ScaleSearch(squared, points=1),
}
"""Name -> how scales are chosen. 100 points in three rounds is what myQASR's calibrations search."""

LEAST_KEPT = {8: 0.8}
LEAST_KEPT_NARROW = 0.43
"""Share of the largest magnitude at the far end of the grid. Wide integers gain little from clipping: their
grid is shorter and has a quarter of the points."""


def code_limits(spec: QuantSpec) -> tuple[int, int]:
    """Smallest and largest code.

    8 bits keep to -127: int8 kernels rely on a negatable code. So do 4 bits with a scale for every channel:
    the built-in kernels of LiteRT (without its delegate) compute noise from -8.
    """
    if spec.in_blocks:
        return blocks.code_range(spec)
    largest = 2 ** (spec.bits - 1) - 1
    negatable = spec.bits == 8 or (spec.bits == 4 and spec.group_size is None)
    return (-largest if negatable else -largest - 1), largest


def round_weight(
    weight: Tensor,
    spec: QuantSpec,
    scale_dtype: str,
    search: ScaleSearch = SCALES["mse"],
    importance: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Codes and scales as `LayerCodes` has them.

    weight: float32 [out, in] or [out, in / groups, kernel]; every output channel is a row. Groups split
    the row as it lies in memory. importance: of every weight of a row [row], for a search by inputs.
    Raises UserError when the group size doesn't divide the row.
    """
    rows = weight.detach().reshape(weight.shape[0], -1)
    group = spec.group_size if spec.group_size is not None else rows.shape[1]
    if rows.shape[1] % group:
        raise UserError(
            f"groups of {group} don't divide {rows.shape[1]} weights per output channel"
        )
    step = max(1, CHUNK_WEIGHTS // rows.shape[1])
    parts = []
    for some in rows.split(step):
        counts = None
        if search.by_inputs and importance is not None:
            counts = importance.expand_as(some).reshape(-1, group)
        parts.append(_round_groups(some.reshape(-1, group), spec, scale_dtype, search, counts))
    codes = torch.cat([part[0] for part in parts]).reshape(weight.shape)
    scales = torch.cat([part[1] for part in parts])
    return codes, scales.reshape(weight.shape[0], -1, *scales.shape[1:])


def _round_groups(
    groups: Tensor,
    spec: QuantSpec,
    scale_dtype: str,
    search: ScaleSearch,
    importance: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Codes and scales of [n, group] weights that share one scale per row."""
    bits = spec.bits
    if spec.in_blocks:
        points = max(1, search.points // (4 if bits == 8 else 2))
        of_scheme = superblocks.round_blocks if spec.scheme == "qk" else blocks.round_blocks
        return of_scheme(
            groups, spec, lambda rounded: search.error(groups, rounded, importance), points
        )
    low, high = code_limits(spec)
    peak = groups.abs().amax(dim=1, keepdim=True)
    best_error = torch.full_like(peak, torch.inf)
    best_scale, best_share = torch.ones_like(peak), torch.ones_like(peak)
    points = search.points if bits < 8 else max(1, search.points // 4)
    step = (1 - LEAST_KEPT.get(bits, LEAST_KEPT_NARROW)) / max(1, points - 1)
    for turn in range(search.rounds):
        start = torch.ones_like(peak) if turn == 0 else best_share + step
        if turn > 0:
            step = 2 * step / (points - 1)
        for point in range(points):
            share = start - point * step
            scale = stored_scale(peak * share / high, scale_dtype)
            rounded = (groups / scale).round_().clamp_(low, high).mul_(scale)
            error = search.error(groups, rounded, importance)
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best_scale = torch.where(better, scale, best_scale)
            best_share = torch.where(better, share, best_share)
    codes = (groups / best_scale).round_().clamp_(low, high).to(torch.int8)
    return codes, best_scale[:, 0]


def stored_scale(scale: Tensor, scale_dtype: str) -> Tensor:
    """The nearest scale the target can hold, as float32; never zero (an all-zero row keeps zero codes).

    scale_dtype: `bfloat16+float16` is a scale that either can hold: what bfloat16 rounds to is in float16 or,
    below 2^-17, rounds there to few enough bits for both.
    """
    stored = scale.clamp_min(MIN_SCALE)
    for kind in scale_dtype.split("+"):
        stored = stored.to(getattr(torch, kind)).float()
    return stored


def round_palettes(
    weight: Tensor, group_size: int | None, importance: Tensor | None
) -> Callable[[int], Tensor]:
    """Bits -> palettes [palettes, 2^bits] of a weight; the weights are sorted once for all of them.

    Palettes are float32 that float16 holds.
    weight: float32 [out, ...]. group_size: output channels to a palette, all if None. importance: of every
    weight of a row, [row]. Raises UserError when the group size doesn't divide the channels.
    """
    rows = weight.detach().reshape(weight.shape[0], -1)
    group = group_size if group_size is not None else len(rows)
    if len(rows) % group:
        raise UserError(f"palettes for {group} channels don't divide {len(rows)} output channels")
    counts = torch.ones_like(rows[0]) if importance is None else importance.to(rows)
    flat = rows.reshape(len(rows) // group, -1)
    return Sorted(flat, counts.repeat(len(flat), group)).palettes


def nearest_palette(weight: Tensor, tables: Tensor) -> Tensor:
    """Indices (uint8, shaped like `weight`) of the nearest entries; tables as of `round_palettes`."""
    indices = nearest_indices(weight.detach().reshape(len(tables), -1), tables)
    return indices.reshape(weight.shape)


def round_model(
    model: SpeechModel,
    observed: Mapping[str, Observed],
    menu: Callable[[LayerShape], Sequence[QuantSpec]],
    scale_dtype: Callable[[QuantSpec], str],
    search: ScaleSearch = SCALES["mse"],
    layers: MutableMapping[str, Precisions] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    before: Mapping[str, Precisions] | None = None,
) -> Rounding:
    """Codes of every layer at every precision of its menu but floats.

    Layers whose input moments were observed get codes that make up for each other's errors, the others are
    rounded to nearest. A matrix that another layer looks rows up in serves both (`gptq.shared_root`), but in
    ggml's blocks, where that gained nothing in whole files (docs/results.md).
    layers: where they are put; what is there already isn't made again. progress: called once per layer with
    how many are done, of how many. before: codes of the same weights for other inputs: integers' scales,
    which inputs have no say in, aren't looked for again.
    """
    modules = model.layers()
    last_moments: Moments | None = None
    root = torch.empty(0)
    layers = {} if layers is None else layers
    before = {} if before is None or search.by_inputs else before
    looked_up = {layer.shape.matrix_of for layer in observed.values()}
    for index, (name, layer) in enumerate(observed.items()):
        if name not in layers:
            wanted = list(dict.fromkeys(spec.stored for spec in menu(layer.shape)))
            made_up: Tensor | None = None
            if layer.moments is not None and wanted and name in looked_up:
                if not any(spec.in_blocks for spec in wanted):
                    made_up = gptq.shared_root(layer.moments.total)
            elif layer.moments is not None and wanted:
                if layer.moments is not last_moments:
                    last_moments = layer.moments
                    root = gptq.inverse_root(layer.moments.total, layer.moments.rows)
                made_up = root
            weight: Tensor = modules[name].weight  # type: ignore[assignment]
            importance = None if layer.moments is None else layer.moments.total.diagonal().float()
            known = before[name] if wanted and name in before else {}
            layers[name] = _rounded(weight, wanted, scale_dtype, made_up, search, importance, known)
        progress(index + 1, len(observed))
    return Rounding(layers)


def _rounded(
    weight: Tensor,
    specs: Sequence[QuantSpec],
    scale_dtype: Callable[[QuantSpec], str],
    root: Tensor | None,
    search: ScaleSearch,
    importance: Tensor | None,
    known: Precisions,
) -> Precisions:
    """One layer's codes and scales at all precisions but floats. known: those made for other inputs."""
    integers = [spec for spec in specs if spec.scheme not in ("lut", "float")]
    found = _integers(weight, integers, scale_dtype, root, search, importance, known)
    by_group: dict[int | None, list[QuantSpec]] = {}
    for spec in specs:
        if spec.scheme == "lut":
            by_group.setdefault(spec.group_size, []).append(spec)
    for group, of_group in by_group.items():
        tables_of = round_palettes(weight, group, importance)
        for spec in of_group:
            found[spec.label] = _indices(weight, tables_of(spec.bits), root)
    return {label: (codes.cpu(), scales.cpu()) for label, (codes, scales) in found.items()}


def _integers(
    weight: Tensor,
    specs: Sequence[QuantSpec],
    scale_dtype: Callable[[QuantSpec], str],
    root: Tensor | None,
    search: ScaleSearch,
    importance: Tensor | None,
    known: Precisions,
) -> Precisions:
    # Known codes are taken for their scales; they are the codes, too, where nothing is made up for.
    found = {
        spec.label: (known[spec.label][0], known[spec.label][1].to(weight.device))
        if spec.label in known
        else round_weight(weight, spec, scale_dtype(spec), search, importance)
        for spec in specs
    }
    if root is None or not specs:
        return found
    grids = []
    for spec in specs:
        scales, least = grid(spec, found[spec.label][1])
        grids.append(gptq.Grid(scales, code_limits(spec), least))
    made_up = gptq.codes_on_grids(weight.flatten(1), grids, root)
    for spec, codes in zip(specs, made_up, strict=True):
        nearest, scales = found[spec.label]
        found[spec.label] = codes.to(nearest.dtype).reshape(weight.shape), scales
    return found


def _indices(weight: Tensor, tables: Tensor, root: Tensor | None) -> tuple[Tensor, Tensor]:
    if root is None:
        return nearest_palette(weight, tables), tables
    return gptq.made_up_indices(weight.flatten(1), tables, root).reshape(weight.shape), tables


def round_layer(
    weight: Tensor, layer: LayerProfile, spec: QuantSpec, scale_dtype: str
) -> LayerCodes:
    """One layer at one precision, rounded to nearest, with the static ranges its profile measured."""
    if spec.scheme == "float":
        return LayerCodes(spec)
    if spec.scheme == "lut":
        tables = round_palettes(weight, spec.group_size, None)(spec.bits)
        found = {spec.stored.label: (nearest_palette(weight, tables), tables)}
    else:
        found = {spec.stored.label: round_weight(weight, spec, scale_dtype)}
    return Rounding({layer.shape.name: found}).codes(layer, spec)
