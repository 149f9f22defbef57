"""Exported .litert.tflite files in the LiteRT runtime, with its XNNPACK kernels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from myqasr.core.errors import UserError
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
    """An interpreter of `encode` and `decode`, the latter first in the file.

    inputs, outputs: tensors of `decode` by name. samples: that `encode` takes. What `decode` reads of the tokens
    before lies in its inputs, whose memory nothing else uses: a token's rows are put there, nothing is copied.
    """

    interpreter: Any
    inputs: dict[str, int]
    outputs: dict[str, int]
    samples: int
    how: Autoregression

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [tokens written, vocab] of greedy decoding of features [samples], a whole window."""
        if len(features) != self.samples:
            raise UserError(
                f"LiteRT can't take {len(features)} samples; this file takes {self.samples}"
            )
        try:
            self._listen(features)
            return greedy_logits(self._next_logits, self.how)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"LiteRT can't run {len(features)} samples ({error})") from error

    def _listen(self, features: NDArray[np.float32]) -> None:
        """Fill what `decode` knows of the audio, and empty what it knows of tokens."""
        # While the signature is held, the interpreter doesn't run its first subgraph.
        encode = self.interpreter.get_signature_runner("encode")
        for name, heard in encode(waveform=features[None]).items():
            self.interpreter.set_tensor(self.inputs[name], heard)
        for name, index in self.inputs.items():
            if name.startswith(_CACHE):
                self.interpreter.tensor(index)()[:] = 0

    def _next_logits(self, token: int, position: int) -> NDArray[np.float32]:
        """Logits [vocab] of what follows a token, which is kept."""
        run = self.interpreter
        run.set_tensor(self.inputs["token"], np.array([[token]], np.int32))
        run.set_tensor(self.inputs["position"], np.array([position], np.int32))
        run.invoke()
        for name, index in self.inputs.items():
            if name.startswith(_CACHE):
                row = run.get_tensor(self.outputs[name.replace(_CACHE, "row_")])
                run.tensor(index)()[:, position] = row[:, 0]
        result: NDArray[np.float32] = run.get_tensor(self.outputs["logits"])[0]
        return result


_CACHE = "cache_"


def open_runner(system: System, threads: int) -> Runner:
    """Load a file; raises UserError when it is missing or damaged, or needs another runtime."""
    path = existing_file(system)
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        if system.autoregression is None:
            return LiteRtRunner("LiteRT", threads, interpreter)
        return _writer(interpreter, threads, system.autoregression)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} can't be loaded by LiteRT ({reason}); export it again") from error


def _writer(interpreter: Any, threads: int, how: Autoregression) -> LiteRtWriter:
    """Raises ValueError for a file without the signatures."""
    encode, decode = (interpreter.get_signature_runner(name) for name in ("encode", "decode"))
    inputs, outputs = (
        {name: int(tensor["index"]) for name, tensor in details.items()}
        for details in (decode.get_input_details(), decode.get_output_details())
    )
    samples = int(encode.get_input_details()["waveform"]["shape"][1])
    return LiteRtWriter("LiteRT", threads, interpreter, inputs, outputs, samples, how)
