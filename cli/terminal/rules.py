"""The options that say what a plan may look like beside its budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from myqasr.personalize.planning.plan import PlanRules


def rules_of(
    precisions: str,
    keep: list[str] | None,
    allocation: str = "",
    most_precisions: int | None = None,
    tied: bool = False,
) -> PlanRules:
    """What options like `--precisions` ask for; raises UserError for a rule that can't be read or kept."""
    from myqasr.personalize.planning.plan import PlanRules

    kept = tuple(rule.strip() for rule in keep or ())
    return PlanRules(listed(precisions), kept, allocation, most_precisions, tied)


def listed(text: str) -> tuple[str, ...]:
    """The parts between commas that aren't empty."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def seconds_of(text: str) -> tuple[float, ...]:
    """The numbers of `--lengths`; raises UserError naming what isn't a time."""
    from myqasr.core.errors import UserError

    found = []
    for part in listed(text):
        try:
            seconds = float(part)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise UserError(f"--lengths: {part!r} is no number of seconds; write e.g. 2,5,10")
        found.append(seconds)
    return tuple(found)
