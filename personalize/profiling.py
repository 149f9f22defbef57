"""From recordings to a plan: measure once for all targets, then decide for one target and budget."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from myqasr.core.errors import UserError
from myqasr.core.storage import load_record, record_hash, save_record, sha256_of_text
from myqasr.personalize.measuring.method import ClipCosts
from myqasr.personalize.measuring.sensitivity import (
    METHODS,
    Measurement,
    ProfileOptions,
    measure,
    round_plan,
)
from myqasr.personalize.planning.budget import parse_budget
from myqasr.personalize.planning.exact import size_limits
from myqasr.personalize.planning.methods import make_plan
from myqasr.personalize.planning.plan import (
    FLOAT32,
    NO_RULES,
    LayerShape,
    Plan,
    PlanRules,
    Profile,
    QuantSpec,
    parse_keep,
)
from myqasr.personalize.planning.problem import Problem
from myqasr.personalize.planning.shrinkage import own_share, shrunk
from myqasr.personalize.planning.target import PlanTarget, TargetGroup
from myqasr.personalize.prior import Prior
from myqasr.personalize.rounding.codes import LayerCodes, save_codes, save_rounding
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.personalize.run_folder import (
    SCHEMA_VERSION,
    MeasuredOverhead,
    PartialProfile,
    RunFolder,
    RunSettings,
    TuneClip,
    rounding_key,
)
from myqasr.speech.datasets import Recording, audio_hash
from myqasr.speech.models.base import SpeechModel

SAVE_EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Predicted file bytes: smallest possible plan, and every layer in float32."""

    smallest_bytes: int
    float_bytes: int
    overhead_bytes: int


def profile_speaker(
    run: RunFolder,
    model: SpeechModel,
    model_source: str,
    recordings: Sequence[Recording],
    targets: TargetGroup,
    options: ProfileOptions,
    progress: Callable[[], None],
    prior: Prior | None = None,
) -> Measurement:
    """The run's profile and codes: taken as they are when they fit clips and weights, else measured and kept.

    A run that was killed in the middle goes on with the clips it had finished.
    targets: all that the profile is to serve.
    prior: many speakers, with whose costs and clips those of less than a minute of speech are mixed.
    """
    seconds = sum(recording.seconds for recording in recordings)
    others = prior if prior is not None and own_share(seconds) < 1 else None
    measured = _measured(run, model, model_source, recordings, targets, options, progress, others)
    if prior is None or prior.profile.method != options.method:
        run.prior.unlink(missing_ok=True)
        return measured
    mixed = replace(measured, profile=shrunk(measured.profile, prior.profile))
    save_record(prior.profile, run.prior)
    return mixed


def _measured(
    run: RunFolder,
    model: SpeechModel,
    model_source: str,
    recordings: Sequence[Recording],
    targets: TargetGroup,
    options: ProfileOptions,
    progress: Callable[[], None],
    others: Prior | None,
) -> Measurement:
    """What the recordings say, with codes from others' clips too if there are any; kept in the run."""
    heard = audio_hash(recordings)
    weights = model.weights_hash()
    wanted = {
        name: [spec.label for spec in targets.menu(layer_shape(name, module))]
        for name, module in model.layers().items()
    }
    rounding = options.codes_by if others is None else f"{options.codes_by}, {others.name}"
    choices = f"{options.method} {options.seed} {options.label_draws} {rounding}"
    key = sha256_of_text(f"{weights} {heard} {choices} {wanted}")
    settings = RunSettings(
        SCHEMA_VERSION,
        model_source,
        weights,
        heard,
        options.seed,
        tuple(TuneClip(str(r.clip.path), audio_hash([r]), round(r.seconds, 3)) for r in recordings),
    )
    made_of = (options.method, weights, heard, options.seed, rounding)
    previous = _complete_profile(run, made_of, wanted)
    if previous is not None:
        save_record(settings, run.settings)
        return previous
    finished = _finished_clips(run, key)
    saved_at = time.monotonic()

    def keep(index: int, costs: ClipCosts) -> None:
        nonlocal saved_at
        finished[index] = costs
        if time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
            save_record(PartialProfile(key, finished), run.partial_profile)
            saved_at = time.monotonic()

    waveforms = [recording.waveform for recording in recordings]
    measured = measure(
        model, waveforms, targets.menu, targets.scale_dtype,
        heard, options, progress,
        dict(finished), keep, () if others is None else others.waveforms(),
    )  # fmt: skip
    measured = replace(measured, profile=replace(measured.profile, rounding=rounding))
    save_record(settings, run.settings)
    save_rounding(measured.rounding, rounding_key(measured.profile), run.rounding)
    save_record(measured.profile, run.profile)
    run.partial_profile.unlink(missing_ok=True)
    return measured


def _complete_profile(
    run: RunFolder, made_of: tuple[str, str, str, int, str], wanted: dict[str, list[str]]
) -> Measurement | None:
    """What is there already; None when it is missing, incomplete, or made of anything else."""
    if not run.profile.is_file():
        return None
    try:
        profile = run.load_profile()
        found = (
            profile.method, profile.weights_hash, profile.audio_hash, profile.seed, profile.rounding
        )  # fmt: skip
        measured = {layer.shape.name: {*layer.costs, "fp32"} for layer in profile.layers}
        complete = all(set(wanted[name]) <= labels for name, labels in measured.items())
        if found != made_of or not complete:
            return None
        return Measurement(profile, run.load_rounding(profile))
    except UserError:
        return None  # of an older version, or damaged: measured again


def _finished_clips(run: RunFolder, key: str) -> dict[int, ClipCosts]:
    if not run.partial_profile.is_file():
        return {}
    try:
        partial = load_record(run.partial_profile, PartialProfile)
    except UserError:
        return {}
    return dict(partial.clips) if partial.key == key else {}


def size_range(
    run: RunFolder,
    model: SpeechModel,
    profile: Profile,
    target: PlanTarget,
    rules: PlanRules = NO_RULES,
) -> SizeRange:
    """What the target's files can weigh, with the overhead measured on an earlier export if there is one."""
    overhead = known_overhead(run, profile, target)
    overhead_bytes = target.overhead_bytes(model) if overhead is None else overhead
    return sizes_with(profile, target, overhead_bytes, rules)


def sizes_with(
    profile: Profile, target: PlanTarget, overhead_bytes: int, rules: PlanRules
) -> SizeRange:
    """What plans that keep to the rules can weigh, with this overhead."""
    menu = allowed_menu(profile, target, rules)
    smallest, floats = size_limits(profile, menu, target.layer_bytes, overhead_bytes)
    return SizeRange(smallest, floats, overhead_bytes)


def known_overhead(run: RunFolder, profile: Profile, target: PlanTarget) -> int | None:
    """Overhead measured by an earlier export of the same weights, in bytes."""
    path = run.overhead(target.name)
    if not path.is_file():
        return None
    measured = load_record(path, MeasuredOverhead)
    return measured.overhead_bytes if measured.weights_hash == profile.weights_hash else None


def budget_in_range(budget: str, sizes: SizeRange, target: str) -> int:
    """Budget in bytes; raises UserError naming both numbers when it is outside what plans can weigh."""
    budget_bytes = parse_budget(budget, sizes.float_bytes)
    if budget_bytes < sizes.smallest_bytes:
        raise UserError(
            f"smallest plan for {target} is {sizes.smallest_bytes:,} bytes; budget is "
            f"{budget_bytes:,}; raise --budget or take a smaller model"
        )
    if budget_bytes > sizes.float_bytes:
        raise UserError(
            f"the whole model in float32 is {sizes.float_bytes:,} bytes for {target}; budget is "
            f"{budget_bytes:,}: nothing to squeeze, lower --budget (1x is the float size)"
        )
    return budget_bytes


def plan_for(
    profile: Profile,
    target: PlanTarget,
    budget_bytes: int,
    overhead_bytes: int,
    rules: PlanRules = NO_RULES,
) -> Plan:
    """The best plan for a target and budget that keeps to the user's rules."""
    menu = allowed_menu(profile, target, rules)
    problem = Problem(profile, target.name, menu, target.layer_bytes, budget_bytes, overhead_bytes)
    method = METHODS.get(profile.method)
    plan = make_plan(problem, rules, ranks_only=method is not None and method.ranks_only)
    return replace(plan, rules=rules)


def curve(
    profile: Profile,
    target: PlanTarget,
    overhead_bytes: int,
    budgets: Sequence[int],
    rules: PlanRules = NO_RULES,
) -> list[Plan]:
    """The best plan for each budget: what every further byte buys."""
    return [plan_for(profile, target, budget, overhead_bytes, rules) for budget in budgets]


def allowed_menu(
    profile: Profile, target: PlanTarget, rules: PlanRules
) -> Callable[[LayerShape], tuple[QuantSpec, ...]]:
    """The target's menu without what the user ruled out; fp32 stays, so that every layer has a choice.

    Raises UserError listing the target's labels or bits when a precision isn't among them, listing layers
    when a pattern matches none, and naming the command when the target's precisions weren't measured.
    """
    _refuse_unmatched(profile, target, rules)
    known = dict.fromkeys(
        spec.label for layer in profile.layers for spec in target.menu(layer.shape)
    )
    for label in rules.precisions:
        if label not in known:
            raise UserError(
                f"{target.name} runs no layer of this model at {label!r}; it runs {', '.join(known)}"
            )
    allowed = {*(rules.precisions or known), FLOAT32.label}

    def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
        return tuple(
            spec
            for spec in target.menu(shape)
            if spec.label in allowed and spec.bits >= rules.least_bits(shape.name)
        )

    _refuse_unmeasured(profile, target, menu)
    return menu


def _refuse_unmeasured(
    profile: Profile, target: PlanTarget, menu: Callable[[LayerShape], tuple[QuantSpec, ...]]
) -> None:
    for layer in profile.layers:
        missing = {spec.label for spec in menu(layer.shape)} - {*layer.costs, FLOAT32.label}
        if missing:
            raise UserError(
                f"this run wasn't measured for {target.name}: layer {layer.shape.name} has no cost at "
                f"{', '.join(sorted(missing)[:3])}; run `myqasr personalize` on it again with --target "
                f"{target.name}, or name measured ones with --precisions"
            )


def _refuse_unmatched(profile: Profile, target: PlanTarget, rules: PlanRules) -> None:
    names = [layer.shape.name for layer in profile.layers]
    stored = sorted({spec.bits for layer in profile.layers for spec in target.menu(layer.shape)})
    for rule in rules.keep:
        pattern, bits = parse_keep(rule)
        if bits not in stored:
            raise UserError(
                f"--keep {rule}: {target.name} stores no layer of this model at {bits} bits; it has "
                f"{', '.join(map(str, stored))}"
            )
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(
                f"--keep {rule}: no layer is called {pattern!r}; there are e.g. "
                f"{', '.join([*names[:2], names[-1]])} (shell patterns work: '*.0.*=8')"
            )


def save_plan(
    run: RunFolder, measured: Measurement, plan: Plan, target: PlanTarget
) -> dict[str, LayerCodes]:
    """Write codes, then the plan that they belong to."""
    codes = round_plan(measured, plan)
    save_codes(codes, record_hash(plan), run.codes(target.name))
    save_record(plan, run.plan(target.name))
    return codes


def with_overhead(plan: Plan, overhead_bytes: int) -> Plan:
    """The same layers with the measured overhead in the books; raises UserError when over budget."""
    return replace(
        plan,
        overhead_bytes=overhead_bytes,
        predicted_bytes=plan.predicted_bytes - plan.overhead_bytes + overhead_bytes,
    )
