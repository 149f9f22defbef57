"""All that one export command writes: the files of several targets, one after the other."""

from collections.abc import Callable, Sequence

from myqasr.exporters.export import Written, export_run, versions_for
from myqasr.exporters.manifest import Progress
from myqasr.exporters.target import load_target
from myqasr.personalize.adapted import run_model
from myqasr.personalize.planning.budget import format_bytes
from myqasr.personalize.run_folder import RunFolder


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
