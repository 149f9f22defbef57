"""The options that say what a plan may look like beside its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from personalize.plan import PlanRules


def rules_of(precisions: str, keep: list[str] | None) -> PlanRules:
    """What `--precisions` and `--keep` ask for; raises UserError for a rule that can't be read."""
    from personalize.plan import PlanRules

    return PlanRules(listed(precisions), tuple(rule.strip() for rule in keep or ()))


def listed(text: str) -> tuple[str, ...]:
    """The parts between commas that aren't empty."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
