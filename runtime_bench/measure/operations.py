"""Time by operation for a result: the kernels that ran, by the layers whose weights they read."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from myqasr.runtime_bench.measure.kernels import KernelTime, kernels_of
from myqasr.runtime_bench.measure.transcription import model_inputs
from myqasr.runtime_bench.results.report import BenchReport, OperationTime
from myqasr.runtime_bench.runners.exported import Exported
from myqasr.runtime_bench.runners.records import runs_here
from myqasr.speech.datasets import Recording


def operation_times(kernels: Iterable[KernelTime]) -> tuple[OperationTime, ...]:
    """Kernels summed by layer, and those without weights by their name; longest first."""
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for kernel in kernels:
        spent[kernel.layer or kernel.kernel, kernel.kernel].append(kernel.microseconds / 1e3)
    times = [OperationTime(*key, len(found), sum(found)) for key, found in spent.items()]
    return tuple(sorted(times, key=lambda each: -each.ms))


def with_operations(
    report: BenchReport, files: Sequence[Exported], recordings: Sequence[Recording]
) -> BenchReport:
    """The report with the operations of each XNNPACK file on the recording of middling length.

    The C++ runner tells them; files that it can't profile have none. Raises UserError when it can't be built.
    """
    typical = sorted(recordings, key=lambda each: each.seconds)[len(recordings) // 2]
    found: dict[str, tuple[OperationTime, ...]] = {}
    profiled: set[str] = set()  # a file that several runners run is profiled once
    for file in files:
        here = runs_here(file.system.runner)  # with the same kernels as the C++ runner
        if here and file.artifact.target == "xnnpack" and file.artifact.sha256 not in profiled:
            profiled.add(file.artifact.sha256)
            longest = max(model_inputs(typical.waveform, file.audio), key=len)
            kernels = kernels_of(file, longest, report.threads)
            found[file.system.name] = operation_times(kernels)
    systems = (replace(system, operations=found.get(system.name, ())) for system in report.systems)
    return replace(report, systems=tuple(systems))
