"""The table of a benchmark report, shared by `bench` and `demo`."""

from rich.box import SIMPLE
from rich.table import Table

from myqasr.cli.terminal.output import console
from myqasr.personalize.planning.budget import format_bytes
from myqasr.runtime_bench.page.figures import error_rate, percent, points
from myqasr.runtime_bench.results.compare import time_ratios
from myqasr.runtime_bench.results.quality import labelled_errors, wer_difference
from myqasr.runtime_bench.results.report import BenchReport, SystemResult


def print_report(report: BenchReport, title: str) -> None:
    """Print one row per system, and what stands against its timings."""
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("system", overflow="fold")
    scores = ("WER", "CER") if report.task == "transcription" else ("accuracy",)
    columns = ("same text", "RTF", "p50", "p90", "p99", "time", "load", "RAM")
    for column in ("file", "bits", *scores, *columns):
        table.add_column(column, justify="right", no_wrap=True)
    ratios = time_ratios(report, report.baseline)
    for system in report.systems:
        ratio = ratios.get(system.name)
        times = "" if ratio is None else f"{ratio.value:.2f}x"
        table.add_row(system.name, *_cells(report, system, times))
    console.print(table)
    console.print(
        f"{len(report.utterances)} clips, {report.audio_seconds:.0f} s, {report.threads_in_words} on "
        f"{report.device.cpu}. RTF: processing seconds per second of audio. time: of one run, "
        f"relative to {report.baseline}. RAM: peak that the model added in a process of its own."
        + ("" if report.normalizer == "default" else f" WER after normalizer {report.normalizer}."),
        highlight=False,
        style="dim",
    )
    differences = _differences(report)
    if differences:
        console.print(
            f"WER more than {report.baseline}, points with 95 % bounds: {', '.join(differences)}.",
            highlight=False,
            style="dim",
        )
    for problem in report.problems:
        console.print(f"[yellow]timings not valid:[/] {problem}", highlight=False)


def _differences(report: BenchReport) -> list[str]:
    """What each other system's word error rate is beyond the baseline's, as far as there are words."""
    expected = labelled_errors(report, report.baseline)
    found = []
    for system in report.systems:
        if report.task == "transcription" and system.name != report.baseline:
            difference = wer_difference(labelled_errors(report, system.name), expected)
            if difference is not None:
                found.append(f"{system.name} {points(difference)}")
    return found


def _cells(report: BenchReport, system: SystemResult, times: str) -> list[str]:
    latency, startup = system.latency, system.startup
    return [
        "" if system.size_bytes is None else format_bytes(system.size_bytes),
        "" if system.artifact is None else f"{system.artifact.mean_bits:.2f}",
        *_scores(report, system),
        f"{system.agreement:.0%}",
        "" if latency is None else f"{latency.rtf:.4f}",
        "" if latency is None else f"{latency.median_ms:.1f} ms",
        "" if latency is None else f"{latency.p90_ms:.1f}",
        "" if latency is None else f"{latency.p99_ms:.1f}",
        times,
        "" if startup is None else f"{startup.load_ms:.0f} ms",
        "" if startup is None else format_bytes(startup.model_rss_bytes),
    ]


def _scores(report: BenchReport, system: SystemResult) -> list[str]:
    if report.task == "transcription":
        return [error_rate(system.words), error_rate(system.characters)]
    return [percent(report.accuracy(system.name))]
