"""Core ML itself, on macOS: packages by coremltools, .pte files by ExecuTorch's backend. Not tried yet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core.errors import UserError
from myqasr.exporters.coreml.mlpackage import MAIN, read_programs
from myqasr.runtime_bench.runners.base import Runner, System
from myqasr.runtime_bench.runners.coreml.lengths import ListedLengths, listed_lengths
from myqasr.speech.caching import token_steps
from myqasr.speech.decoding import Autoregression, greedy_logits


@dataclass(frozen=True, slots=True)
class CoreMLRunner(Runner):
    """A compiled package's functions by name. threads: as asked for; Core ML decides itself."""

    functions: dict[str, Any]
    autoregression: Autoregression | None
    lengths: ListedLengths

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of features [samples]: [frames, vocab], or of greedy decoding [tokens written, vocab]."""
        waveform = {"waveform": self.lengths.filled(features)[None]}
        if self.autoregression is None:
            found = _logits(self.functions[MAIN].predict(waveform))
            return self.lengths.trimmed(found, len(features))
        heard = self.functions["encode"].predict(waveform)
        steps = token_steps(
            by_name(self.functions["decode"].predict),
            [torch.from_numpy(heard[f"heard_{index}"]) for index in range(len(heard))],
            self.autoregression.max_tokens,
        )
        return greedy_logits(steps, self.autoregression)


@dataclass(frozen=True, slots=True)
class DelegateRunner(Runner):
    """A .pte of Core ML's in ExecuTorch's runtime."""

    runtime: Runner
    lengths: ListedLengths

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """As of `CoreMLRunner`."""
        found = self.runtime.logits(self.lengths.filled(features))
        return self.lengths.trimmed(found, len(features))


def _logits(outputs: dict[str, Any]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.asarray(outputs["logits"], np.float32)[0]
    return result


def by_name(predict: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., list[Tensor]]:
    """`decode` as `token_steps` calls it, of a function that takes and gives arrays by name."""

    def decode(token: Tensor, position: Tensor, *kept_and_heard: Tensor) -> list[Tensor]:
        count = len(kept_and_heard) // 2
        names = [f"{what}_{index}" for what in ("cache", "heard") for index in range(count)]
        arrays = (tensor.numpy() for tensor in kept_and_heard)
        found = predict(
            {
                "token": token.numpy().astype(np.int32),
                "position": position.numpy().astype(np.int32),
                **dict(zip(names, arrays, strict=True)),
            }
        )
        outputs = ("logits", *(f"row_{index}" for index in range(count)))
        return [torch.from_numpy(np.asarray(found[name], np.float32)) for name in outputs]

    return decode


def open_device(system: System, threads: int) -> Runner:
    """Load a package or .pte for all compute units; raises UserError when it is refused."""
    path, how = system.file, system.autoregression
    programs = read_programs(path)
    lengths = listed_lengths(programs[MAIN]) if how is None else ListedLengths((), 0)
    if path.is_dir():
        return CoreMLRunner("Core ML, all compute units", threads, _loaded(path, how), how, lengths)
    from myqasr.runtime_bench.runners.executorch import open_runner

    runtime = open_runner(system, threads)
    return DelegateRunner("ExecuTorch with Core ML", runtime.threads, runtime, lengths)


def _loaded(path: Path, how: Autoregression | None) -> dict[str, Any]:
    """The package's functions, compiled."""
    import coremltools as ct

    try:
        return {
            name: ct.models.MLModel(
                str(path),
                compute_units=ct.ComputeUnit.ALL,
                function_name=None if name == MAIN else name,
            )
            for name in ((MAIN,) if how is None else ("encode", "decode"))
        }
    except RuntimeError as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} can't be loaded by Core ML ({line}); export it again") from error
