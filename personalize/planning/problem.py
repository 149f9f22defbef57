"""What has to be decided: a precision for every layer, from its menu, within a budget of bytes. No torch."""

import math
from collections.abc import Callable, Mapping, Sequence
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
class Offer:
    """Precisions to choose from for each layer, and what they weigh.

    one_copy: a layer that reads another's matrix has what is stored of that one; it decides nothing.
    alike: layers for which this is true all have one precision: the first of them decides.
    """

    menu: Menu
    layer_bytes: LayerBytes
    one_copy: bool = False
    alike: Callable[[LayerShape], bool] | None = None

    def followers(self, profile: Profile) -> Mapping[str, Sequence[LayerProfile]]:
        """The layers that decide nothing, by the name of the layer that decides for them."""
        names = {layer.shape.name for layer in profile.layers}
        alike = [] if self.alike is None else [x for x in profile.layers if self.alike(x.shape)]
        found = {alike[0].shape.name: alike[1:]} if alike else {}
        same = {layer.shape.name for layer in alike}
        for layer in profile.layers:
            owner = layer.shape.matrix_of
            if self.one_copy and owner in names and layer.shape.name not in same:
                found.setdefault(owner, []).append(layer)
        return found


@dataclass(frozen=True, slots=True)
class Choice:
    """One precision of one layer: what it costs and weighs, with who follows it."""

    spec: QuantSpec
    cost: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Problem:
    """All that an allocation method is given; each is a function from this to a `Plan`.

    target: its name. offer: what it offers. overhead_bytes: of the file outside the layers.
    """

    profile: Profile
    target: str
    offer: Offer
    budget_bytes: int
    overhead_bytes: int

    @property
    def capacity_bytes(self) -> int:
        """What is left for the layers."""
        return self.budget_bytes - self.overhead_bytes

    @property
    def layers(self) -> list[LayerProfile]:
        """Those that have a choice, in the profile's order; the others follow one of them."""
        return deciding(self.profile, self.offer)

    def choices(self) -> list[tuple[Choice, ...]]:
        """What each of `layers` can have, with costs and bytes.

        Raises UserError for a precision that wasn't measured.
        """
        return all_choices(self.profile, self.offer)

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
        """The plan with these choices, one for each of `layers`, in their order."""
        return Plan(
            profile_hash=self.profile.key,
            target=self.target,
            method=method,
            budget_bytes=self.budget_bytes,
            predicted_bytes=self.overhead_bytes + sum(choice.size_bytes for choice in chosen),
            overhead_bytes=self.overhead_bytes,
            expected_cost=math.fsum(choice.cost for choice in chosen),
            lower_bound=lower_bound,
            layers=every_spec(self.profile, self.offer, [choice.spec for choice in chosen]),
        )


def deciding(profile: Profile, offer: Offer) -> list[LayerProfile]:
    """The layers that have a choice."""
    following = {each.shape.name for some in offer.followers(profile).values() for each in some}
    return [layer for layer in profile.layers if layer.shape.name not in following]


def all_choices(profile: Profile, offer: Offer) -> list[tuple[Choice, ...]]:
    """What each layer that decides can have; raises UserError for a precision that wasn't measured."""
    followers = offer.followers(profile)
    found = []
    for layer in deciding(profile, offer):
        choices = layer_choices(layer, offer)
        for follower in followers.get(layer.shape.name, ()):
            theirs = {each.spec.stored: each for each in layer_choices(follower, offer)}
            choices = tuple(
                Choice(own.spec, own.cost + other.cost, own.size_bytes + other.size_bytes)
                for own in choices
                if (other := theirs.get(own.spec.stored)) is not None
            )
        if not choices:
            raise UserError(
                f"no precision is left for layer {layer.shape.name} and those that have the same one; "
                "allow more with --precisions or --keep"
            )
        found.append(choices)
    return found


def every_spec(profile: Profile, offer: Offer, chosen: Sequence[QuantSpec]) -> dict[str, QuantSpec]:
    """Every layer's precision, from those of the layers that decide, in the profile's order."""
    followers = offer.followers(profile)
    found = {}
    for layer, spec in zip(deciding(profile, offer), chosen, strict=True):
        found[layer.shape.name] = spec
        for follower in followers.get(layer.shape.name, ()):
            menu = offer.menu(follower.shape)
            found[follower.shape.name] = next(s for s in menu if s.stored == spec.stored)
    return {layer.shape.name: found[layer.shape.name] for layer in profile.layers}


def layer_choices(layer: LayerProfile, offer: Offer) -> tuple[Choice, ...]:
    """The menu with measured costs and bytes. Raises UserError for a precision that wasn't measured."""
    choices = []
    for spec in offer.menu(layer.shape):
        cost = 0.0 if spec == FLOAT32 else layer.costs.get(spec.label)
        if cost is None:
            raise UserError(
                f"layer {layer.shape.name} was not measured at {spec.label}; delete profile.json and "
                "run `myqasr personalize` again"
            )
        choices.append(Choice(spec, cost, offer.layer_bytes(layer.shape, spec)))
    return tuple(choices)


def undominated(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """By rising bytes and falling cost: choices that something both cheaper and smaller beats are gone."""
    kept: list[Choice] = []
    for choice in sorted(choices, key=lambda c: (c.size_bytes, c.cost)):
        if not kept or choice.cost < kept[-1].cost:
            kept.append(choice)
    return tuple(kept)
