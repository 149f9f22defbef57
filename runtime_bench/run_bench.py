"""Benchmark a run folder: its exported files beside the model in torch, on clips it wasn't fitted on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporters.manifest import Artifact, load_manifest
from exporters.run_folder import RunFolder, RunSettings
from runtime_bench.bench import BenchOptions, bench, no_progress
from runtime_bench.exported import Exported, common_input, exported_file
from runtime_bench.report import BenchReport, save_report
from runtime_bench.runners.base import System
from speech.datasets import Clip, Recording, audio_hash, read_clips
from speech.errors import UserError

FLOAT_NAME = "float (torch)"


@dataclass(frozen=True, slots=True)
class Heard:
    """Test recordings. tuned: how many clips were left out because the run was fitted on them."""

    recordings: tuple[Recording, ...]
    skipped: tuple[tuple[Path, str], ...]
    tuned: int


def held_out_recordings(settings: RunSettings, clips: Sequence[Clip], limit: int | None) -> Heard:
    """Decode labelled clips and leave out those the run was fitted on, by their samples.

    limit: keep so many, spread evenly. Raises UserError when none are left.
    """
    known = {clip.sha256 for clip in settings.clips}
    recordings, skipped = read_clips(clips, need_text=True)
    apart = [recording for recording in recordings if audio_hash([recording]) not in known]
    if not apart:
        raise UserError(
            f"all {len(recordings)} labelled clips were used to fit this run; bench on others, or "
            "personalize with fewer --clips"
        )
    count = len(apart) if limit is None else min(limit, len(apart))
    chosen = [apart[(2 * i + 1) * len(apart) // (2 * count)] for i in range(count)]
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


def model_systems(settings: RunSettings) -> list[System]:
    """What every engineer has without us: the float model, and torch's own dynamic int8."""
    return [
        System(FLOAT_NAME, "torch-float", settings.model),
        System("dynamic int8 (torch)", "torch-int8-dynamic", settings.model),
    ]


def bench_run(
    folder: RunFolder,
    heard: Heard,
    target: str | None,
    options: BenchOptions,
    on_progress: Callable[[str, int, int], None] = no_progress,
) -> tuple[BenchReport, Path]:
    """Measure the run's files on test recordings; returns the report and where it was written.

    Beside each file stands its torch reference: the same integers, simulated.
    Raises UserError when files are missing, were changed since the export, or can't be run.
    """
    settings = folder.load_settings()
    systems = model_systems(settings)
    files = []
    for path, artifact in exported_files(folder, target):
        exported = exported_file(path, f"{folder.path.name} ({artifact.target})")
        files.append(exported)
        systems.append(exported.system)
        codes = str(folder.codes(artifact.target))
        name = f"its reference (torch, {artifact.target})"
        reference = "torch-reference"
        if exported.system.runner == "coreml":
            reference = "torch-reference-float16"
            rounded = f"{exported.system.name}, float16 results"
            systems.append(
                replace(exported.system, name=rounded, runner="coreml-float16", timed=False)
            )
        systems.append(System(name, reference, settings.model, codes, timed=False))
    return bench_files(folder, systems, files, heard, options, on_progress)


def bench_files(
    folder: RunFolder,
    systems: Sequence[System],
    files: Sequence[Exported],
    heard: Heard,
    options: BenchOptions,
    on_progress: Callable[[str, int, int], None] = no_progress,
) -> tuple[BenchReport, Path]:
    """Measure any systems whose input is that of `files`, and keep the report in the run."""
    audio, tokens = common_input(files)
    report = bench(systems, heard.recordings, audio, tokens, options, on_progress)
    stamp = report.created.replace("-", "").replace(":", "").replace("+0000", "Z")
    path = folder.bench / f"{stamp}.json"
    save_report(report, path)
    return report, path
