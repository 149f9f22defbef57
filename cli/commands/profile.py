"""`myqasr profile`: which kernel ran for each layer, and where the time went."""

from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from myqasr.cli.terminal.output import console, print_json, say


def run(file: Path, audio: Path, threads: int, repeats: int, as_json: bool) -> None:
    """Run a file on a recording's first piece and print its kernels; exit code 1 when one isn't planned."""
    from myqasr.runtime_bench.measure.kernels import profile_kernels
    from myqasr.runtime_bench.measure.operations import operation_times
    from myqasr.runtime_bench.measure.transcription import model_inputs
    from myqasr.runtime_bench.runners.exported import exported_file
    from myqasr.speech.audio import load_audio

    features = model_inputs(load_audio(audio), exported_file(file).audio)[0]
    kernels = profile_kernels(file, features, threads, repeats)
    wrong = [kernel for kernel in kernels if not kernel.right]
    if as_json:
        print_json(kernels)
    else:
        total = sum(kernel.microseconds for kernel in kernels)
        title = f"{file.name}: {total / 1e3:.1f} ms for {len(features) / 16_000:.1f} s, {threads} threads"
        table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
        for column in ("layer", "planned", "kernel that ran"):
            table.add_column(column, overflow="fold")
        for column in ("us", "share"):
            table.add_column(column, justify="right", no_wrap=True)
        for kernel in kernels:
            if kernel.layer is None or kernel.planned is None:
                continue
            label = kernel.planned.label
            mark = label if kernel.right else f"[red]{label}[/]"
            table.add_row(kernel.layer, mark, *_cells(kernel.kernel, kernel.microseconds, total))
        for other in operation_times(kernel for kernel in kernels if kernel.layer is None):
            table.add_row("", "", *_cells(f"{other.calls} x {other.kernel}", 1e3 * other.ms, total))
        console.print(table)
        layers = sum(kernel.layer is not None for kernel in kernels)
        say(f"{layers - len(wrong)} of {layers} layers ran on kernels of the planned precision")
    if wrong:
        raise SystemExit(1)


def _cells(kernel: str, microseconds: float, total: float) -> tuple[str, str, str]:
    return kernel, f"{microseconds:.0f}", f"{microseconds / total:.1%}"
