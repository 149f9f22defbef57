"""`myqasr personalize`: recordings in, profile and plan out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.cli.terminal.output import listening, print_json, tell

if TYPE_CHECKING:
    from myqasr.api import Personalized
    from myqasr.personalize.planning.plan import PlanRules
    from myqasr.speech.datasets import Selection


LEFT_OUT_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Measuring:
    """How costs are measured and codes made, as asked for; see `ProfileOptions`. threads: of torch."""

    device: str
    seed: int
    rounding: str
    sensitivity: str
    scales: str
    ranges: str
    threads: int | None


def run(
    model_source: str,
    audio: list[Path],
    selection: Selection,
    budget: str,
    out: Path,
    target_name: str,
    clips: int,
    measuring: Measuring,
    prior_source: Path | None,
    rules: PlanRules,
    teacher: str | None,
    start: Path | None,
    as_json: bool,
) -> None:
    """Measure, allocate, round, and say in words what was found."""
    import torch

    from myqasr.api import personalize_model
    from myqasr.personalize.measuring.sensitivity import ProfileOptions

    options = ProfileOptions(
        measuring.device,
        measuring.seed,
        rounding=measuring.rounding,
        method=measuring.sensitivity,
        scales=measuring.scales,
        ranges=measuring.ranges,
    )
    if measuring.threads is not None:
        torch.set_num_threads(measuring.threads)
    with listening("measuring") as listener:
        found = personalize_model(
            model_source, audio, budget=budget, out=out, target=target_name, clips=clips,
            selection=selection, options=options, prior=prior_source, rules=rules, teacher=teacher,
            start=start, listener=listener,
        )  # fmt: skip
    if as_json:
        print_json(found.plan)
    else:
        _print_findings(found, out)


def _print_findings(found: Personalized, out: Path) -> None:
    from rich.markup import escape

    from myqasr.personalize.adapting.describe import in_words
    from myqasr.personalize.planning.budget import format_bytes
    from myqasr.personalize.planning.describe import most_sensitive, precision_counts
    from myqasr.personalize.planning.exact import plan_mean_bits
    from myqasr.personalize.planning.expectation import expectation
    from myqasr.personalize.planning.shrinkage import expected_cost, own_share

    profile, plan, generic = found.profile, found.plan, found.generic
    share = plan.predicted_bytes / found.sizes.float_bytes
    tell(
        f"Listened to [bold]{profile.seconds:.0f} s[/] of speech in {profile.clips} clips; "
        "no transcript was read.",
    )
    if found.adaptation is not None:
        for sentence in in_words(found.adaptation):
            tell(escape(sentence))
    own = own_share(profile.seconds)
    if generic is not None and own < 1:
        tell(
            f"That is little: costs are {own:.0%} this speaker's, the rest is what is known "
            "of speakers in general; codes are from other speakers' clips, too."
        )
    tell("Most sensitive layers for this speaker:")
    for name, label, cost, error in most_sensitive(profile, count=3):
        spread = f" ± {error:.1g}" if error is not None else ""
        at = f" at {label}" if profile.in_nats else ""
        tell(f"  {name}  {cost:.2g}{spread} {profile.unit}{at}")
    tell(
        f"Plan for {plan.target}: [bold]{format_bytes(plan.predicted_bytes)}[/] of "
        f"{format_bytes(plan.budget_bytes)} allowed ({share:.0%} of float), "
        f"{plan_mean_bits(profile, plan):.2f} bits a weight: "
        + ", ".join(f"{count} x {label}" for label, count in precision_counts(plan)),
    )
    if not profile.in_nats:
        _tell_left_out(found)
        tell(f"Next: myqasr export {out}")
        return
    proven = f" (proven within {plan.gap:.1%} of the best)" if plan.method == "exact" else ""
    likely = expectation(profile, plan.expected_cost)
    if likely is None:
        tell(f"Expected divergence {plan.expected_cost:.3g} {profile.unit}{proven}.")
    else:
        tell(
            f"Expected divergence {likely.nats:.3g} {profile.unit}, between {likely.low:.2g} and "
            f"{likely.high:.2g}, on speech that its codes never heard; its layers' costs add up to "
            f"{plan.expected_cost:.3g}{proven}."
        )
    if generic is not None:
        cost = expected_cost(profile, generic)
        other = sum(generic.layers[name] != spec for name, spec in plan.layers.items())
        tell(
            f"The generic plan of the same size would cost this speaker {cost:.3g}; it differs in "
            f"{other} of {len(plan.layers)} layers."
        )
    _tell_left_out(found)
    tell(f"Next: myqasr export {out}")


def _tell_left_out(found: Personalized) -> None:
    """What was among the recordings and wasn't heard; run.json has all of it, and all that was."""
    from rich.markup import escape

    shown = [f"{path.name}: {reason}" for path, reason in found.skipped[:LEFT_OUT_SHOWN]]
    if shown:
        more = len(found.skipped) - len(shown)
        rest = f"; and {more} more" if more else ""
        tell(escape(f"Left out (all in {found.path / 'run.json'}): {'; '.join(shown)}{rest}"))
