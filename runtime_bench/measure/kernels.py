"""Which kernel ran for each layer and how long it took, as the runtime itself noted while it ran (ETDump).

Reading a file back shows what is stored; this shows what was executed. XNNPACK's names tell the precision: in
`Fully Connected (NC, QD8, F32, QB4W) GEMM` the input was quantised to 8 bits as it ran, the output is float32
and the weights have 4 bits in blocks.
"""

import contextlib
import io
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core.children import scratch_folder
from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.runtime_bench.runners.base import held
from myqasr.runtime_bench.runners.executorch_cpp import open_runner
from myqasr.runtime_bench.runners.exported import Exported, exported_file

_EMBEDDINGS = {
    "native_call_embedding_4bit.out": 4,
    "native_call_embedding_byte.out": 8,
    "native_call_embedding.out": None,
}
"""Kernel that reads rows of a table -> bits of its codes; None: of floats."""
_WEIGHT_KERNELS = ("Fully Connected", "Convolution", "Depthwise Convolution", *_EMBEDDINGS)
_DELEGATED = "DELEGATE_CALL"
_AROUND = ("OPERATOR_CALL", "Method::execute")


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One kernel in the order of execution. layer: whose weights it read, None for other work.

    microseconds: median over the runs. planned: the layer's precision. right: whether the kernel's name fits
    it; always so for what has no weights.
    """

    kernel: str
    microseconds: float
    layer: str | None = None
    planned: QuantSpec | None = None
    right: bool = True


def kernel_fits(kernel: str, spec: QuantSpec) -> bool:
    """Whether a kernel of this name computes at this precision, by the words in its brackets."""
    if kernel in _EMBEDDINGS:
        wanted = (
            ("float", spec.bits) if _EMBEDDINGS[kernel] is None else ("int", _EMBEDDINGS[kernel])
        )
        return (spec.scheme, spec.bits) == wanted and spec.activation == "float"
    words = kernel.partition("(")[2].partition(")")[0].replace(" ", "").split(",")
    if spec.scheme == "float":
        return words[-1] == f"F{spec.bits}"
    dynamic = any(word in ("QD8", "QDU8", "QP8") for word in words)
    if spec.activation == "int8-static":
        return not dynamic and words[-1] in ("QC8", "QS8", "QC8W")
    weights = "QB" if spec.group_size is not None else "QC"
    dynamic = dynamic and spec.activation == "int8-dynamic"
    return dynamic and words[-1] == f"{weights}{spec.bits}W"


def profile_kernels(
    path: Path, features: NDArray[np.float32], threads: int = 1, repeats: int = 10
) -> list[KernelTime]:
    """Run an exported XNNPACK file on features [samples] in the C++ runner and say which kernels ran.

    Of a model that writes token by token, a kernel's time is that of all tokens together. Raises UserError
    when the file isn't what its manifest says, isn't of target xnnpack, or ran other kernels with weights
    than the plan has layers.
    """
    file = exported_file(path, runner="executorch-cpp")
    if file.artifact.target != "xnnpack":
        raise UserError(f"kernels are named by target xnnpack; {path} is {file.artifact.target}")
    with held([file.system]) as (system,):
        return kernels_of(replace(file, system=system), features, threads, repeats)


def kernels_of(
    file: Exported, features: NDArray[np.float32], threads: int = 1, repeats: int = 10
) -> list[KernelTime]:
    """The same of an opened XNNPACK file."""
    runner = open_runner(file.system, threads, profile=True)
    with contextlib.closing(runner), scratch_folder("kernels") as folder:
        answer = runner.session.run(features, "-", repeats + 1)  # the first sets things up
        events = folder / "events.etdump"
        runner.session.command(f"etdump {events}")
        calls = read_events(events.read_bytes())
    how = file.system.autoregression
    # An encoder's call, and one for each token of the prompt and of what was written before the last.
    each = 1 if how is None else len(how.prompt) + answer["rows"]
    runs = [whole_run(calls[first : first + each]) for first in range(each, len(calls), each)]
    return with_layers(runs, list(file.artifact.layers.items()))


def whole_run(calls: list[list[tuple[str, float]]]) -> list[tuple[str, float]]:
    """Kernels and microseconds of an inference from its calls: one, or an encoder's and one for each token.

    In the order in which a file has its methods: the decoder's, summed over the tokens, then the encoder's.
    """
    encoder, *tokens = calls
    decoder = [
        (kernel, sum(token[place][1] for token in tokens))
        for place, (kernel, _) in enumerate(tokens[0] if tokens else [])
    ]
    return [*decoder, *encoder]


def read_events(etdump: bytes) -> list[list[tuple[str, float]]]:
    """Kernel and microseconds of each call of a method, in order, of an ETDump."""
    # Importing the reader makes torchao say on stderr what it couldn't load.
    with contextlib.redirect_stderr(io.StringIO()):
        from executorch.devtools.etdump.serialize import deserialize_from_etdump_flatcc
    dump = deserialize_from_etdump_flatcc(etdump)
    runs = []
    for block in dump.run_data:
        if block.name != "Execute":
            continue
        events = [event.profile_event for event in block.events or [] if event.profile_event]
        runs.append(
            [
                (_kernel_name(event), (event.end_time - event.start_time) / 1e3)
                for event in events
                if event.name not in (*_AROUND, _DELEGATED)
            ]
        )
    return runs


def with_layers(
    runs: list[list[tuple[str, float]]], layers: list[tuple[str, QuantSpec]]
) -> list[KernelTime]:
    """Median times of equal runs, each kernel that reads weights beside the layer that it ran.

    layers: in the order of execution. Raises UserError when there are more or fewer such kernels.
    """
    names = [kernel for kernel, _ in runs[0]]
    weighted = [name.startswith(_WEIGHT_KERNELS) for name in names]
    if sum(weighted) != len(layers):
        raise UserError(
            f"{sum(weighted)} kernels with weights ran, the plan has {len(layers)} layers; "
            "this model does something that the profile doesn't know"
        )
    order = iter(layers)
    found = []
    for place, name in enumerate(names):
        layer, spec = next(order) if weighted[place] else (None, None)
        median = statistics.median(run[place][1] for run in runs)
        right = spec is None or kernel_fits(name, spec)
        found.append(KernelTime(name, median, layer, spec, right))
    return found


def _kernel_name(event: object) -> str:
    """Name without the number that tells a delegate's kernels of the same kind apart."""
    name = getattr(event, "name", None) or getattr(event, "delegate_debug_id_str", None) or "?"
    return str(name).rpartition(" #")[0] or str(name)
