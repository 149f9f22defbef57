"""`myqasr demo`: the whole chain on a real recogniser and a real reader."""

from pathlib import Path

from myqasr.cli.terminal.output import (
    Stopwatch,
    listening,
    print_json,
    say,
    stage_progress,
    tell,
)
from myqasr.core.errors import BudgetError, NotInstalledError, UserError

EMBEDDED = "default"
WHISPER = "whisper-tiny.en?window=10"
DEFAULT_USERS = {EMBEDDED: "synth-ada"}
DEFAULT_USER = "libri-1272"
DEFAULT_BUDGETS = {EMBEDDED: "0.18x"}
DEFAULT_BUDGET = "0.25x"
CLIPS = 16
MAX_SECONDS = 15.0
PUBLISHED = "published method"


def run(
    out: Path, model: str | None, user: str | None, budget: str | None, threads: int, as_json: bool
) -> None:
    """Measure one user, write float, uniform, published and personalised files, bench them in one run."""
    from myqasr.api import personalize_model
    from myqasr.cli.terminal.bench_table import print_report
    from myqasr.exporters.command import export_controls, export_published
    from myqasr.exporters.export import export_run
    from myqasr.exporters.target import load_target
    from myqasr.personalize.adapted import run_model
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

    source = model if model is not None else _recogniser()
    clips = _user_folder(user if user is not None else DEFAULT_USERS.get(source, DEFAULT_USER))
    recordings, _ = choose_clips(find_clips(clips / "tune", texts=False), CLIPS)
    took = Stopwatch()
    say(f"listening to {len(recordings)} unlabelled clips of {clips.name}, for {source}")
    with RunFolder(out).lock("`myqasr demo`"):
        with listening("measuring") as listener:
            speaker = personalize_model(
                source,
                recordings,
                budget=budget
                if budget is not None
                else DEFAULT_BUDGETS.get(source, DEFAULT_BUDGET),
                out=out,
                options=ProfileOptions(),
                listener=listener,
            )
        took.lap("measuring")
        folder, target = RunFolder(out), load_target(speaker.target)
        controls = folder.path / "controls"
        files = export_controls(source, speaker.measured, target, controls, MAX_SECONDS, say)
        say("writing personalised")
        personalised = export_run(
            folder, run_model(folder), speaker.measured, target, MAX_SECONDS, say
        )
        say(f"writing {PUBLISHED}")
        waveforms = [recording.waveform for recording in recordings]
        try:
            files[PUBLISHED] = export_published(
                source, waveforms, personalised.plan.budget_bytes,
                personalised.plan.overhead_bytes, target, controls, MAX_SECONDS,
            )  # fmt: skip
        except BudgetError as error:
            say(f"the published method has no file of that size: {error}")
        files["personalised"] = personalised
        took.lap("writing files")
        exported = [exported_file(item.path, name) for name, item in files.items()]
        settings = folder.load_settings()
        heard = held_out_recordings(settings, find_clips(clips / "test"), None)
        systems = [*model_systems(folder)[:1], *(item.system for item in exported)]
        options = BenchOptions(threads=threads, normalizer=_normalizer(source))
        with stage_progress("benching") as on_progress:
            report, path = bench_files(folder, systems, exported, heard, options, on_progress)
        took.lap("running them")
    if as_json:
        print_json(report)
        return
    print_report(report, f"{clips.name}, {source}: one model, {len(files)} files")
    say(f"time: {took}")
    tell(f"Try: myqasr inspect {files['personalised'].path}, myqasr report {out}")
    say(f"result: {path}")


def _recogniser() -> str:
    """Whisper where its weights are installed, else the embedded model, which is said."""
    from myqasr.speech.models.base import Source
    from myqasr.speech.models.whisper.packages import located

    try:
        located(Source.parse(WHISPER).name)
    except NotInstalledError as error:
        say(f"{error}; going on with the small embedded model, which only knows synthetic voices")
        return EMBEDDED
    return WHISPER


def _normalizer(source: str) -> str:
    """What words are compared after: Whisper writes numbers in digits, and names no one else's way."""
    from myqasr.speech.normalizers import DEFAULT_NORMALIZER, WHISPER_ENGLISH

    return WHISPER_ENGLISH if "whisper" in source else DEFAULT_NORMALIZER


def _user_folder(name: str) -> Path:
    """Folder of an embedded user; raises UserError listing those there are."""
    from myqasr.speech.models import embedded_users

    users = embedded_users()
    if name not in users:
        raise UserError(f"no embedded user {name!r}; there are: {', '.join(users)}")
    return users[name]
