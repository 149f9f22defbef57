"""Every file on every runner that works here, beside torch float and torch dynamic int8, measured twice.

python -m benchmarks.files.runners [--models default,base] [--targets xnnpack,litert,...] [--threads 2]

The default model on an embedded user, and a model of wav2vec2-base size with random weights (whose words mean
nothing). All systems of a model take turns in one run. The same run is made twice, and each ratio of times is
held against itself: within 10 %, or one of the two runs has marked it invalid.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.files.base_model import PRECISIONS, make_model
from benchmarks.results import BUILD, RESULTS, load_result, run_command, save_result
from myqasr.core.errors import UserError
from myqasr.exporters.command import export_controls
from myqasr.exporters.manifest import load_manifest
from myqasr.exporters.target import load_target
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.measure.run_bench import (
    bench_files,
    exported_files,
    held_out_recordings,
    model_systems,
)
from myqasr.runtime_bench.results.compare import Measured, compare
from myqasr.runtime_bench.results.report import BenchReport
from myqasr.runtime_bench.runners.base import runner_module
from myqasr.runtime_bench.runners.exported import Exported, exported_file, runners_of
from myqasr.runtime_bench.runners.records import runs_here
from myqasr.speech.datasets import find_clips

USER = Path("speech/default_users/synth-ada")
MAX_SECONDS = 15.0
BUDGETS = {"default": "0.18x", "base": "0.14x"}
FAST = {"tflite-runtime": "int4-a8s,int8-a8s"}
"""Precisions of the base-sized model, where they aren't those of `benchmarks.files.base_model`."""
BASE_TEST_CLIPS = 6
AGREES = 0.1


@dataclass(frozen=True, slots=True)
class Row:
    """One system of a run. over_float, over_int8: its time relative to theirs, with bounds."""

    system: str
    runner: str
    size_bytes: int | None
    wer: float | None
    agreement: float
    rtf: float | None
    p50_ms: float | None
    p90_ms: float | None
    load_ms: float | None
    rss_bytes: int | None
    over_float: tuple[float, float, float] | None
    over_int8: tuple[float, float, float] | None
    problem: str | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="default,base")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--base-clips", default="2")
    parser.add_argument("--targets", default="xnnpack,litert,tflite-runtime")
    parser.add_argument("--written", action="store_true", help="measure files that are there")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if (RESULTS / "runners.json").is_file():  # models that aren't measured now keep their figures
        figures = load_result("runners")["figures"]
    for model in options.models.split(","):
        targets = options.targets.split(",")
        if not options.written:
            write_files(model, targets, options.base_clips, options.threads)
        skipped: dict[str, str] = {}
        files = systems_of(model, targets, skipped)
        reports = [measure(model, files, options.threads) for _ in range(2)]
        runs = [[asdict(row) for row in rows(report)] for report in reports]
        figures[model] = {
            "command": shlex.join(["python", "-m", "benchmarks.files.runners", *sys.argv[1:]]),
            "clips": len(reports[0].utterances),
            "seconds": reports[0].audio_seconds,
            "threads": options.threads,
            "skipped": skipped,
            "runs": runs,
            "problems": [list(report.problems) for report in reports],
            "loads": [asdict(report.load) for report in reports],
            "repeats": repeats(*runs),
        }
        for row in figures[model]["repeats"]:
            print(model, row, flush=True)
        print(save_result("runners", "python -m benchmarks.files.runners", figures), flush=True)


def write_files(model: str, targets: Sequence[str], clips: str, threads: int) -> None:
    """The files of a model: personalised for each target, and controls for the default model."""
    run = folder_of(model)
    source = "default"
    if model == "base":
        source = str(BUILD / "base_model")
        make_model(Path(source))
    myqasr = [sys.executable, "-m", "myqasr.cli.main"]
    for target in targets:
        command = [*myqasr, "personalize", source, str(USER / "tune"), "--target", target]
        command += ["--budget", BUDGETS[model], "--out", str(run.path)]
        if model == "base":
            command += ["--clips", clips, "--rounding", "nearest"]
            command += ["--precisions", FAST.get(target, PRECISIONS)]
        run_command(command, threads)
        run_command([*myqasr, "export", str(run.path), "--target", target], threads)
    if model == "default":
        xnnpack, folder = load_target("xnnpack"), run.path / "controls"
        export_controls(source, run.load_measurement(), xnnpack, folder, MAX_SECONDS, print)


def folder_of(model: str) -> RunFolder:
    """The run of a model."""
    return RunFolder(BUILD / f"runners-{model}")


def systems_of(model: str, targets: Sequence[str], skipped: dict[str, str]) -> list[Exported]:
    """The model's files, each on every runner that works here."""
    run = folder_of(model)
    files: list[Exported] = []
    for target in targets:
        runners = usable_runners(target, skipped)
        for path, _ in exported_files(run, target):
            files += on_runners(path, f"personalised ({target})", runners)
    if model == "default":
        for artifact in load_manifest(run.path / "controls").artifacts:
            path = run.path / "controls" / artifact.file
            name = f"uniform, {artifact.mean_bits:.0f} bit"
            files += on_runners(path, name, usable_runners(artifact.target, skipped))
    return files


def usable_runners(target: str, skipped: dict[str, str]) -> list[str]:
    """Runners that run a target's files and work here; why the others don't goes into `skipped`."""
    found = []
    for runner in runners_of(target):
        if not runs_here(runner):
            continue  # emulation has a table of its own, a device is not here
        try:
            runner_module(runner)
            found.append(runner)
        except UserError as error:
            skipped[f"{target} on {runner}"] = str(error)
    return found


def on_runners(path: Path, name: str, runners: Sequence[str]) -> list[Exported]:
    """One file as a system for each runner."""
    return [exported_file(path, f"{name}, {runner}", runner) for runner in runners]


def measure(model: str, files: Sequence[Exported], threads: int) -> BenchReport:
    """All systems in one run."""
    run = folder_of(model)
    settings = run.load_settings()
    limit = BASE_TEST_CLIPS if model == "base" else None
    heard = held_out_recordings(settings, find_clips(USER / "test"), limit)
    systems = [*model_systems(run), *(file.system for file in files)]
    report, path = bench_files(run, systems, files, heard, BenchOptions(threads=threads))
    print(path, *report.problems, sep="\n", flush=True)
    return report


def rows(report: BenchReport) -> list[Row]:
    """The table of a run."""
    measured = {each.name: Measured(each.name, report, each) for each in report.systems}
    floats, int8 = (measured[system.name] for system in report.systems[:2])
    found = []
    for system in report.systems:
        one, other = compare(measured[system.name], floats), compare(measured[system.name], int8)
        latency, startup, words = system.latency, system.startup, system.words
        found.append(
            Row(
                system=system.name,
                runner=system.runner,
                size_bytes=system.size_bytes,
                wer=None if words is None else words.rate,
                agreement=system.agreement,
                rtf=None if latency is None else latency.rtf,
                p50_ms=None if latency is None else latency.median_ms,
                p90_ms=None if latency is None else latency.p90_ms,
                load_ms=None if startup is None else startup.load_ms,
                rss_bytes=None if startup is None else startup.model_rss_bytes,
                over_float=_bounds(one.time),
                over_int8=_bounds(other.time),
                problem=one.time_problem,
            )
        )
    return found


def repeats(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each ratio to torch float in both runs: how far apart, and whether that's as promised."""
    found = []
    for first, second in zip(one, other, strict=True):
        if first["over_float"] is None or second["over_float"] is None:
            continue
        ratios = first["over_float"][0], second["over_float"][0]
        apart = max(ratios) / min(ratios) - 1
        invalid = first["problem"] is not None or second["problem"] is not None
        found.append(
            {
                "system": first["system"],
                "ratios": ratios,
                "apart": apart,
                "invalid": invalid,
                "as_promised": apart <= AGREES or invalid,
            }
        )
    return found


def _bounds(ratio: Any) -> tuple[float, float, float] | None:
    return None if ratio is None else (ratio.value, ratio.low, ratio.high)


if __name__ == "__main__":
    main()
