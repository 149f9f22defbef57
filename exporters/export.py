"""Write a plan's file, prove what is in it, and keep it under its budget.

A first plan is made with an estimate of the bytes that no choice of precision explains. The file tells
the real figure; where that pushes it over the budget, or leaves room for a better plan, the plan is made
again. A file is moved to its place only after it was read back and found equal to the plan.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from myqasr.core.errors import BrokenFileError, BudgetError, UserError
from myqasr.core.placing import check_place, drafting, together
from myqasr.core.storage import record_hash, save_record, sha256_of, size_of
from myqasr.exporters.audit import compare
from myqasr.exporters.manifest import (
    SCHEMA_VERSION,
    Artifact,
    InputSpec,
    Manifest,
    Progress,
    load_artifact,
    save_artifact,
)
from myqasr.exporters.target import ExportOptions, Target, all_targets, load_target
from myqasr.personalize.measuring.sensitivity import Measurement, round_plan
from myqasr.personalize.planning.exact import plan_mean_bits
from myqasr.personalize.planning.plan import Plan, Profile
from myqasr.personalize.profiling import plan_for, save_plan, with_overhead
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.personalize.run_folder import MeasuredOverhead, RunFolder
from myqasr.speech.models.base import SAMPLE_RATE, SpeechModel

MAX_ATTEMPTS = 5
MIN_BUDGET_USE = 0.98
MIN_GAIN = 0.01  # of the expected cost: less isn't worth another export
MOST_SECONDS = 24 * 3600
MOST_LENGTHS = 128
"""So many listed lengths Core ML takes."""

PACKAGES = ("torch", "torchao", "executorch", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Written:
    """A file in its place, the plan that it holds, and how often it was planned to get there."""

    path: Path
    plan: Plan
    artifact: Artifact
    attempts: int


def export_run(
    run: RunFolder,
    model: SpeechModel,
    speaker: Measurement,
    target: Target,
    max_seconds: float,
    say: Callable[[str], None] = lambda text: None,
    lengths: Sequence[float] = (),
    progress: Progress | None = None,
) -> Written:
    """Export the run's plan for a target; the plan is made again with the measured overhead if need be.

    progress: what was got before a kill, which isn't written again, and where what is got now is kept.
    lengths: seconds of audio that the file takes, and no others; only for Core ML.
    Raises UserError when the model isn't the one that was measured, when no plan fits the budget with
    the measured overhead, or when the file read back doesn't hold the plan.
    """
    if model.weights_hash() != speaker.profile.weights_hash:
        raise UserError(
            f"{model.model_id} has changed since it was measured: weights {model.weights_hash()}, "
            f"profile {speaker.profile.weights_hash}; run `myqasr personalize` again"
        )
    if lengths and not target.lists_lengths:
        listing = sorted(each.name for each in all_targets() if each.lists_lengths)
        raise UserError(
            f"{target.name} files take any length; --lengths is for {', '.join(listing)}"
        )
    options = export_options(model, max_seconds, lengths)
    path = run.exports / target.file_name(run.name)
    plan = run.load_plan(target.name, speaker.profile)
    check_place(path)
    if progress is not None and progress.is_written(plan, path):
        say(f"{path} was written before the stop")
        _, artifact = load_artifact(path)
        return _with_companions(Written(path, plan, artifact, 0), target, model, speaker, say)
    with together():
        written = export_within_budget(
            model, speaker, plan, target, path, options, say, progress, run.fetched.is_file()
        )
        # The plan comes last: as long as it is the old one, all of this is done again after a kill.
        save_artifact(run.exports, manifest(model, speaker.profile.weights_hash, written.artifact))
        measured = MeasuredOverhead(
            target.name,
            speaker.profile.weights_hash,
            options.max_samples,
            written.plan.overhead_bytes,
        )
        save_record(measured, run.overhead(target.name))
        save_plan(run, speaker, written.plan, target)
    if progress is not None:
        progress.keep_written(written.plan, path)
    return _with_companions(written, target, model, speaker, say)


def _with_companions(
    written: Written,
    target: Target,
    model: SpeechModel,
    speaker: Measurement,
    say: Callable[[str], None],
) -> Written:
    """What goes with a file that can't be run here is written, too."""
    if target.companions is not None:
        codes = round_plan(speaker, written.plan)
        say(target.companions(model, codes, written.path, written.artifact))
    return written


def export_plan(
    model: SpeechModel,
    speaker: Measurement,
    plan: Plan,
    target: Target,
    path: Path,
    options: ExportOptions,
) -> Written:
    """Write one plan as it is, whatever it weighs; used for controls, which have no budget.

    Raises UserError naming the layers whose stored form isn't the planned one.
    """
    with drafting(path) as draft:
        order, size_bytes = _write_checked(model, speaker, plan, target, draft, options)
        overhead_bytes = size_bytes - (plan.predicted_bytes - plan.overhead_bytes)
        measured = replace(plan, budget_bytes=max(plan.budget_bytes, size_bytes))
        measured = with_overhead(measured, overhead_bytes)
        artifact = _artifact(
            draft, path.name, speaker.profile, measured, plan.predicted_bytes, order, options
        )
    return Written(path, measured, artifact, attempts=1)


def export_within_budget(
    model: SpeechModel,
    speaker: Measurement,
    plan: Plan,
    target: Target,
    path: Path,
    options: ExportOptions,
    say: Callable[[str], None],
    progress: Progress | None = None,
    final: bool = False,
) -> Written:
    """Write, measure, plan again until the file is within the budget and nothing better would be.

    progress: knows what files weighed that a killed run wrote; only the one that stays is written again.
    final: the plan stays as it is while it fits, for there are no codes of another.
    Raises UserError when the file doesn't hold its plan, or no plan fits with the measured overhead.
    """
    overhead_bytes = last_bytes = 0
    with drafting(path) as draft:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            order: tuple[str, ...] | None = None
            size_bytes = None if progress is None else progress.size_of(plan)
            if size_bytes is None:
                order, size_bytes = _write_checked(model, speaker, plan, target, draft, options)
                if progress is not None:
                    progress.keep_size(plan, size_bytes)
            last_bytes = size_bytes
            measured_bytes = size_bytes - (plan.predicted_bytes - plan.overhead_bytes)
            # It differs by some bytes from plan to plan; taking the largest seen makes this end.
            overhead_bytes = max(overhead_bytes, measured_bytes)
            fits = size_bytes <= plan.budget_bytes
            best = plan
            if not (final and fits):
                best = plan_for(
                    speaker.profile, target, plan.budget_bytes, overhead_bytes, plan.rules
                )
            if fits and (attempt == MAX_ATTEMPTS or not _worth_it(plan, best, size_bytes)):
                if order is None:
                    order, _ = _write_checked(model, speaker, plan, target, draft, options)
                predicted_bytes = plan.predicted_bytes
                plan = replace(plan, lower_bound=min(best.lower_bound, plan.expected_cost))
                plan = with_overhead(plan, measured_bytes)
                artifact = _artifact(
                    draft, path.name, speaker.profile, plan, predicted_bytes, order, options
                )
                return Written(path, plan, artifact, attempt)
            say(
                f"the file has {size_bytes:,} bytes, "
                f"{size_bytes - plan.predicted_bytes:+,} against the prediction; "
                "planning again with the measured overhead"
            )
            plan = best
    raise BudgetError(
        f"no file within {plan.budget_bytes:,} bytes after {MAX_ATTEMPTS} attempts, the last had "
        f"{last_bytes:,}; raise --budget by {last_bytes - plan.budget_bytes:,} bytes"
    )


def _worth_it(plan: Plan, best: Plan, size_bytes: int) -> bool:
    """Whether another export is worth its time: a better plan fits, by enough or with much room left."""
    if best.layers == plan.layers or best.expected_cost >= plan.expected_cost:
        return False
    much_room = size_bytes < MIN_BUDGET_USE * plan.budget_bytes
    return much_room or best.expected_cost < (1 - MIN_GAIN) * plan.expected_cost


def _write_checked(
    model: SpeechModel,
    speaker: Measurement,
    plan: Plan,
    target: Target,
    draft: Path,
    options: ExportOptions,
) -> tuple[tuple[str, ...], int]:
    """Write a draft and hold what it stores against the plan, bit for bit.

    Returns its layers in the order in which the program runs them, and its bytes.
    """
    codes = round_plan(speaker, plan)
    order = target.write(model, codes, draft, options)
    check_file(draft, target, codes, order, model)
    return order, size_of(draft)


def check_file(
    path: Path,
    target: Target,
    codes: dict[str, LayerCodes],
    order: tuple[str, ...],
    model: SpeechModel,
) -> None:
    """Read the file back; raises UserError naming the layers that differ from their codes."""
    theirs = target.of_runtime or (lambda shape: False)
    modules = model.layers()
    held = {
        name: each for name, each in codes.items() if not theirs(layer_shape(name, modules[name]))
    }
    mismatches = compare(target.read(path), held, order, model)
    if mismatches:
        shown = "; ".join(f"{m.layer}: {m.reason}" for m in mismatches[:3])
        more = f"; and {len(mismatches) - 3} more" if len(mismatches) > 3 else ""
        raise BrokenFileError(
            f"{path} does not hold the plan: {shown}{more}; export again, and report this if it stays"
        )


def export_options(
    model: SpeechModel, max_seconds: float, lengths: Sequence[float] = ()
) -> ExportOptions:
    """Whole output frames up to `max_seconds`, or the listed lengths, or the model's own window of audio.

    lengths: seconds; then `max_seconds` says nothing. Raises UserError when an input isn't longer than one
    frame, or the lengths are too many or not the model's to choose.
    """
    if model.max_samples == model.min_samples:
        if lengths:
            raise UserError(
                f"{model.model_id} takes {model.min_samples / SAMPLE_RATE:g} s of audio and nothing else; "
                "export it without --lengths"
            )
        return ExportOptions(model.min_samples, model.min_samples)
    if len(lengths) > MOST_LENGTHS:
        raise UserError(f"Core ML takes {MOST_LENGTHS} lengths at most; {len(lengths)} were given")
    samples = sorted({_whole_frames(model, each, "--lengths") for each in lengths})
    longest = samples[-1] if samples else _whole_frames(model, max_seconds, "--max-seconds")
    return ExportOptions(model.min_samples, longest, tuple(samples))


def _whole_frames(model: SpeechModel, seconds: float, option: str) -> int:
    """Samples of the whole output frames in so much audio; raises UserError when it is one or none."""
    if not 0 < seconds <= MOST_SECONDS:
        raise UserError(f"{option} {seconds:g} is no length of audio; write up to {MOST_SECONDS} s")
    samples = int(seconds * SAMPLE_RATE) // model.stride_samples * model.stride_samples
    if samples <= model.min_samples:
        raise UserError(
            f"{option} {seconds:g} is {samples} samples; the model needs more than {model.min_samples}"
        )
    return samples


def manifest(model: SpeechModel, weights_hash: str, artifact: Artifact) -> Manifest:
    """A manifest of one artifact with the versions of what wrote it."""
    return Manifest(
        SCHEMA_VERSION,
        model.model_id,
        weights_hash,
        model.tokens,
        InputSpec(SAMPLE_RATE, model.normalize, model.stride_samples),
        versions_for(artifact.target),
        (artifact,),
    )


def versions_for(target: str) -> dict[str, str]:
    """Of Python and the packages that write a target's files."""
    packages = (*PACKAGES, *load_target(target).wrote_by)
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _artifact(
    draft: Path,
    name: str,
    profile: Profile,
    plan: Plan,
    predicted_bytes: int,
    order: tuple[str, ...],
    options: ExportOptions,
) -> Artifact:
    """The manifest entry of a checked draft. predicted_bytes: as foretold before it was written."""
    return Artifact(
        target=plan.target,
        file=name,
        sha256=sha256_of(draft),
        size_bytes=size_of(draft),
        predicted_bytes=predicted_bytes,
        budget_bytes=plan.budget_bytes,
        mean_bits=round(plan_mean_bits(profile, plan), 3),
        min_samples=options.min_samples,
        max_samples=options.max_samples,
        plan_hash=record_hash(plan),
        profile_hash=plan.profile_hash,
        layers={name: plan.layers[name] for name in order},
        lengths=options.lengths,
    )
