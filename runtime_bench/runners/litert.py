"""Exported .litert.tflite files in the LiteRT runtime, with its XNNPACK kernels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.runtime_bench.devices.tflite_worker import TokenWriter
from myqasr.runtime_bench.runners.base import Runner, System, existing_file
from myqasr.speech.decoding import Autoregression, greedy_logits


@dataclass(frozen=True, slots=True)
class LiteRtRunner(Runner):
    """An interpreter; its input is resized whenever the length changes."""

    interpreter: Any

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [frames, vocab] of features [samples]; raises UserError when the file can't take them."""
        place, ready = self.interpreter.get_input_details()[0], False
        try:
            if int(place["shape"][1]) != len(features):
                self.interpreter.resize_tensor_input(place["index"], [1, len(features)])
                self.interpreter.allocate_tensors()
            ready = True
            self.interpreter.set_tensor(place["index"], features[None])
            self.interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            what = "run" if ready else "take"
            raise UserError(f"LiteRT can't {what} {len(features)} samples ({error})") from error
        result: NDArray[np.float32] = self.interpreter.get_tensor(
            self.interpreter.get_output_details()[0]["index"]
        )[0]
        return result


@dataclass(frozen=True, slots=True)
class LiteRtWriter(Runner):
    """A file that writes token by token."""

    writer: TokenWriter
    how: Autoregression

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [tokens written, vocab] of greedy decoding of features [samples], a whole window."""
        try:
            self.writer.listen(features)
            return greedy_logits(self.writer.next_logits, self.how)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"LiteRT can't run {len(features)} samples ({error})") from error


def open_runner(system: System, threads: int) -> Runner:
    """Load a file; raises UserError when it is missing or damaged, or needs another runtime."""
    path, how = existing_file(system), system.autoregression
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        if how is None:
            return LiteRtRunner("LiteRT", threads, interpreter)
        return LiteRtWriter("LiteRT", threads, TokenWriter(interpreter), how)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{system.source} can't be loaded by LiteRT ({reason}); export it again"
        ) from error
