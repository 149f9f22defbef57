"""The multiple-choice knapsack, solved exactly: one choice a row, least summed cost, bytes within a capacity.

Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, chapter 11. Dominated choices and those that no
better selection can have are dropped, HiGHS solves the 0/1 program of the rest, and the integers are checked
again in exact arithmetic.
"""

import contextlib
import ctypes
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from myqasr.core.errors import BudgetError, UserError
from myqasr.personalize.planning.problem import Choice, undominated


@dataclass(frozen=True, slots=True)
class Solution:
    """One choice per layer. lower_bound: proven; no selection within the budget costs less."""

    choices: tuple[Choice, ...]
    lower_bound: float

    @property
    def cost(self) -> float:
        """Summed cost, nats per frame."""
        return sum(choice.cost for choice in self.choices)

    @property
    def size_bytes(self) -> int:
        """Summed bytes of the layers."""
        return sum(choice.size_bytes for choice in self.choices)


def solve(options: Sequence[Sequence[Choice]], capacity_bytes: int) -> Solution:
    """The cheapest selection of one choice per row within `capacity_bytes`.

    Raises UserError naming both numbers when even the smallest selection doesn't fit.
    """
    rows = [undominated(row) for row in options]
    smallest = sum(row[0].size_bytes for row in rows)
    if smallest > capacity_bytes:
        raise BudgetError(
            f"the smallest choice of precisions takes {smallest:,} bytes; {capacity_bytes:,} are left"
        )
    if sum(row[-1].size_bytes for row in rows) <= capacity_bytes:
        best = tuple(row[-1] for row in rows)
        return Solution(best, sum(choice.cost for choice in best))
    if smallest == capacity_bytes:
        best = tuple(row[0] for row in rows)
        return Solution(best, sum(choice.cost for choice in best))
    known, contenders = _contenders(rows, capacity_bytes)
    found = _solve_program(contenders, capacity_bytes)
    if found.cost <= known.cost:
        return found
    return Solution(known.choices, min(found.lower_bound, known.cost))


def _contenders(
    rows: Sequence[Sequence[Choice]], capacity_bytes: int
) -> tuple[Solution, list[list[Choice]]]:
    """A good selection, and the choices that a better one could have.

    With a price per byte, choices are independent; the price at which their bytes just fit gives a bound on
    all selections (Lagrangian relaxation). A choice whose own loss at that price exceeds the distance between
    the bound and the good selection is in no better one. Few are left, so that the program is small.
    """
    widest = max(len(row) for row in rows)
    costs = np.full((len(rows), widest), np.inf)
    sizes = np.zeros((len(rows), widest))
    for index, row in enumerate(rows):
        costs[index, : len(row)] = [choice.cost for choice in row]
        sizes[index, : len(row)] = [choice.size_bytes for choice in row]
    every = np.arange(len(rows))

    def used(price: float) -> tuple[NDArray[np.intp], float]:
        places = (costs + price * sizes).argmin(axis=1)
        return places, float(sizes[every, places].sum())

    low, high = 0.0, 1e-30
    while used(high)[1] > capacity_bytes:
        low, high = high, 10 * high
    for _ in range(100):
        price = (low + high) / 2
        low, high = (price, high) if used(price)[1] > capacity_bytes else (low, price)
    places, _ = used(high)
    chosen = [row[place] for row, place in zip(rows, places, strict=True)]
    good = _improve_by_swaps(rows, chosen, capacity_bytes)
    priced = costs + high * sizes
    losses = priced - priced.min(axis=1, keepdims=True)
    bound = float(priced.min(axis=1).sum()) - high * capacity_bytes
    cost = sum(choice.cost for choice in good)
    room = max(cost - bound, 0.0) + 1e-9 * cost
    contenders = [
        [
            choice
            for choice, loss in zip(row, row_losses, strict=False)
            if loss <= room or choice is kept
        ]
        for row, row_losses, kept in zip(rows, losses, good, strict=True)
    ]
    return Solution(tuple(good), min(bound, cost)), contenders


def _solve_program(rows: Sequence[Sequence[Choice]], capacity_bytes: int) -> Solution:
    """The 0/1 program. Only what exceeds each row's smallest bytes and cost enters: numbers stay small."""
    smallest = sum(row[0].size_bytes for row in rows)
    flat = [(index, choice) for index, row in enumerate(rows) for choice in row]
    least = [min(choice.cost for choice in row) for row in rows]
    costs = np.array([choice.cost - least[index] for index, choice in flat])
    scale = float(costs.max()) or 1.0  # HiGHS works with absolute tolerances around 1e-6
    extra = np.array([choice.size_bytes - rows[index][0].size_bytes for index, choice in flat])
    columns = np.arange(len(flat))
    one_each = csr_array((np.ones(len(flat)), ([index for index, _ in flat], columns)))
    room = max(capacity_bytes - smallest, 1)
    slack = capacity_bytes - smallest
    for _ in range(8):
        with _nothing_printed():
            result = milp(
                costs / scale * 1e4,
                integrality=np.ones(len(flat), dtype=np.int64),
                bounds=Bounds(0, 1),
                constraints=[
                    LinearConstraint(one_each, 1, 1),
                    LinearConstraint(extra[None, :] / room, -np.inf, slack / room),
                ],
                options={"mip_rel_gap": 0.0, "presolve": True},
            )
        if result.x is None:
            raise UserError(f"the solver found no plan: {result.message}")
        picked = [flat[column] for column in np.flatnonzero(result.x > 0.5)]
        chosen = tuple(choice for _, choice in sorted(picked, key=lambda pair: pair[0]))
        used = sum(choice.size_bytes for choice in chosen)
        if used <= capacity_bytes:
            break
        slack -= used - capacity_bytes  # the constraint was met only within the solver's tolerance
    else:
        chosen = tuple(row[0] for row in rows)
    improved = _improve_by_swaps(rows, list(chosen), capacity_bytes)
    cost = sum(choice.cost for choice in improved)
    bound = cost if slack == capacity_bytes - smallest and result.mip_gap == 0 else 0.0
    if bound == 0.0 and result.mip_dual_bound is not None:
        bound = min(cost, float(result.mip_dual_bound) * scale / 1e4 + sum(least))
    return Solution(tuple(improved), bound)


@contextlib.contextmanager
def _nothing_printed() -> Iterator[None]:
    """HiGHS at times leaves a remark on the C library's standard output, where `--json` prints."""
    library = ctypes.CDLL(None)
    library.fflush(None)
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            yield
            library.fflush(None)
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _improve_by_swaps(
    rows: Sequence[Sequence[Choice]], chosen: list[Choice], capacity_bytes: int
) -> list[Choice]:
    """Single swaps that lower the cost and fit. The solver's optimum has none beyond its tolerance."""
    left = capacity_bytes - sum(choice.size_bytes for choice in chosen)
    while True:
        gains = [
            (chosen[index].cost - choice.cost, index, choice)
            for index, row in enumerate(rows)
            for choice in row
            if choice.size_bytes - chosen[index].size_bytes <= left
        ]
        gain, index, choice = max(gains, key=lambda item: item[0])
        if gain <= 0:
            return chosen
        left -= choice.size_bytes - chosen[index].size_bytes
        chosen[index] = choice


def cost_bound(rows: Sequence[Sequence[Choice]], capacity_bytes: int) -> float:
    """No selection within the capacity costs less."""
    if sum(row[-1].size_bytes for row in rows) <= capacity_bytes:
        return math.fsum(row[-1].cost for row in rows)
    return _contenders(rows, capacity_bytes)[0].lower_bound
