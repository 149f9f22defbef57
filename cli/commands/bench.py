"""`myqasr bench`: words, latency and memory on the runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.cli.terminal.output import print_json, print_skipped, say, stage_progress

if TYPE_CHECKING:
    from myqasr.speech.datasets import Selection


def run(
    run_folder: Path,
    data: list[Path],
    selection: Selection,
    target: str | None,
    limit: int | None,
    threads: int,
    runs: int,
    seconds: float,
    operations: bool,
    as_json: bool,
    runners: list[str],
) -> None:
    """Bench the exported files of a run on labelled clips that it wasn't fitted on."""
    from myqasr.cli.terminal.bench_table import print_report
    from myqasr.personalize.run_folder import RunFolder
    from myqasr.runtime_bench.measure.bench import BenchOptions
    from myqasr.runtime_bench.measure.run_bench import (
        bench_run,
        exported_files,
        held_out_recordings,
    )
    from myqasr.runtime_bench.results.protocol import TimingOptions
    from myqasr.speech.datasets import find_clips

    folder = RunFolder(run_folder)
    settings = folder.load_settings()
    exported_files(folder, target)  # before the recordings are decoded, which may take long
    heard = held_out_recordings(settings, find_clips(data, selection), limit)
    print_skipped(list(heard.skipped))
    if heard.tuned:
        say(f"left out {heard.tuned} clips that the run was fitted on")
    timing = TimingOptions(runs=runs, seconds=seconds)
    options = BenchOptions(threads=threads, timing=timing, operations=operations)
    with stage_progress("benching") as on_progress:
        report, path = bench_run(folder, heard, target, options, on_progress, runners)
    if as_json:
        print_json(report)
        return
    print_report(report, f"{run_folder.name} on {len(heard.recordings)} test clips")
    say(f"result: {path}; as a page: myqasr report {run_folder}")
