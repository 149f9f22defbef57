"""What the command line does, to call from Python: recordings to a plan, a file, a result, a text.

Sources of recordings are what the commands take (docs/data.md): a folder, files, a list, a data set as it
unpacks, a zip, a CSV or NeMo manifest. All that can be wrong with what was asked is raised as a UserError,
most of it as one of its children in `myqasr.core.errors`. Nothing is printed; a `Listener` is told what goes
on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from myqasr.core.placing import check_place
from myqasr.core.reading import outside_errors
from myqasr.core.storage import save_record
from myqasr.exporters.audit import FoundLayer, found_layers
from myqasr.exporters.command import export_targets
from myqasr.exporters.export import Written
from myqasr.exporters.target import load_target, measured_for, measured_together
from myqasr.personalize import adapted as adapting
from myqasr.personalize import profiling
from myqasr.personalize.adapting.adapt import Adaptation
from myqasr.personalize.hearing import (
    EVERY_CLIP,
    NOBODY,
    Listener,
    PathLike,
    found_in,
    recordings_for,
    tell,
)
from myqasr.personalize.measuring.sensitivity import Measurement, ProfileOptions, pick_device
from myqasr.personalize.planning.plan import NO_RULES, Plan, PlanRules, Profile
from myqasr.personalize.prior import Prior, load_prior
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.measure import transcription
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.measure.run_bench import bench_run, exported_files, held_out_recordings
from myqasr.runtime_bench.results.protocol import TimingOptions
from myqasr.runtime_bench.results.report import BenchReport
from myqasr.runtime_bench.runners.base import held, open_system
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech import models
from myqasr.speech.datasets import Recording, Selection, each_clip
from myqasr.speech.decoding import notices
from myqasr.speech.models import languages
from myqasr.speech.models.base import Source, SpeechModel
from myqasr.speech.normalizers import DEFAULT_NORMALIZER
from myqasr.speech.recordings import cut_at_pauses

WHERE_FASTEST = ProfileOptions(device="auto")


WRITES_NOTHING = (
    "the float model writes nothing at all for these recordings: is it for another language, or is its "
    "generation_config.json another model's?"
)


@dataclass(frozen=True, slots=True)
class Personalized:
    """A run folder with a plan for one target, and what the plan was made from.

    plan: a precision for every layer; its expected_cost is in nats per frame for most methods.
    generic: the plan of the same size for speakers in general; None when their costs aren't known.
    sizes: bytes of the smallest file there can be, and of the float one. skipped: recordings not used.
    adaptation: what learning from a teacher did; None without one.
    """

    path: Path
    target: str
    plan: Plan
    generic: Plan | None
    sizes: profiling.SizeRange
    measured: Measurement
    skipped: tuple[tuple[Path, str], ...] = ()
    adaptation: Adaptation | None = None

    @property
    def profile(self) -> Profile:
        """Cost of every precision of every layer for this speaker."""
        return self.measured.profile


@dataclass(frozen=True, slots=True)
class Transcript:
    """One audio file, its length in seconds, and what was heard in it."""

    file: str
    seconds: float
    text: str


@outside_errors()
def load_model(source: PathLike = "default") -> SpeechModel:
    """A speech model in float32: its `transcribe` takes a waveform [samples], mono, 16 kHz, float32.

    source: `default` for the embedded model, `whisper-tiny.en` or `whisper-base` (extras of those names), a
    folder with config.json or of faster-whisper, OpenAI's `.pt`, a hub id, or `torchaudio:` and the name of a
    pipeline; `?language=de` after it for a multilingual Whisper or MMS. Raises ModelError when it is none,
    isn't supported, or has weights that can't be used; NotInstalledError when it needs an extra.
    """
    return models.load_model(str(source))


@outside_errors()
def personalize_model(
    model: PathLike | SpeechModel,
    audio: PathLike | Sequence[PathLike] | Sequence[Recording],
    *,
    budget: str | int,
    out: PathLike,
    target: str = "xnnpack",
    clips: int = 32,
    selection: Selection = EVERY_CLIP,
    options: ProfileOptions = WHERE_FASTEST,
    prior: PathLike | None = None,
    rules: PlanRules = NO_RULES,
    teacher: PathLike | SpeechModel | None = None,
    start: PathLike | None = None,
    listener: Listener = NOBODY,
) -> Personalized:
    """Measure what each precision costs this speaker, spend the budget best, and keep both in `out`.

    model: as for `load_model`, or what it returned. audio: unlabelled recordings; those that are decoded
    already (mono, 16 kHz) are all used, of others `clips`. budget: bytes, or text as `4MB` or `0.2x` of the
    float size. out: run folder, whose name names the files; one that was measured on the same recordings
    isn't measured again, but for what another target lacks. options: how costs are measured; device `auto`
    takes CUDA where there is one. prior: a run on many speakers, for less than a minute of speech. rules:
    what else the plan must keep to. teacher: a recogniser as for `model`, or `self`: first the model learns
    this person's speech from the text that the teacher writes for the recordings (docs/adapting.md). start: a
    run, as of `myqasr.adapt_model`, with whose weights to begin.

    Raises BudgetError naming both sizes when the budget is out of range; ModelError, AudioError when the
    model or every recording is unusable; UserError for a target, device or rule that doesn't exist.
    """
    runtime = load_target(target)
    folder = RunFolder(Path(out))
    check_place(folder.exports / runtime.file_name(folder.name))
    options = replace(options, device=pick_device(options.device))
    loaded = runtime.suited(models.as_loaded(model, selection.language))
    instructor = adapting.teacher_of(teacher, loaded) if teacher is not None else None
    begun = None if start is None else adapting.start_of(Path(start), loaded)
    recordings, skipped = recordings_for(
        audio, languages.asked_of_data(selection, audio, loaded), clips, loaded
    )
    profiling.check_budget(folder, loaded, runtime, str(budget), rules)
    tell(listener, recordings, skipped)
    loaded = languages.told(loaded, selection.language, recordings, listener.say)
    known = load_prior(None if prior is None else Path(prior), loaded)
    adaptation = None
    with folder.lock("`myqasr personalize`"):
        if teacher is not None:
            loaded, adaptation = adapting.taught_in(
                folder, loaded, recordings, instructor, selection.language, options.seed,
                listener.say, listener.progress, start=begun,
            )  # fmt: skip
            instructor = None  # measuring needs the memory
        elif begun is not None:
            loaded = adapting.started_in(folder, loaded, begun)
        known = None if known is None else known.on(loaded)
        measured = measure_speaker(folder, loaded, recordings, options, known, target, listener)
        found = plan_speaker(
            folder, loaded, measured, budget=budget, target=target, prior=known, rules=rules,
            listener=listener,
        )  # fmt: skip
        left_out = tuple((str(path), reason) for path, reason in skipped)
        save_record(replace(folder.load_settings(), left_out=left_out), folder.settings)
    if loaded.tokens.autoregression is not None and found.profile.frames <= found.profile.clips:
        listener.say(WRITES_NOTHING)
    return replace(found, skipped=tuple(skipped), adaptation=adaptation)


@outside_errors()
def measure_speaker(
    folder: RunFolder,
    model: SpeechModel,
    recordings: Sequence[Recording],
    options: ProfileOptions,
    prior: Prior | None = None,
    target: str | None = None,
    listener: Listener = NOBODY,
) -> Measurement:
    """The first half of `personalize_model`: costs and codes, kept in the folder, for plans to come.

    target: whose precisions are measured, beside those that are there; none: those of all targets, but the
    ones that take long.
    """
    recordings = cut_at_pauses(recordings, model.piece_samples, model.min_samples)
    together = measured_together() if target is None else measured_for(target)
    with folder.lock("measuring"):
        return profiling.profile_speaker(
            folder, model, model.model_id, recordings, together, options,
            listener.progress, prior, listener.say,
        )  # fmt: skip


@outside_errors()
def plan_speaker(
    folder: RunFolder,
    model: SpeechModel,
    measured: Measurement,
    *,
    budget: str | int,
    target: str,
    prior: Prior | None = None,
    rules: PlanRules = NO_RULES,
    listener: Listener = NOBODY,
) -> Personalized:
    """The second half: the best plan within the budget, kept in the folder with its codes."""
    runtime = load_target(target)
    profile = measured.profile
    sizes = profiling.size_range(folder, model, profile, runtime, rules, listener.say)
    budget_bytes = profiling.budget_in_range(str(budget), sizes, target)
    plan = profiling.plan_for(profile, runtime, budget_bytes, sizes.overhead_bytes, rules)
    with folder.lock("planning"):
        profiling.save_plan(folder, measured, plan, runtime)
    generic = None
    if prior is not None and prior.profile.method == profile.method:
        generic = profiling.plan_for(
            prior.profile, runtime, budget_bytes, sizes.overhead_bytes, rules
        )
    return Personalized(folder.path, target, plan, generic, sizes, measured)


@outside_errors()
def export(
    run: PathLike | Personalized,
    *,
    target: str | None = None,
    max_seconds: float = 15.0,
    lengths: Sequence[float] = (),
    listener: Listener = NOBODY,
) -> list[Written]:
    """Write a run's planned files, read each back, and prove that it holds its plan within the budget.

    target: one with a plan; none: all of them. max_seconds: of audio, the longest input. lengths: seconds
    that the file takes and no others, for Core ML. Returns path, plan and manifest entry of each file. Raises
    BudgetError when no file keeps the budget, BrokenFileError when what was read back isn't the plan,
    NotInstalledError when the target needs an extra, UserError when this isn't a run, the target has no plan,
    or the model has changed.
    """
    folder = _run_folder(run)
    names = folder.planned_targets() if target is None else [target]
    return export_targets(folder, names, max_seconds, lengths, listener.say)


@outside_errors()
def bench(
    run: PathLike | Personalized,
    data: PathLike | Sequence[PathLike],
    *,
    target: str | None = None,
    limit: int | None = None,
    runners: Sequence[str] = (),
    threads: int = 2,
    runs: int = 50,
    seconds: float = 5.0,
    operations: bool = False,
    normalizer: str = DEFAULT_NORMALIZER,
    selection: Selection = EVERY_CLIP,
    listener: Listener = NOBODY,
) -> BenchReport:
    """Word errors, latency and memory of a run's files on their runtimes, beside the float model.

    data: labelled recordings; those that the run was fitted on are left out. limit: use so many. target: one
    of the exported ones; none: all. runners: all that each file runs on; none: its target's own. runs,
    seconds: each system is timed so often, and so long, at least. operations: time each kernel, too.
    normalizer: what words are compared after, a name of `speech.normalizers`. The report is also kept in the
    run's folder. Raises AudioError when no recording is usable, UserError when
    nothing was exported or a file can't be run, BrokenFileError when it isn't the one that was exported.
    """
    timing = TimingOptions(runs=runs, seconds=seconds)
    options = BenchOptions(threads, timing=timing, operations=operations, normalizer=normalizer)
    folder = _run_folder(run)
    settings = folder.load_settings()
    check_place(folder.bench / "result.json")
    exported_files(folder, target)  # before the recordings are decoded, which may take long
    if selection.language is not None and Source.parse(settings.model).language is not None:
        selection = languages.asked_of_told(selection, data)
    found, aside = found_in(data, selection)
    heard = held_out_recordings(settings, found, limit)
    tell(listener, heard.recordings, [*aside, *heard.skipped])
    if heard.tuned:
        listener.say(f"left out {heard.tuned} clips that the run was fitted on")
    report, _ = bench_run(folder, heard, target, options, listener.progress, runners, listener.say)
    if not any(report.systems[0].transcripts):
        listener.say(WRITES_NOTHING)
    return report


@outside_errors()
def transcribe(
    file: PathLike,
    audio: PathLike | Sequence[PathLike],
    *,
    threads: int = 2,
    listener: Listener = NOBODY,
) -> list[Transcript]:
    """Text of recordings, by an exported file on its own runtime.

    file: with its manifest.json beside it. Raises BrokenFileError when it isn't the one that was exported,
    AudioError when no recording is usable, NotInstalledError when its runtime isn't there.
    """
    exported = exported_file(Path(file))
    found, aside = found_in(audio)
    listener.skipped(aside)
    for notice in notices(exported.tokens):
        listener.say(notice)
    transcripts = []
    with held([exported.system]) as (system,):
        runner = open_system(system, threads)
        for recording in each_clip(found, listener.skipped):
            tell(listener, [recording], [])
            inputs = transcription.each_input(recording.waveform, exported.audio)
            text = transcription.transcribe(runner, inputs, exported.tokens)
            heard, seconds = str(recording.clip.path), round(recording.seconds, 3)
            transcripts.append(Transcript(heard, seconds, text))
    return transcripts


@outside_errors()
def inspect(file: PathLike, *, listener: Listener = NOBODY) -> list[FoundLayer]:
    """What is really in a file, from its own bytes: every layer in the order the program runs them.

    Names come from the manifest.json beside it; without one, layers are numbered. Raises BrokenFileError when
    it is damaged or isn't the exported one, UserError when it is of no target.
    """
    return found_layers(Path(file), listener.say)


def _run_folder(run: PathLike | Personalized) -> RunFolder:
    return RunFolder(run.path if isinstance(run, Personalized) else Path(run))
