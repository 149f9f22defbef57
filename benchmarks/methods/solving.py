"""How long the exact allocation takes: 400 layers with 12 precisions each, costs over twelve decades.

python -m benchmarks.methods.solving
"""

import random
import time
from dataclasses import dataclass

from benchmarks.results import save_result
from myqasr.personalize.planning.exact import Choice, solve
from myqasr.personalize.planning.plan import QuantSpec

LAYERS, PRECISIONS = 400, 12
FILLS = (0.1, 0.3, 0.6)
SEEDS = 5


@dataclass(frozen=True, slots=True)
class Solved:
    """fill: budget between the smallest selection (0) and the largest. gap: relative, 0 is proven optimal."""

    seed: int
    fill: float
    seconds: float
    gap: float


def random_options(seed: int) -> list[list[Choice]]:
    """Layers of 10 thousand to 4 million weights; every step up costs a half to a fifth of the last."""
    rng = random.Random(seed)
    options = []
    for _ in range(LAYERS):
        weights, cost = rng.randint(10_000, 4_000_000), 10 ** rng.uniform(-9, -3)
        options.append(
            [
                Choice(
                    QuantSpec(8),
                    cost * 10 ** (-step * rng.uniform(0.3, 0.7)),
                    int(weights * (2 + 2.5 * step) / 8) + rng.randint(0, 400),
                )
                for step in range(PRECISIONS)
            ]
        )
    return options


def main() -> None:
    rows = []
    for seed in range(SEEDS):
        options = random_options(seed)
        smallest = sum(row[0].size_bytes for row in options)
        largest = sum(row[-1].size_bytes for row in options)
        for fill in FILLS:
            started = time.perf_counter()
            found = solve(options, smallest + int(fill * (largest - smallest)))
            seconds = time.perf_counter() - started
            gap = (found.cost - found.lower_bound) / found.cost
            rows.append(Solved(seed, fill, round(seconds, 3), gap))
            print(rows[-1], flush=True)
    print(save_result("solving", "python -m benchmarks.methods.solving", rows))


if __name__ == "__main__":
    main()
