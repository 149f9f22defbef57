"""What is known of speakers in general, for as long as little is known of this one.

Costs from a few seconds of speech are noisy, and those of many speakers are close to those of one: with less
than a minute the two are mixed, by the share of a minute that there is.
"""

from dataclasses import replace

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import Plan, Profile

ENOUGH_SECONDS = 60.0


def own_share(seconds: float) -> float:
    """How much of what is mixed is the speaker's own, 0 to 1, with so much speech."""
    return min(1.0, seconds / ENOUGH_SECONDS)


def shrunk(profile: Profile, prior: Profile) -> Profile:
    """The speaker's profile with its costs moved towards those of a prior, the more the less speech there is.

    Raises UserError when the prior is of other weights or lacks a cost.
    """
    if prior.weights_hash != profile.weights_hash:
        raise UserError(
            f"the prior was measured on weights {prior.weights_hash}, the profile on "
            f"{profile.weights_hash}; measure it on this model"
        )
    share = own_share(profile.seconds)
    general = {layer.shape.name: layer.costs for layer in prior.layers}
    layers = []
    for layer in profile.layers:
        known = general.get(layer.shape.name, {})
        missing = sorted(set(layer.costs) - set(known))
        if missing:
            raise lacking(layer.shape.name, missing[0])
        mixed = {
            label: share * cost + (1 - share) * known[label] for label, cost in layer.costs.items()
        }
        layers.append(replace(layer, costs=mixed))
    return replace(profile, layers=tuple(layers))


def lacking(layer: str, label: str) -> UserError:
    """The error of a prior that wasn't measured for the target."""
    return UserError(
        f"the prior has no cost of {layer} at {label}; measure it again, with `myqasr personalize` and the "
        "same --target"
    )


def known_to(prior: Profile, profile: Profile) -> Profile:
    """The profile without costs that the prior lacks: it may have been measured for more targets."""
    known = {layer.shape.name: layer.costs for layer in prior.layers}
    layers = []
    for layer in profile.layers:
        there = known.get(layer.shape.name, {})
        costs = {label: cost for label, cost in layer.costs.items() if label in there}
        layers.append(replace(layer, costs=costs))
    return replace(profile, layers=tuple(layers))


def expected_cost(profile: Profile, plan: Plan) -> float:
    """What a plan costs by this profile's costs, nats per frame, whoever it was made for."""
    return sum(layer.cost(plan.layers[layer.shape.name]) for layer in profile.layers)
