"""What a profile and a plan say, as figures for people."""

from collections import Counter

from personalize.plan import Plan, Profile


def most_sensitive(profile: Profile, count: int) -> list[tuple[str, str, float]]:
    """Layers by falling cost at their narrowest integers: name, precision, nats per frame."""
    worst = [
        (layer.shape.name, *max(layer.costs.items(), key=lambda item: item[1]))
        for layer in profile.layers
        if layer.costs
    ]
    return sorted(worst, key=lambda item: -item[2])[:count]


def precision_counts(plan: Plan) -> list[tuple[str, int]]:
    """Precision labels with how many layers have them, most first."""
    return Counter(spec.label for spec in plan.layers.values()).most_common()
