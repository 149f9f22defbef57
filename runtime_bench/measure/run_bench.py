"""Benchmark a run folder: its exported files beside the model in torch, on clips it wasn't fitted on."""

import contextlib
import datetime
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.core.placing import check_place
from myqasr.core.storage import record_hash
from myqasr.exporters.manifest import Artifact, load_manifest
from myqasr.exporters.target import load_target
from myqasr.personalize.run_folder import RunFolder, RunSettings
from myqasr.runtime_bench.devices.machine import runtime_versions
from myqasr.runtime_bench.measure.bench import BenchOptions, Progress, bench, no_progress
from myqasr.runtime_bench.measure.operations import with_operations
from myqasr.runtime_bench.measure.unfinished import BenchKeeping
from myqasr.runtime_bench.results.report import BenchReport, MeasuredFile, Provenance, add_report
from myqasr.runtime_bench.runners.base import System, held
from myqasr.runtime_bench.runners.exported import Exported, common_input, exported_file
from myqasr.runtime_bench.runners.records import record_of
from myqasr.speech.datasets import Clip, Recording, audio_hash, evenly, read_clips
from myqasr.speech.decoding import notices
from myqasr.speech.recordings import overlap

FLOAT_NAME = "float (torch)"
ADAPTED_NAME = "adapted float (torch)"


@dataclass(frozen=True, slots=True)
class Heard:
    """Test recordings. tuned: how many clips were left out because the run was fitted on them."""

    recordings: tuple[Recording, ...]
    skipped: tuple[tuple[Path, str], ...]
    tuned: int


def held_out_recordings(settings: RunSettings, clips: Sequence[Clip], limit: int | None) -> Heard:
    """Decode labelled clips and leave out those the run was fitted on.

    They are known by their samples, also as a copy or where only pieces of them were heard, and as any part
    of the same file that overlaps with one that was heard. Another encoding of the same sound isn't known.
    limit: keep so many, spread evenly. Raises UserError when none are left.
    """
    known = {each for clip in settings.clips for each in (clip.sha256, clip.cut_from)}
    heard: dict[tuple[str, int | None], list[tuple[float, float] | None]] = {}
    for tune in settings.clips:
        heard.setdefault((os.path.realpath(tune.path), tune.row), []).append(tune.window)
    recordings, skipped = read_clips(clips, need_text=True)
    apart = [
        recording
        for recording in recordings
        if audio_hash([recording]) not in known
        and not any(
            overlap(recording.clip.window, window)
            for window in heard.get((os.path.realpath(recording.clip.path), recording.clip.row), ())
        )
    ]
    if not apart:
        raise UserError(
            f"all {len(recordings)} labelled clips were used to fit this run; bench on others, or "
            "personalize with fewer --clips"
        )
    chosen = evenly(apart, len(apart) if limit is None else limit)
    return Heard(tuple(chosen), tuple(skipped), len(recordings) - len(apart))


def exported_files(folder: RunFolder, target: str | None) -> list[tuple[Path, Artifact]]:
    """Files of the run's manifest with their entries; raises UserError when there are none."""
    manifest = load_manifest(folder.exports)
    found = [
        (folder.exports / artifact.file, artifact)
        for artifact in manifest.artifacts
        if target is None or artifact.target == target
    ]
    if not found:
        known = ", ".join(artifact.target for artifact in manifest.artifacts) or "none"
        raise UserError(f"{folder.exports} has no file for {target}; it has files for: {known}")
    return found


def model_systems(folder: RunFolder) -> list[System]:
    """What every engineer has without us, the float model and torch's own dynamic int8; and between them, in
    a run that adapted its weights to one person, the adapted float model that its files are made of.
    """
    settings = folder.load_settings()
    published = settings.float_hash or settings.weights_hash
    systems = [
        System(FLOAT_NAME, "torch-float", settings.model, weights_hash=published),
        System("dynamic int8 (torch)", "torch-int8-dynamic", settings.model),
    ]
    if settings.float_hash is not None:
        float_system = replace(
            systems[0], name=ADAPTED_NAME, weights_hash=settings.weights_hash,
            adapted=str(folder.adapted),
        )  # fmt: skip
        systems.insert(1, float_system)
    return systems


def bench_run(
    folder: RunFolder,
    heard: Heard,
    target: str | None,
    options: BenchOptions,
    on_progress: Progress = no_progress,
    runners: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> tuple[BenchReport, Path]:
    """Measure the run's files on test recordings; returns the report and where it was written.

    runners: each file runs on all of these; none: on its target's own.
    Beside each file stands its torch reference: the same integers, simulated.
    Raises UserError when files are missing, were changed since the export, or can't be run.
    """
    with folder.lock("`myqasr bench`", alone=False):
        systems, files = run_systems(folder, target, runners)
    return bench_files(folder, systems, files, heard, options, on_progress, say)


def run_systems(
    folder: RunFolder, target: str | None, runners: Sequence[str] = ()
) -> tuple[list[System], list[Exported]]:
    """The run's files and what stands beside them; see `bench_run`."""
    settings = folder.load_settings()
    folder.load_costs()  # which holds the run's files against each other
    systems = model_systems(folder)
    adapted = None if settings.float_hash is None else str(folder.adapted)
    files = []
    for path, artifact in exported_files(folder, target):
        for runner in runners or (None,):
            where = artifact.target if runner is None else f"{artifact.target}, {runner}"
            exported = exported_file(path, f"{folder.name} ({where})", runner)
            files.append(exported)
            systems.append(exported.system)
        codes = str(folder.codes(artifact.target))
        name = f"its reference (torch, {artifact.target})"
        half = load_target(artifact.target).half_activations
        reference = "torch-reference" if half else "torch-reference-float32"
        float16_runner = record_of(exported.system.runner).float16_runner
        if float16_runner is not None:
            reference = "torch-reference-float16"
            rounded = f"{exported.system.name}, float16 results"
            systems.append(
                replace(exported.system, name=rounded, runner=float16_runner, timed=False)
            )
        systems.append(
            System(
                name,
                reference,
                settings.model,
                codes,
                artifact.plan_hash,
                timed=False,
                weights_hash=settings.weights_hash,
                adapted=adapted,
            )
        )
    return systems, files


def bench_files(
    folder: RunFolder,
    systems: Sequence[System],
    files: Sequence[Exported],
    heard: Heard,
    options: BenchOptions,
    on_progress: Progress = no_progress,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[BenchReport, Path]:
    """Measure any systems whose input is that of `files`, and add the report to the run's results."""
    check_place(folder.bench / "result.json")
    audio, tokens = common_input(files)
    for notice in notices(tokens):
        say(notice)
    artifacts = {file.system.name: measured_file(file.artifact) for file in files}
    provenance = provenance_of(folder.load_settings(), heard.recordings)
    made_of = {
        "systems": [replace(system, codes=None, adapted=None) for system in systems],
        "on": [provenance.audio_hash, provenance.text_hash],
        "of": [provenance.weights_hash, provenance.versions],
        "how": options,
    }
    keeping = BenchKeeping(folder.partial_bench, made_of)
    if keeping.begun:
        say(f"going on where it was stopped: {keeping.begun}")
    with contextlib.ExitStack() as stack:
        with folder.lock("`myqasr bench`", alone=False):
            copies = stack.enter_context(held(systems))
        report = bench(
            copies, heard.recordings, audio, tokens, options, provenance, artifacts, on_progress,
            keeping=keeping,
        )  # fmt: skip
        if options.operations:
            on_progress("operations", 0, 1)
            opened = {system.name: system for system in copies}
            files = [replace(file, system=opened[file.system.name]) for file in files]
            report = with_operations(report, files, heard.recordings)
    path = add_report(report, folder.bench)
    keeping.discard()
    return report, path


def measured_file(artifact: Artifact) -> MeasuredFile:
    """What a report keeps of a manifest's entry."""
    return MeasuredFile(
        artifact.file,
        artifact.target,
        artifact.sha256,
        artifact.size_bytes,
        artifact.mean_bits,
        artifact.plan_hash,
        artifact.profile_hash,
    )


def provenance_of(settings: RunSettings, recordings: Sequence[Recording]) -> Provenance:
    """Where the figures of a run come from, measured now by this program."""
    return Provenance(
        command=this_command(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=runtime_versions(),
        model=short_path(settings.model),
        weights_hash=settings.weights_hash,
        audio_hash=audio_hash(recordings),
        text_hash=record_hash(sorted(recording.clip.text or "" for recording in recordings)),
    )


def this_command() -> str:
    """The command as it was typed, with paths that don't tell where its author keeps things."""
    name, *arguments = sys.argv
    return shlex.join([Path(name).name, *(short_path(argument) for argument in arguments)])


def short_path(text: str) -> str:
    """An absolute path from here if it lies below, else its last three parts; other text as it is."""
    path = Path(text)
    if not path.is_absolute():
        return text
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return "/".join(path.parts[-3:]) if len(path.parts) > 3 else text
