"""What a profile and a plan say, as figures for people."""

from collections import Counter

from myqasr.personalize.planning.plan import Plan, Profile


def most_sensitive(profile: Profile, count: int) -> list[tuple[str, str, float, float | None]]:
    """Layers by falling cost at their worst precision: name, precision, nats per frame, standard error."""
    worst = []
    for layer in profile.layers:
        if layer.costs:
            label = max(layer.costs, key=lambda each: layer.costs[each])
            worst.append((layer.shape.name, label, layer.costs[label], layer.errors.get(label)))
    return sorted(worst, key=lambda item: -item[2])[:count]


def precision_counts(plan: Plan) -> list[tuple[str, int]]:
    """Precision labels with how many layers have them, most first."""
    return Counter(spec.label for spec in plan.layers.values()).most_common()
