"""Models that are told which language to write: by whoever asks, by their files, or by the recordings."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from myqasr.speech.datasets import Recording, Selection, find_clips
from myqasr.speech.models.base import SpeechModel

DETECTED_ON = 8
"""Recordings that a language is heard from."""

PathLike = str | Path


def asked_of_data(
    selection: Selection,
    audio: PathLike | Sequence[PathLike] | Sequence[Recording],
    model: SpeechModel,
) -> Selection:
    """What to choose recordings by: not by a language that the model is told and no recording names."""
    if selection.language is None or not (model.languages or model.language == selection.language):
        return selection
    return asked_of_told(selection, audio)


def asked_of_told(
    selection: Selection, audio: PathLike | Sequence[PathLike] | Sequence[Recording]
) -> Selection:
    """The same, of a model that is told the language."""
    listed = [audio] if isinstance(audio, str | Path) else audio
    paths = [Path(each) for each in listed if not isinstance(each, Recording)]
    others = replace(selection, language=None)
    named = bool(paths) and any(
        clip.language is not None for clip in find_clips(paths, others, texts=False)
    )
    return selection if named else others


def told(
    model: SpeechModel,
    language: str | None,
    recordings: Sequence[Recording],
    say: Callable[[str], None],
) -> SpeechModel:
    """A multilingual model told a language: the one asked for, its own, or else the one that it hears.

    say: is told what was heard in the recordings. Other models are returned as they are.
    """
    if not model.languages or (language is None and model.language is not None):
        return model
    whisper = importlib.import_module("myqasr.speech.models.whisper.language")
    if language is None:
        heard = [recording.waveform for recording in recordings[:DETECTED_ON]]
        language, share = whisper.detect_language(model, heard)
        say(
            f"language {language}, heard in {len(heard)} recordings ({share:.0%} sure); "
            "--language names another"
        )
    found: SpeechModel = whisper.in_language(model, language)
    return found
