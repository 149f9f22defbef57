"""The files everyone ships, to hold a personalised one against: float, and the same bits everywhere."""

from collections.abc import Callable
from pathlib import Path

from myqasr.exporters.export import Written, export_options, export_plan, manifest
from myqasr.exporters.manifest import save_artifact
from myqasr.exporters.target import Target
from myqasr.personalize.measuring.sensitivity import Measurement
from myqasr.personalize.planning.exact import uniform_plan
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
            target.menu,
            target.layer_bytes,
            target.overhead_bytes(model),
            bits,
        )
        path = folder / f"{plan.method}{target.suffix}"
        options = export_options(model, max_seconds)
        written[name] = export_plan(model, speaker, plan, target, path, options)
        entry = manifest(model, speaker.profile.weights_hash, written[name].artifact)
        save_artifact(folder, entry)
    return written
