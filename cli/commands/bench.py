"""`myqasr bench`: words, latency and memory on the runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.cli.terminal.output import listening, print_json, say

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
    normalizer: str,
    as_json: bool,
    runners: list[str],
) -> None:
    """Bench the exported files of a run on labelled clips that it wasn't fitted on."""
    from myqasr.api import bench
    from myqasr.cli.terminal.bench_table import print_report
    from myqasr.personalize.run_folder import RunFolder
    from myqasr.runtime_bench.results.report import report_path

    with listening("benching") as listener:
        report = bench(
            run_folder, data, target=target, limit=limit, runners=runners, threads=threads, runs=runs,
            seconds=seconds, operations=operations, normalizer=normalizer, selection=selection,
            listener=listener,
        )  # fmt: skip
    if as_json:
        print_json(report)
        return
    print_report(report, f"{RunFolder(run_folder).name} on {len(report.utterances)} test clips")
    path = report_path(report, RunFolder(run_folder).bench)
    say(f"result: {path}; as a page: myqasr report {run_folder}")
