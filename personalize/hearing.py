"""Which recordings a model is fitted on, and in which pieces it hears them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from myqasr.speech.aside import left_aside
from myqasr.speech.datasets import (
    Clip,
    Recording,
    Selection,
    choose_clips,
    evenly,
    find_clips,
    selected,
)
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.recordings import cut_at_pauses

PathLike = str | Path
EVERY_CLIP = Selection()
Skipped = list[tuple[Path, str]]
"""Recordings that can't be used, each with the reason."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told what goes on, while it does; deaf when nothing is given.

    say: a line of text. skipped: recordings that can't be used. progress: stage, steps done, steps in all.
    """

    say: Callable[[str], None] = lambda text: None
    skipped: Callable[[Skipped], None] = lambda clips: None
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None


NOBODY = Listener()


def recordings_for(
    audio: PathLike | Sequence[PathLike] | Sequence[Recording],
    selection: Selection,
    clips: int,
    model: SpeechModel,
) -> tuple[list[Recording], Skipped]:
    """Recordings as they were given, or chosen and decoded from where they lie; long ones in pieces.

    Of the pieces of chosen recordings no more than `clips` are taken, evenly; whole recordings are in memory
    one at a time.
    """
    listed = [audio] if isinstance(audio, str | Path) else audio
    decoded = [each for each in listed if isinstance(each, Recording)]
    if decoded:
        return cut_at_pauses(decoded, model.piece_samples, model.min_samples), []
    paths = [Path(each) for each in listed if not isinstance(each, Recording)]
    found, aside = found_in(paths, selection, texts=False)

    def pieces(recording: Recording) -> list[Recording]:
        cut = cut_at_pauses([recording], model.piece_samples, model.min_samples)
        # As copies: a view of it would keep all of a long recording in memory.
        return [
            replace(each, waveform=each.waveform.copy()) if len(cut) > 1 else each
            for each in evenly(cut, clips)
        ]

    chosen, skipped = choose_clips(found, clips, pieces)
    return evenly(chosen, clips), [*aside, *skipped]


def found_in(
    audio: PathLike | Sequence[PathLike], selection: Selection = EVERY_CLIP, texts: bool = True
) -> tuple[tuple[Clip, ...], Skipped]:
    """Clips as selected of what lies there, and what lies there beside them; `texts`: with transcripts."""
    paths = [Path(audio)] if isinstance(audio, str | Path) else [Path(each) for each in audio]
    found = find_clips(paths, texts=texts)
    return selected(found, selection, paths), left_aside(paths, found)


def remarks(recordings: Sequence[Recording]) -> list[str]:
    """What was done to recordings beside decoding, a line for each file."""
    said = {recording.clip.path: recording.remark for recording in recordings if recording.remark}
    return [f"{path}: {remark}" for path, remark in said.items()]


def tell(listener: Listener, recordings: Sequence[Recording], skipped: Skipped) -> None:
    """What can't be used, and what was done to what can."""
    listener.skipped(skipped)
    for remark in remarks(recordings):
        listener.say(remark)
