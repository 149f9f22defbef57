"""The folder that sherpa-onnx loads: our file under the name it knows, its tokens, a recording to try.

sherpa-onnx takes CTC models on waveforms as `OfflineRecognizer.from_omnilingual_asr_ctc`, without
metadata. It shifts and scales each clip to zero mean and unit variance itself (seen in 2.0.1), so that
only models that want that can be given to it. It finds the blank by its name, writes a space for "▁", and
takes a frame for 20 ms: its time stamps are off for models with other frames.
"""

import os
import shutil
from pathlib import Path

import numpy as np

from myqasr.core.placing import replacing_folder
from myqasr.speech.audio import load_audio
from myqasr.speech.decoding import Tokens
from myqasr.speech.models import DEFAULT_USERS
from myqasr.speech.models.base import SAMPLE_RATE, SpeechModel

MODEL, TOKENS, CLIPS = "model.int8.onnx", "tokens.txt", "test_wavs"
VOICE = Path("synth-ada", "tune", "000.ogg")
BLANK, SPACE = "<blk>", "▁"


def write_sherpa_folder(model: SpeechModel, path: Path) -> str:
    """Write `NAME.sherpa/` beside a file, whole or not at all; says what it is for, or why there is none."""
    why = why_not(model)
    if why:
        return f"No folder for sherpa-onnx: {why}."
    folder = path.with_suffix(".sherpa")
    with replacing_folder(folder) as draft:
        _same_file(path, draft / MODEL)
        (draft / TOKENS).write_text(token_lines(model.tokens), encoding="utf-8", newline="\n")
        (draft / CLIPS).mkdir()
        _write_wav(draft / CLIPS / "0.wav")
    return f"For sherpa-onnx, with OfflineRecognizer.from_omnilingual_asr_ctc: {folder}"


def why_not(model: SpeechModel) -> str:
    """What keeps sherpa-onnx from running a model; empty if nothing does."""
    tokens = model.tokens
    if tokens.autoregression is not None:
        return "its Whisper has features and caches of its own"
    if tokens.blank is None:
        return "a classifier has no text"
    if not model.normalize:
        return "it evens out the level of every clip, and this model wants clips as they are"
    if tokens.byte_level:
        return "it would spell bytes out"
    return ""


def token_lines(tokens: Tokens) -> str:
    """A symbol and its id in every line; ids that write nothing are named, as there must be a symbol."""
    lines = []
    for index, symbol in enumerate(tokens.symbols):
        if index == tokens.blank:
            name = BLANK
        elif symbol == "":
            name = f"<{index}>"
        else:
            name = symbol.replace(" ", SPACE)
        lines.append(f"{name} {index}\n")
    return "".join(lines)


def _same_file(path: Path, other: Path) -> None:
    """A second name for a file, or a copy where there can't be one."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def _write_wav(path: Path) -> None:
    import soundfile

    samples = load_audio(DEFAULT_USERS / VOICE)
    soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")
