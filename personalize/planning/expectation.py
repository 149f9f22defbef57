"""What a plan will really cost: its sum of costs, seen in the light of plans that were tried whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from myqasr.personalize.planning.plan import Check, Profile

WIDE = 1.5
"""Factor that the interval spans to either side beyond sampling error: between plans that were tried."""
ERRORS = 2.0
"""Standard errors of the plans tried that the interval spans."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Divergence of a plan on speech that it never heard, nats per frame: most likely, and between what."""

    nats: float
    low: float
    high: float


def expectation(profile: Profile, expected_cost: float) -> Expectation | None:
    """What a plan costs whose layers' costs add up to `expected_cost`; None where no plan was tried.

    How many times its sum a plan costs is interpolated between the plans tried, over the logarithm of the
    sum; outside of them it is that of the nearest.
    """
    tried = [check for check in profile.checks if check.expected > 0 and check.measured > 0]
    if not tried or expected_cost <= 0:
        return None
    factor = math.exp(
        _between(tried, [math.log(c.measured / c.expected) for c in tried], expected_cost)
    )
    error = _between(tried, [c.error / c.measured for c in tried], expected_cost)
    spread = WIDE * (1 + ERRORS * error)
    nats = expected_cost * factor
    return Expectation(nats, nats / spread, nats * spread)


def _between(tried: Sequence[Check], values: Sequence[float], at: float) -> float:
    """Linear over the logarithm of what the plans were expected to cost."""
    places = [math.log(check.expected) for check in tried]
    return float(np.interp(math.log(at), places, values))
