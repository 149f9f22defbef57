"""From recordings to a plan: measure once, then decide for one target and any budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from myqasr.core.errors import BudgetError, UserError
from myqasr.core.placing import together
from myqasr.core.storage import load_record, record_hash, save_record
from myqasr.personalize.measuring.fitting import Progress
from myqasr.personalize.measuring.sensitivity import (
    METHODS,
    Measurement,
    ProfileOptions,
    round_plan,
)
from myqasr.personalize.planning.budget import parse_budget
from myqasr.personalize.planning.exact import size_limits
from myqasr.personalize.planning.methods import make_plan
from myqasr.personalize.planning.plan import (
    FLOAT32,
    NO_RULES,
    LayerProfile,
    LayerShape,
    Plan,
    PlanRules,
    Profile,
    QuantSpec,
    parse_keep,
)
from myqasr.personalize.planning.problem import Offer, Problem
from myqasr.personalize.planning.shrinkage import known_to, lacking, own_share, shrunk
from myqasr.personalize.planning.target import PlanTarget, TargetGroup
from myqasr.personalize.prior import Prior
from myqasr.personalize.rounding.codes import LayerCodes, save_codes
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.personalize.run_folder import KeptPrior, MeasuredOverhead, RunFolder
from myqasr.personalize.unfinished import measured_in
from myqasr.speech.datasets import Recording
from myqasr.speech.decoding import notices
from myqasr.speech.models.base import SpeechModel


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
    progress: Progress = lambda stage, done, total: None,
    prior: Prior | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Measurement:
    """The run's profile and codes: taken as they are when they fit clips and weights, else measured and kept.

    A run that was killed in the middle goes on with the layers and clips it had finished; one that was
    measured for other targets is measured on, and keeps what is there.
    targets: all that the codes are to serve, and whose precisions are measured.
    prior: many speakers, with whose costs and clips those of less than a minute of speech are mixed.
    """
    if run.fetched.is_file():
        raise UserError(
            f"{run.path} was fetched from a store and has the codes of its plans only; name another folder "
            "to measure in"
        )
    for notice in notices(model.tokens):
        say(notice)
    seconds = sum(recording.seconds for recording in recordings)
    others = prior if prior is not None and own_share(seconds) < 1 else None
    shared = prior if prior is not None and prior.profile.method == options.method else None
    if shared is not None:
        _refuse_poor(shared.profile, model, targets)
    measured = measured_in(
        run, model, model_source, recordings, targets, options, progress, others, say
    )
    if shared is None:
        run.prior.unlink(missing_ok=True)
        return measured
    known = known_to(shared.profile, measured.profile)
    save_record(KeptPrior(measured.profile.key, shared.profile), run.prior)
    return replace(measured, profile=shrunk(known, shared.profile))


def _refuse_poor(prior: Profile, model: SpeechModel, targets: TargetGroup) -> None:
    """Raise UserError when the prior lacks a cost that will be asked for, before anything is measured."""
    costs = {layer.shape.name: layer.costs for layer in prior.layers}
    for name, module in model.layers().items():
        for spec in targets.menu(layer_shape(name, module)):
            if spec != FLOAT32 and spec.label not in costs.get(name, {}):
                raise lacking(name, spec.label)


def size_range(
    run: RunFolder,
    model: SpeechModel,
    profile: Profile,
    target: PlanTarget,
    rules: PlanRules = NO_RULES,
    say: Callable[[str], None] = lambda text: None,
) -> SizeRange:
    """What the target's files can weigh, with the overhead measured on an earlier export if there is one."""
    overhead = known_overhead(run, profile, target, say)
    overhead_bytes = target.overhead_bytes(model) if overhead is None else overhead
    return sizes_with(profile, target, overhead_bytes, rules)


def sizes_with(
    profile: Profile, target: PlanTarget, overhead_bytes: int, rules: PlanRules
) -> SizeRange:
    """What plans that keep to the rules can weigh, with this overhead."""
    offer = allowed_offer(profile, target, rules)
    smallest, floats = size_limits(profile, offer, overhead_bytes)
    return SizeRange(smallest, floats, overhead_bytes)


def check_budget(
    run: RunFolder, model: SpeechModel, target: PlanTarget, budget: str, rules: PlanRules
) -> None:
    """Raise UserError for a budget or rules that no plan can keep to, before anything is measured."""
    layers = []
    for name, module in model.layers().items():
        shape = layer_shape(name, module)
        costs = {spec.label: 0.0 for spec in target.menu(shape)}
        layers.append(LayerProfile(shape, name, costs))
    unmeasured = Profile(
        model.model_id, model.weights_hash(), "", 0, 0.0, 0, "", 0,
        float_weight_bytes=model.float_bytes(), layers=tuple(layers),
    )  # fmt: skip
    budget_in_range(budget, size_range(run, model, unmeasured, target, rules), target.name)


def known_overhead(
    run: RunFolder,
    profile: Profile,
    target: PlanTarget,
    say: Callable[[str], None] = lambda text: None,
) -> int | None:
    """Overhead measured by an earlier export of the same weights, in bytes; None when it isn't known.

    say: told when there is one that can't be used; it is estimated then, and measured by the next export.
    """
    path = run.overhead(target.name)
    if not path.is_file():
        return None
    try:
        measured = load_record(path, MeasuredOverhead, "it is estimated again")
    except UserError as error:
        say(str(error))
        return None
    same = (measured.target, measured.weights_hash) == (target.name, profile.weights_hash)
    return measured.overhead_bytes if same else None


def budget_in_range(budget: str, sizes: SizeRange, target: str) -> int:
    """Budget in bytes; raises BudgetError naming both numbers when it is outside what plans can weigh."""
    budget_bytes = parse_budget(budget, sizes.float_bytes)
    if budget_bytes < sizes.smallest_bytes:
        raise BudgetError(
            f"smallest plan for {target} is {sizes.smallest_bytes:,} bytes; budget is "
            f"{budget_bytes:,}; raise --budget or take a smaller model"
        )
    if budget_bytes > sizes.float_bytes:
        raise BudgetError(
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
    offer = allowed_offer(profile, target, rules)
    problem = Problem(profile, target.name, offer, budget_bytes, overhead_bytes)
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


def allowed_offer(profile: Profile, target: PlanTarget, rules: PlanRules) -> Offer:
    """The target's offer without what the user ruled out; fp32 stays, and what is all that a layer can have.

    Precisions that are named are of the layers that decide: one that follows takes what it must.

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
        whole = target.menu(shape)
        free = len(whole) == 1 or (target.one_copy and shape.matrix_of)
        return tuple(
            spec
            for spec in whole
            if (free or spec.label in allowed)
            and (spec.bits >= rules.least_bits(shape.name) or len(whole) == 1)
        )

    _refuse_unmeasured(profile, target, menu)
    return replace(target.offer, menu=menu)


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
    with together():
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
