"""`myqasr profile`: which kernel ran for each layer, and where the time went."""

from collections import defaultdict
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from cli.output import console, print_json, say


def run(file: Path, audio: Path, threads: int, repeats: int, as_json: bool) -> None:
    """Run a file on a recording's first piece and print its kernels; exit code 1 when one isn't planned."""
    from runtime_bench.exported import exported_file
    from runtime_bench.kernels import profile_kernels
    from runtime_bench.transcription import model_inputs
    from speech.audio import load_audio

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
        others: dict[str, float] = defaultdict(float)
        for kernel in kernels:
            if kernel.layer is None or kernel.planned is None:
                others[kernel.kernel] += kernel.microseconds
                continue
            label = kernel.planned.label
            mark = label if kernel.right else f"[red]{label}[/]"
            table.add_row(kernel.layer, mark, *_cells(kernel.kernel, kernel.microseconds, total))
        for name, spent in sorted(others.items(), key=lambda item: -item[1]):
            table.add_row("", "", *_cells(name, spent, total))
        console.print(table)
        layers = sum(kernel.layer is not None for kernel in kernels)
        say(f"{layers - len(wrong)} of {layers} layers ran on kernels of the planned precision")
    if wrong:
        raise SystemExit(1)


def _cells(kernel: str, microseconds: float, total: float) -> tuple[str, str, str]:
    return kernel, f"{microseconds:.0f}", f"{microseconds / total:.1%}"
