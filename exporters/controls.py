"""Files to hold a personalised one against: float, the same bits everywhere, and the published method's."""

from collections.abc import Callable
from pathlib import Path

from myqasr.exporters.export import Written, export_options, export_plan, manifest
from myqasr.exporters.manifest import save_artifact
from myqasr.exporters.target import Target
from myqasr.personalize.measuring.sensitivity import Measurement, ProfileOptions, measure
from myqasr.personalize.planning.exact import uniform_plan
from myqasr.personalize.planning.plan import PlanRules
from myqasr.personalize.profiling import plan_for
from myqasr.personalize.rounding.observe import Waveforms
from myqasr.speech.models import load_model

UNIFORM_BITS = {"float": 32, "uniform 8 bit": 8, "uniform 4 bit": 4}


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
