"""Every file on every runner that works here, beside torch float and torch dynamic int8, measured twice.

python -m benchmarks.runners [--models default,base] [--threads 2] [--base-clips 2]

The default model on an embedded user, and a model of wav2vec2-base size with random weights (whose words mean
nothing). All systems of a model take turns in one run. The same run is made twice, and each ratio of times is
held against itself: within 10 %, or one of the two runs has marked it invalid.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.base_model import PRECISIONS, make_model
from benchmarks.results import BUILD, run_command, save_result
from exporters.controls import export_controls
from exporters.run_folder import RunFolder
from exporters.target import load_target
from runtime_bench.bench import BenchOptions
from runtime_bench.compare import Measured, compare
from runtime_bench.exported import TARGET_RUNNERS, Exported, exported_file
from runtime_bench.report import BenchReport
from runtime_bench.run_bench import bench_files, exported_files, held_out_recordings, model_systems
from runtime_bench.runners.base import runner_module
from speech.datasets import find_clips
from speech.errors import UserError

USER = Path("speech/default_users/synth-ada")
MAX_SECONDS = 15.0
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
    options = parser.parse_args()
    figures = {}
    for model in options.models.split(","):
        run, files, skipped = prepare(model, options.base_clips, options.threads)
        reports = [measure(model, run, files, options.threads) for _ in range(2)]
        runs = [[asdict(row) for row in rows(report)] for report in reports]
        figures[model] = {
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
    command = f"python -m benchmarks.runners --threads {options.threads}"
    print(save_result("runners", command, figures))


def prepare(
    model: str, clips: str, threads: int
) -> tuple[RunFolder, list[Exported], dict[str, str]]:
    """Write the files of a model; those that no runner can run here are left out, with the reason."""
    out = BUILD / f"runners-{model}"
    run = RunFolder(out)
    myqasr = [sys.executable, "-m", "cli.main"]
    if model == "base":
        source = str(BUILD / "base_model")
        make_model(Path(source))
        extra = ["--budget", "0.14x", "--clips", clips, "--rounding", "nearest"]
        extra += ["--precisions", PRECISIONS]
        targets = ["xnnpack"]
    else:
        source, extra, targets = "default", ["--budget", "0.18x"], list(TARGET_RUNNERS)
    files: list[Exported] = []
    skipped: dict[str, str] = {}
    for target in targets:
        runners = usable_runners(target, skipped)
        if not runners:
            continue
        tune = str(USER / "tune")
        command = [*myqasr, "personalize", source, tune, *extra, "--target", target]
        run_command([*command, "--out", str(out)], threads)
        run_command([*myqasr, "export", str(out), "--target", target], threads)
        (path, _), *_ = exported_files(run, target)
        files += on_runners(path, f"personalised ({target})", runners)
    if model == "default":
        controls = export_controls(
            source,
            run.load_measurement(),
            load_target("xnnpack"),
            out / "controls",
            MAX_SECONDS,
            print,
        )
        for name, written in controls.items():
            files += on_runners(written.path, name, usable_runners("xnnpack", skipped))
    return run, files, skipped


def usable_runners(target: str, skipped: dict[str, str]) -> list[str]:
    """Runners that run a target's files and work here; why the others don't goes into `skipped`."""
    found = []
    for runner in (TARGET_RUNNERS[target],):
        try:
            runner_module(runner)
            found.append(runner)
        except UserError as error:
            skipped[f"{target} on {runner}"] = str(error)
    return found


def on_runners(path: Path, name: str, runners: Sequence[str]) -> list[Exported]:
    """One file as a system for each runner."""
    exported = exported_file(path)
    return [
        replace(exported, system=replace(exported.system, name=f"{name}, {runner}", runner=runner))
        for runner in runners
    ]


def measure(model: str, run: RunFolder, files: Sequence[Exported], threads: int) -> BenchReport:
    """All systems in one run."""
    settings = run.load_settings()
    limit = BASE_TEST_CLIPS if model == "base" else None
    heard = held_out_recordings(settings, find_clips(USER / "test"), limit)
    systems = [*model_systems(settings), *(file.system for file in files)]
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
