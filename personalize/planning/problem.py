"""What has to be decided: a precision for every layer, from its menu, within a budget of bytes. No torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from myqasr.core.errors import BudgetError, UserError
from myqasr.personalize.planning.plan import (
    FLOAT32,
    LayerProfile,
    LayerShape,
    Plan,
    Profile,
    QuantSpec,
)

Menu = Callable[[LayerShape], Sequence[QuantSpec]]
LayerBytes = Callable[[LayerShape, QuantSpec], int]


@dataclass(frozen=True, slots=True)
class Choice:
    """One precision of one layer: what it costs and weighs."""

    spec: QuantSpec
    cost: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Problem:
    """All that an allocation method is given; each is a function from this to a `Plan`.

    target: its name. menu, layer_bytes: the target's. overhead_bytes: of the file outside the layers.
    """

    profile: Profile
    target: str
    menu: Menu
    layer_bytes: LayerBytes
    budget_bytes: int
    overhead_bytes: int

    @property
    def capacity_bytes(self) -> int:
        """What is left for the layers."""
        return self.budget_bytes - self.overhead_bytes

    def choices(self) -> list[tuple[Choice, ...]]:
        """Every layer's menu with costs and bytes, in the profile's order.

        Raises UserError for a precision that wasn't measured.
        """
        return [
            layer_choices(layer, self.menu(layer.shape), self.layer_bytes)
            for layer in self.profile.layers
        ]

    def refuse_below(self, smallest_bytes: int, of: str = "") -> None:
        """Raise UserError naming both numbers when the budget is below the smallest file.

        of: whose smallest plan it is, when another method's may be smaller.
        """
        if self.budget_bytes < smallest_bytes:
            raise BudgetError(
                f"smallest plan for {self.target}{of} is {smallest_bytes:,} bytes; budget is "
                f"{self.budget_bytes:,}; raise --budget or take a smaller model"
            )

    def plan(self, method: str, chosen: Sequence[Choice], lower_bound: float = 0.0) -> Plan:
        """The plan with these choices, one for each layer of the profile, in its order."""
        return Plan(
            profile_hash=self.profile.key,
            target=self.target,
            method=method,
            budget_bytes=self.budget_bytes,
            predicted_bytes=self.overhead_bytes + sum(choice.size_bytes for choice in chosen),
            overhead_bytes=self.overhead_bytes,
            expected_cost=math.fsum(choice.cost for choice in chosen),
            lower_bound=lower_bound,
            layers={
                layer.shape.name: choice.spec
                for layer, choice in zip(self.profile.layers, chosen, strict=True)
            },
        )


def layer_choices(
    layer: LayerProfile, menu: Sequence[QuantSpec], layer_bytes: LayerBytes
) -> tuple[Choice, ...]:
    """The menu with measured costs and bytes. Raises UserError for a precision that wasn't measured."""
    choices = []
    for spec in menu:
        cost = 0.0 if spec == FLOAT32 else layer.costs.get(spec.label)
        if cost is None:
            raise UserError(
                f"layer {layer.shape.name} was not measured at {spec.label}; delete profile.json and "
                "run `myqasr personalize` again"
            )
        choices.append(Choice(spec, cost, layer_bytes(layer.shape, spec)))
    return tuple(choices)


def undominated(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """By rising bytes and falling cost: choices that something both cheaper and smaller beats are gone."""
    kept: list[Choice] = []
    for choice in sorted(choices, key=lambda c: (c.size_bytes, c.cost)):
        if not kept or choice.cost < kept[-1].cost:
            kept.append(choice)
    return tuple(kept)
