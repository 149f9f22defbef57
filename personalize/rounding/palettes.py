"""Palettes: a few float16 values that stand for all weights of a layer, or of some of its output channels.

Weighted k-means in one dimension (Lloyd, "Least squares quantization in PCM", 1982; weighted by the second
moments of the inputs, the diagonal of the layer's Hessian, as in Kim et al., "SqueezeLLM", ICML 2024).
Sorted weights make a cluster a range, so that with sums taken once an iteration costs a binary search per
entry, whatever the number of weights. Two starts are tried, a uniform grid and the
asymptotically best density of entries, the cube root of that of the weights (Panter and Dite, 1951). A layer
with no more values than there are entries gets just these.
"""

import torch
from torch import Tensor

ITERATIONS = 60
STILL = 1e-4
"""Iterating ends when no entry moves by more than this share of the weights' range."""

HISTOGRAM = 512
"""Bins of the density that one start is taken from."""


def palettes(values: Tensor, importance: Tensor, bits: int) -> Tensor:
    """The best found entries for each row, [rows, 2^bits], rising; float32 that float16 holds.

    values: float32 [rows, weights]; importance: of each weight, not negative, the same shape.
    Never worse than a uniform grid over the row's range with the same number of entries, in float16.
    """
    return Sorted(values, importance).palettes(bits)


class Sorted:
    """Weights of each row in order with running sums, from which palettes of any size are found."""

    def __init__(self, values: Tensor, importance: Tensor) -> None:
        self.values, order = values.float().half().float().sort(dim=1)
        weights = importance.double().gather(1, order)
        # Rows whose inputs were never seen count evenly; so do gaps in the others, a little.
        mean = weights.mean(dim=1, keepdim=True)
        weights = torch.where(mean > 0, weights + 1e-6 * mean, torch.ones_like(weights))
        exact = self.values.double()
        self.sums = [_running(weights * exact**power) for power in range(3)]

    def palettes(self, bits: int) -> Tensor:
        """Entries for each row, [rows, 2^bits]."""
        entries = 2**bits
        uniform = self._uniform(entries)
        starts = [uniform, self._by_density(entries)]
        candidates = [uniform, self._distinct(entries), *map(self._settled, starts)]
        stored = [candidate.float().half().float().sort(dim=1).values for candidate in candidates]
        errors = torch.stack([self._error(candidate) for candidate in stored])  # [candidates, rows]
        best = errors.argmin(dim=0)
        return torch.stack(stored)[best, torch.arange(len(best), device=best.device)]

    def _uniform(self, entries: int) -> Tensor:
        low, high = self.values[:, :1].double(), self.values[:, -1:].double()
        steps = torch.arange(entries, dtype=torch.float64, device=low.device)
        return low + (high - low) * (steps + 0.5) / entries

    def _distinct(self, entries: int) -> Tensor:
        """The first values there are, and the last of all."""
        new = self.values.diff(dim=1, prepend=self.values[:, :1]) > 0
        places = new.cumsum(dim=1).clamp_max(entries - 1)
        return self.values[:, -1:].repeat(1, entries).scatter_(1, places, self.values)

    def _by_density(self, entries: int) -> Tensor:
        low, high = self.values[:, :1].double(), self.values[:, -1:].double()
        share = torch.linspace(0, 1, HISTOGRAM + 1, dtype=torch.float64, device=low.device)
        edges = low + (high - low) * share
        counts = self._between(0, edges).clamp_min(0) ** (1 / 3)
        running = _running(counts)
        wanted = (torch.arange(entries, dtype=torch.float64, device=low.device) + 0.5) / entries
        wanted = wanted * running[:, -1:]
        place = torch.searchsorted(running.contiguous(), wanted.contiguous()).clamp(1, HISTOGRAM)
        before, after = running.gather(1, place - 1), running.gather(1, place)
        inside = (wanted - before) / (after - before).clamp_min(1e-300)
        return edges.gather(1, place - 1) + inside * (high - low) / HISTOGRAM

    def _settled(self, entries: Tensor) -> Tensor:
        """Lloyd's iterations until nothing moves; an entry without weights stays where it is."""
        span = (self.values[:, -1:] - self.values[:, :1]).double().clamp_min(1e-30)
        for _ in range(ITERATIONS):
            bounds = self._bounds(entries)
            mass = self._within(0, bounds)
            means = self._within(1, bounds) / mass.clamp_min(1e-300)
            moved = torch.where(mass > 0, means, entries)
            still = float(((moved - entries).abs() / span).max()) < STILL
            entries = moved
            if still:
                break
        return entries

    def _error(self, entries: Tensor) -> Tensor:
        """Weighted squared error of each row."""
        entries = entries.double()
        bounds = self._bounds(entries)
        mass, first, second = (self._within(power, bounds) for power in range(3))
        return (second - 2 * entries * first + entries**2 * mass).sum(dim=1)

    def _bounds(self, entries: Tensor) -> Tensor:
        """Places in the sorted row where one entry's weights end and the next one's begin."""
        halfway = ((entries[:, 1:] + entries[:, :-1]) / 2).float().contiguous()
        inner = torch.searchsorted(self.values, halfway)
        rows, count = self.values.shape
        ends = torch.tensor([0, count], device=inner.device).expand(rows, 2)
        return torch.cat((ends[:, :1], inner, ends[:, 1:]), dim=1)

    def _within(self, power: int, bounds: Tensor) -> Tensor:
        sums = self.sums[power].gather(1, bounds)
        return sums[:, 1:] - sums[:, :-1]

    def _between(self, power: int, edges: Tensor) -> Tensor:
        return self._within(power, torch.searchsorted(self.values, edges.float().contiguous()))


def nearest_indices(values: Tensor, tables: Tensor) -> Tensor:
    """Index, uint8, of the entry nearest to each value of a row.

    values: [rows, n]; tables: [rows, entries], rising.
    """
    halfway = ((tables[:, 1:] + tables[:, :-1]) / 2).contiguous()
    return torch.searchsorted(halfway, values.contiguous()).to(torch.uint8)


def _running(values: Tensor) -> Tensor:
    """Sums of what comes before, [rows, n + 1], from zero."""
    start = values.new_zeros(len(values), 1)
    return torch.cat((start, values.cumsum(dim=1)), dim=1)
