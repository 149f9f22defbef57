"""ONNX Runtime, greedy, with the cache as inputs and outputs of the decoder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime

from benchmarks.peers.workers.mel import log_mel
from benchmarks.peers.workers.serve import Recogniser, Waveform, load_tokens, serve
from myqasr.speech.decoding import greedy_logits, greedy_text

Steps: TypeAlias = Callable[[int, int], Waveform]
"""From a token and its position to the logits [vocab] of the next."""


def load(settings: dict[str, Any]) -> Recogniser:
    """settings: path of a folder with both halves, their names, threads, paths of tokens and mel filters."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = settings["threads"], 1
    encoder, decoder = (
        onnxruntime.InferenceSession(
            Path(settings["path"]) / file, options, providers=["CPUExecutionProvider"]
        )
        for file in settings["halves"]
    )
    tokens, filters = load_tokens(settings["tokens"]), np.load(settings["filters"])
    how = tokens.autoregression
    assert how is not None
    listen = listener(encoder, decoder, filters)

    def text(waveform: Waveform) -> str:
        return greedy_text(greedy_logits(listen(waveform), how), tokens)

    return Recogniser(text, f"onnxruntime {onnxruntime.__version__}")


def listener(encoder: Any, decoder: Any, filters: Waveform) -> Callable[[Waveform], Steps]:
    """From a waveform [samples] to what writes it down. filters: mel, [mels, bins]."""
    inputs = decoder.get_inputs()
    kept = [each.name for each in inputs if each.name.startswith(("key", "value"))]
    heads, _, size = next(each.shape for each in inputs if each.name == kept[0])
    heard = [each.name for each in encoder.get_outputs()]

    def listen(waveform: Waveform) -> Steps:
        audio = encoder.run(None, {"mel": log_mel(waveform, filters)[None]})
        state = dict(zip(heard, audio, strict=True))
        state |= {name: np.zeros((heads, 0, size), np.float32) for name in kept}

        def following(token: int, position: int) -> Waveform:
            fed = {"token": np.array([[token]]), "position": np.array([position]), **state}
            logits, *longer = decoder.run(None, fed)
            state.update(zip(kept, longer, strict=True))
            row: Waveform = logits[0]
            return row

        return following

    return listen


if __name__ == "__main__":
    serve(load)
