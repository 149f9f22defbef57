"""From a waveform of any length to text on any runner, the same way for all of them."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.runtime_bench.runners.base import Runner
from myqasr.runtime_bench.runners.exported import AudioInput
from myqasr.speech.decoding import Tokens, greedy_text
from myqasr.speech.models.base import normalize_waveform
from myqasr.speech.segments import split_at_pauses


def model_inputs(waveform: NDArray[np.float32], audio: AudioInput) -> list[NDArray[np.float32]]:
    """Features [samples] of each piece of a 16 kHz waveform [samples], within the model's limits.

    Longer audio is cut at pauses; each piece is normalised by itself, then zero-padded if too short.
    """
    return list(each_input(waveform, audio))


def each_input(waveform: NDArray[np.float32], audio: AudioInput) -> Iterator[NDArray[np.float32]]:
    """The same, one after the other: of a long recording they needn't all be there at once."""
    # A model with a window of its own takes only whole ones, padded.
    shortest = min(audio.min_samples, audio.max_samples // 2)
    for piece in split_at_pauses(waveform, audio.max_samples, shortest):
        features = normalize_waveform(piece) if audio.normalize else piece
        missing = max(audio.min_samples - len(features), 0)
        yield np.ascontiguousarray(np.pad(features, (0, missing)), np.float32)


def transcribe(runner: Runner, inputs: Iterable[NDArray[np.float32]], tokens: Tokens) -> str:
    """Greedy text of an utterance's pieces (from `model_inputs`), joined by spaces.

    Raises UserError when the model computes NaN, which would pass for silence.
    """
    return joined(greedy_text(logits, tokens) for logits in checked_logits(runner, inputs))


def checked_logits(
    runner: Runner, inputs: Iterable[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    """Logits of each piece in turn; raises UserError when the model computes NaN.

    They aren't kept: an hour of Whisper's would take gigabytes.
    """
    for features in inputs:
        logits = runner.logits(features)
        if np.isnan(logits).any():
            raise UserError(f"{runner.description} gives NaN; the file or model is broken")
        yield logits


def joined(texts: Iterable[str]) -> str:
    """Text of an utterance's pieces."""
    return " ".join(text for text in texts if text)
