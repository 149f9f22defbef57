"""`myqasr demo`: the whole chain on the embedded model and one embedded user."""

from pathlib import Path

from myqasr.cli.terminal.output import listening, print_json, say, stage_progress, tell
from myqasr.core.errors import UserError

DEFAULT_USER = "synth-ada"
CLIPS = 16
MAX_SECONDS = 15.0


def run(out: Path, user: str | None, budget: str, threads: int, as_json: bool) -> None:
    """Measure one user, write float, uniform and personalised files, and bench them in one run."""
    from myqasr.api import load_model, personalize_model
    from myqasr.cli.terminal.bench_table import print_report
    from myqasr.exporters.controls import export_controls
    from myqasr.exporters.export import export_run
    from myqasr.exporters.target import load_target
    from myqasr.personalize.measuring.sensitivity import ProfileOptions
    from myqasr.personalize.run_folder import RunFolder
    from myqasr.runtime_bench.measure.bench import BenchOptions
    from myqasr.runtime_bench.measure.run_bench import (
        bench_files,
        held_out_recordings,
        model_systems,
    )
    from myqasr.runtime_bench.runners.exported import exported_file
    from myqasr.speech.datasets import choose_clips, find_clips

    clips = _user_folder(user if user is not None else DEFAULT_USER)
    recordings, _ = choose_clips(find_clips(clips / "tune"), CLIPS)
    say(f"listening to {len(recordings)} unlabelled clips of {clips.name}")
    with RunFolder(out).lock("`myqasr demo`"):
        with listening("measuring") as listener:
            speaker = personalize_model(
                "default", recordings, budget=budget, out=out, options=ProfileOptions(),
                listener=listener,
            )  # fmt: skip
        folder, target = RunFolder(out), load_target(speaker.target)
        controls = folder.path / "controls"
        files = export_controls("default", speaker.measured, target, controls, MAX_SECONDS, say)
        say("writing personalised")
        files["personalised"] = export_run(
            folder, load_model("default"), speaker.measured, target, MAX_SECONDS, say
        )
        exported = [exported_file(item.path, name) for name, item in files.items()]
        settings = folder.load_settings()
        heard = held_out_recordings(settings, find_clips(clips / "test"), None)
        systems = [*model_systems(settings)[:1], *(item.system for item in exported)]
        options = BenchOptions(threads=threads)
        with stage_progress("benching") as on_progress:
            report, path = bench_files(folder, systems, exported, heard, options, on_progress)
    if as_json:
        print_json(report)
        return
    print_report(report, f"{clips.name}: one model, four files")
    tell(f"Try: myqasr inspect {files['personalised'].path}, myqasr report {out}")
    say(f"result: {path}")


def _user_folder(name: str) -> Path:
    """Folder of an embedded user; raises UserError listing those there are."""
    from myqasr.speech.models import DEFAULT_USERS

    folder = DEFAULT_USERS / name
    if not (folder / "tune").is_dir():
        known = ", ".join(sorted(path.name for path in DEFAULT_USERS.iterdir() if path.is_dir()))
        raise UserError(f"no embedded user {name!r}; there are: {known}")
    return folder
