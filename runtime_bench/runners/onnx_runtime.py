"""Exported .onnx files in ONNX Runtime, on the CPU."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.core.reading import reading, reason
from myqasr.runtime_bench.runners.base import Runner, System
from myqasr.speech.decoding import Autoregression, greedy_logits

EXACT_PRODUCTS = "session.x64quantprecision"
"""Set to 1: kernels for x86 without VNNI don't saturate where bytes meet bytes."""
_ERRORS = 3
CACHE, ROW = "cache_", "row_"


@contextlib.contextmanager
def _running(features: NDArray[np.float32]) -> Iterator[None]:
    """Say of whatever the runtime raises what it was given."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"ONNX Runtime can't run {len(features)} samples ({reason(error)}); "
            "is this between the shortest and longest input of the file?"
        ) from error


@dataclass(frozen=True, slots=True)
class OnnxRunner(Runner):
    """A session; it takes any length."""

    session: Any

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [frames, vocab] of features [samples]; raises UserError when the file can't take them."""
        with _running(features):
            result: NDArray[np.float32] = self.session.run(None, {"waveform": features[None]})[0][0]
        return result


@dataclass(frozen=True, slots=True)
class OnnxWriter(Runner):
    """A folder that writes token by token: a session that listens, one that writes."""

    encode: Any
    decode: Any
    how: Autoregression

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [tokens written, vocab] of greedy decoding of features [samples], a whole window."""
        with _running(features):
            return greedy_logits(self.steps(features), self.how)

    def steps(self, features: NDArray[np.float32]) -> Callable[[int, int], NDArray[np.float32]]:
        """From a token and its position to the logits [vocab] of the next: what `greedy_logits` asks."""
        names = [each.name for each in self.encode.get_outputs()]
        heard = self.encode.run(names, {"waveform": features[None]})
        inputs = dict(zip(names, heard, strict=True))
        for each in self.decode.get_inputs():
            if each.name.startswith(CACHE):
                inputs[each.name] = np.zeros(each.shape, np.float32)
        results = [each.name for each in self.decode.get_outputs()]

        def next_logits(token: int, position: int) -> NDArray[np.float32]:
            inputs["token"] = np.array([[token]], np.int64)
            inputs["position"] = np.array([position], np.int64)
            found = dict(zip(results, self.decode.run(results, inputs), strict=True))
            for name, row in found.items():
                if name.startswith(ROW):
                    inputs[name.replace(ROW, CACHE)][:, position] = row[:, 0]
            logits: NDArray[np.float32] = found["logits"][0]
            return logits

        return next_logits


def open_runner(system: System, threads: int) -> Runner:
    """Load a file or folder; raises UserError when it is missing or damaged, or needs another runtime."""
    path, how = system.file.absolute(), system.autoregression
    if not path.exists():
        raise UserError(f"{system.source} does not exist")
    if how is None:
        return OnnxRunner("ONNX Runtime", threads, _opened(system, path, threads))
    encode, decode = (
        _opened(system, path / f"{name}.onnx", threads) for name in ("encode", "decode")
    )
    return OnnxWriter("ONNX Runtime", threads, encode, decode, how)


def session(path: Path, threads: int) -> Any:
    """A file in the runtime, with exact products on every processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS
    options.add_session_config_entry(EXACT_PRODUCTS, "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _opened(system: System, path: Path, threads: int) -> Any:
    with reading(system.source, "can't be loaded by ONNX Runtime", "export it again"):
        return session(path, threads)
