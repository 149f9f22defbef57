"""All that a command writes: a run's files for several targets, and files to hold a personalised one against.

The latter are float, the same bits everywhere, and the published method's.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from myqasr.exporters.export import (
    Written,
    export_options,
    export_plan,
    export_run,
    manifest,
    versions_for,
)
from myqasr.exporters.manifest import Progress, save_artifact
from myqasr.exporters.target import Target, load_target
from myqasr.personalize.adapted import run_model
from myqasr.personalize.measuring.sensitivity import Measurement, ProfileOptions, measure
from myqasr.personalize.planning.budget import format_bytes
from myqasr.personalize.planning.exact import uniform_plan
from myqasr.personalize.planning.plan import PlanRules
from myqasr.personalize.profiling import plan_for
from myqasr.personalize.rounding.observe import Waveforms
from myqasr.personalize.run_folder import RunFolder
from myqasr.speech.models import load_model

UNIFORM_BITS = {"float": 32, "uniform 8 bit": 8, "uniform 4 bit": 4}


def export_targets(
    folder: RunFolder,
    names: Sequence[str],
    max_seconds: float,
    lengths: Sequence[float],
    say: Callable[[str], None],
) -> list[Written]:
    """Write a run's files for targets by name; those that a killed command had finished stay as they are.

    Raises UserError before anything is written when the run's files can't be relied on, and as `export_run`.
    """
    folder.load_settings()  # before a lock is made in a folder that isn't a run
    with folder.lock("`myqasr export`"):
        settings = folder.load_settings()
        targets = {name: load_target(name) for name in names}
        measured = folder.load_measurement()
        plans = {name: folder.load_plan(name, measured.profile) for name in names}
        made_of = {
            "of": [settings.model, settings.weights_hash, measured.profile.key],
            "as": [repr(max_seconds), [*map(repr, lengths)], list(names)],
            "with": {name: versions_for(name) for name in names},
        }
        progress = Progress(folder.partial_export, made_of)
        written = []
        for name in names:
            # A fresh model each time: tracing may leave cached tables behind.
            model = run_model(folder)
            say(f"writing {format_bytes(plans[name].predicted_bytes)} for {name}")
            file = export_run(
                folder, model, measured, targets[name], max_seconds, say, lengths, progress
            )
            written.append(file)
        progress.discard()
        return written


def export_controls(
    model_source: str,
    speaker: Measurement,
    target: Target,
    folder: Path,
    max_seconds: float,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Written]:
    """Write one file per entry of UNIFORM_BITS with a manifest beside them; by the same names."""
    written = {}
    for name, bits in UNIFORM_BITS.items():
        say(f"writing {name}")
        model = load_model(model_source)
        plan = uniform_plan(
            speaker.profile,
            target.name,
            target.offer,
            target.overhead_bytes(model),
            bits,
        )
        path = folder / target.file_name(plan.method)
        options = export_options(model, max_seconds)
        written[name] = export_plan(model, speaker, plan, target, path, options)
        entry = manifest(model, speaker.profile.weights_hash, written[name].artifact)
        save_artifact(folder, entry)
    return written


def export_published(
    model_source: str,
    waveforms: Waveforms,
    budget_bytes: int,
    overhead_bytes: int,
    target: Target,
    folder: Path,
    max_seconds: float,
) -> Written:
    """Write what myQASR does with the same clips and bytes: layers ranked by the median of what they give, a
    bit less for each in turn until it fits, weights rounded to nearest (Fish, Michieli and Ozay, 2023).

    waveforms: the speaker's, [samples] each. overhead_bytes: of a file outside the layers, as measured.
    Raises BudgetError when nothing that the method can choose fits.
    """
    model = load_model(model_source)
    options = ProfileOptions(method="median", rounding="nearest")
    ranking = measure(model, waveforms, target.menu, target.scale_dtype, "", options)
    rules = PlanRules(allocation="sweep")
    plan = plan_for(ranking.profile, target, budget_bytes, overhead_bytes, rules)
    path = folder / target.file_name("published")
    written = export_plan(model, ranking, plan, target, path, export_options(model, max_seconds))
    save_artifact(folder, manifest(model, ranking.profile.weights_hash, written.artifact))
    return written
