"""Exported .pte files in the ExecuTorch runtime, with its XNNPACK, portable and quantized kernels."""

import contextlib
import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# The extension itself, as the `portable_lib` around it imports the whole exporter: 140 MB and seconds
# that would count as the runtime's. It needs torch's libraries loaded, the quantized kernels need it.
import executorch.extension.pybindings._C as runtime  # noqa: N811  # isort: skip
import executorch.kernels.quantized  # noqa: F401  # isort: skip

from myqasr.core.errors import UserError
from myqasr.runtime_bench.runners.base import Runner, System, existing_file
from myqasr.speech.caching import token_steps
from myqasr.speech.decoding import Autoregression, greedy_logits

_MISSING_KERNEL = re.compile(r"Missing operator: \[\d+\] ([\w:.]+)")


@dataclass(frozen=True, slots=True)
class ExecuTorchRunner(Runner):
    """A loaded program's methods by name. `program` is kept because they point into it."""

    program: Any
    methods: dict[str, Any]
    autoregression: Autoregression | None = None

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of features [samples]: [frames, vocab], or of greedy decoding [tokens written, vocab].

        Raises UserError when the length doesn't fit.
        """
        waveform = torch.from_numpy(features)[None]
        try:
            if self.autoregression is None:
                return _numbers(self.methods["forward"]((waveform,)))
            heard = self.methods["encode"]((waveform,))
            decode, how = self.methods["decode"], self.autoregression
            steps = token_steps(lambda *inputs: decode(inputs), heard, how.max_tokens)
            return greedy_logits(steps, how)
        except RuntimeError as error:
            raise UserError(
                f"ExecuTorch can't run {len(features)} samples ({_first_line(error)}); "
                "is this between the shortest and longest input of the file?"
            ) from error


def open_runner(system: System, threads: int) -> ExecuTorchRunner:
    """Load a .pte's methods; raises UserError when the file is missing, damaged or needs a kernel."""
    how = system.autoregression
    wanted = ("forward",) if how is None else ("encode", "decode")
    path = existing_file(system)
    # The runtime writes to Python's stderr: on success remarks about the CPU, else what went wrong.
    with contextlib.redirect_stderr(io.StringIO()) as log:
        if runtime._threadpool_get_thread_count() != threads:
            runtime._unsafe_reset_threadpool(threads)
        try:
            program = runtime._load_program(
                str(path), program_verification=runtime.Verification.InternalConsistency
            )
            methods = {name: program.load_method(name) for name in wanted}
        except RuntimeError as error:
            missing = _MISSING_KERNEL.findall(log.getvalue())
            reason = f"no kernel for {missing[0]}" if missing else _first_line(error)
            raise UserError(
                f"{system.source} can't be loaded by ExecuTorch ({reason}); export it again"
            ) from error
    used = runtime._threadpool_get_thread_count()
    return ExecuTorchRunner("ExecuTorch", used, program, methods, how)


def _numbers(outputs: Any) -> NDArray[np.float32]:
    """The first and only output of a batch of one."""
    result: NDArray[np.float32] = outputs[0][0].float().numpy()
    return result


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
