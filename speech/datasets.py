"""Recordings from what people have: folders, zips, lists, public data sets, CSV and NeMo manifests.

A clip's text and speaker come from the nearest `manifest.csv` at or above it that lists it, else from
LibriSpeech's `.trans.txt` beside it, else from a `.txt` of the same name. Order is always by path, or
as the list or manifest has it.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import AudioError, UserError
from myqasr.core.reading import reading
from myqasr.speech.audio import (
    AUDIO_SUFFIXES,
    MIN_SECONDS,
    SAMPLE_RATE,
    audio_files,
    audio_seconds,
    load_audio,
)
from myqasr.speech.layouts import arrow, clips_of, zipped
from myqasr.speech.manifests import (
    Clip,
    librispeech_genders,
    librispeech_texts,
    read_csv,
    read_list,
    read_nemo,
    read_text,
)

__all__ = [
    "Clip",
    "Recording",
    "Selection",
    "audio_hash",
    "choose_clips",
    "evenly",
    "find_clips",
    "read_clips",
]

MANIFEST_NAME = "manifest.csv"
LIST_SUFFIXES = (".txt", ".lst", ".list", ".m3u")
_READERS: dict[str, Callable[[Path], list[Clip]]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".json": read_nemo,
    ".jsonl": read_nemo,
    zipped.SUFFIX: zipped.clips,
}
PREFERRED_SECONDS = (1.5, 12.0)
_LEVELS_UP = 4
_LOOKED_FOR = (
    f"audio files ({', '.join(AUDIO_SUFFIXES)}), a zip or list of them, a manifest.csv or NeMo JSON"
)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A clip and its waveform [samples], mono 16 kHz."""

    clip: Clip
    waveform: NDArray[np.float32]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Selection:
    """Which clips of a data set to take; None takes all. A clip that doesn't say isn't taken."""

    speakers: tuple[str, ...] | None = None
    gender: str | None = None
    language: str | None = None
    split: str | None = None

    def takes(self, clip: Clip) -> bool:
        """Whether a clip is what was asked for."""
        return (
            (self.speakers is None or clip.speaker in self.speakers)
            and (self.gender is None or clip.gender == self.gender)
            and (self.language is None or clip.language == self.language)
            and (self.split is None or clip.split == self.split)
        )


def find_clips(
    source: Path | Sequence[Path], selection: Selection = Selection()
) -> tuple[Clip, ...]:
    """Clips of an audio file, folder, list file, public data set, CSV or NeMo manifest, or several.

    Files that a list or manifest names aren't opened yet. Raises UserError saying what was looked for
    when nothing is found, and what there is when nothing is as selected.
    """
    sources = [source] if isinstance(source, Path) else list(source)
    found: dict[Clip, None] = {}
    for path in sources:
        with reading(path, "can't be read", f"expected {_LOOKED_FOR}", AudioError):
            found.update(dict.fromkeys(_clips_of(path)))
    if not found:
        raise AudioError(f"no recordings in {_listing(sources)}; looked for {_LOOKED_FOR}")
    chosen = tuple(clip for clip in found if selection.takes(clip))
    if not chosen:
        asked = [
            f"{field} {value if isinstance(value, str) else ', '.join(value)}"
            for field in ("speakers", "gender", "language", "split")
            if (value := getattr(selection, field)) is not None
        ]
        raise AudioError(
            f"no recordings of {'; '.join(asked)} in {_listing(sources)}; there are "
            f"{_known('speakers', [clip.speaker for clip in found])}; "
            f"{_known('genders', [clip.gender for clip in found])}; "
            f"{_known('languages', [clip.language for clip in found])}; "
            f"{_known('splits', [clip.split for clip in found])}"
        )
    return chosen


def read_clips(
    clips: Sequence[Clip], need_text: bool = False
) -> tuple[list[Recording], list[tuple[Path, str]]]:
    """Decode clips; those that can't be used are returned apart, with the reason.

    Raises UserError naming the first ones when none can be used.
    """
    recordings: list[Recording] = []
    skipped: list[tuple[Path, str]] = []
    for clip in clips:
        try:
            if need_text and clip.text is None:
                raise AudioError("no transcript in a manifest.csv, .trans.txt or .txt")
            recordings.append(Recording(clip, _waveform(clip)))
        except UserError as error:
            skipped.append((clip.path, str(error).removeprefix(f"{clip.path}: ")))
    _refuse_none(recordings, skipped)
    return recordings, skipped


def choose_clips(
    clips: Sequence[Clip], count: int
) -> tuple[list[Recording], list[tuple[Path, str]]]:
    """Decode `count` clips spread evenly over the sequence, in its order; fewer if there are fewer.

    Clips of 1.5 to 12 s come first: shorter ones say little, longer ones slow the measuring down.
    The lengths of all are read from their headers, so every file that isn't audio is among the skipped.
    Raises UserError when none can be used.
    """
    if count < 1:
        raise UserError(f"can't choose {count} clips; ask for at least one")
    preferred: list[int] = []
    others: list[int] = []
    skipped: list[tuple[Path, str]] = []
    for index, clip in enumerate(clips):
        try:
            seconds = _seconds(clip)
        except UserError as error:
            skipped.append((clip.path, str(error).removeprefix(f"{clip.path}: ")))
            continue
        low, high = PREFERRED_SECONDS
        (preferred if low <= seconds <= high else others).append(index)
    chosen: dict[int, Recording] = {}
    for index in [*_spread(preferred, count), *_spread(others, count)]:
        if len(chosen) == count:
            break
        try:
            chosen[index] = Recording(clips[index], _waveform(clips[index]))
        except UserError as error:
            path = clips[index].path
            skipped.append((path, str(error).removeprefix(f"{path}: ")))
    recordings = [chosen[index] for index in sorted(chosen)]
    _refuse_none(recordings, skipped)
    return recordings, skipped


def audio_hash(recordings: Iterable[Recording]) -> str:
    """Hex sha256 over the decoded samples; the order and the names of the files don't matter."""
    digests = sorted(
        hashlib.sha256(recording.waveform.astype("<f4").tobytes()).digest()
        for recording in recordings
    )
    return hashlib.sha256(b"".join(digests)).hexdigest()


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items in their order, evenly chosen; all when there are no more."""
    count = min(count, len(items))
    return [items[(2 * place + 1) * len(items) // (2 * count)] for place in range(count)]


def _spread(indices: list[int], count: int) -> list[int]:
    """All indices: first `count` that lie evenly over the list, then the rest as stand-ins."""
    first = evenly(indices, count)
    taken = set(first)
    return first + [index for index in indices if index not in taken]


def _seconds(clip: Clip) -> float:
    """Length without decoding, where the file tells."""
    return clip.window[1] if clip.window is not None else audio_seconds(clip.path, _encoded(clip))


def _encoded(clip: Clip) -> bytes | None:
    """The recording's own bytes when it lies in a table or zip."""
    if clip.row is not None:
        with reading(clip.path, "can't be read", kind=AudioError):
            return arrow.recording(clip.path, clip.row)
    return zipped.recording(clip.path)


def _waveform(clip: Clip) -> NDArray[np.float32]:
    waveform = load_audio(clip.path, _encoded(clip))
    if clip.window is None:
        return waveform
    start, length = (round(seconds * SAMPLE_RATE) for seconds in clip.window)
    part = waveform[start : start + length]
    if len(part) < MIN_SECONDS * SAMPLE_RATE:
        raise AudioError(
            f"{clip.path}: {clip.window[1]} s from {clip.window[0]} s on are not in it; "
            f"it lasts {len(waveform) / SAMPLE_RATE:.2f} s"
        )
    return part


def _refuse_none(recordings: list[Recording], skipped: list[tuple[Path, str]]) -> None:
    if recordings:
        return
    shown = "; ".join(f"{path}: {reason}" for path, reason in skipped[:3])
    more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    raise AudioError(f"none of {len(skipped)} recordings can be used: {shown}{more}")


def _known(what: str, values: Iterable[str | None]) -> str:
    """E.g. `speakers: ann, bob and 30 more`."""
    known = sorted({value for value in values if value is not None})
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"{what}: {', '.join(known[:8]) or 'none'}{more}"


def _listing(sources: list[Path]) -> str:
    return ", ".join(str(path) for path in sources[:3]) + (", ..." if len(sources) > 3 else "")


def _clips_of(source: Path) -> list[Clip]:
    if source.is_dir():
        known = clips_of(source)
        if known is not None:
            return known
        described = _describe(audio_files(source))
        manifest = source / MANIFEST_NAME
        # A manifest may list recordings that live elsewhere.
        return described or (read_csv(manifest) if manifest.is_file() else [])
    if not source.is_file():
        raise AudioError(f"{source} does not exist; expected {_LOOKED_FOR}")
    suffix = source.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return _describe([source])
    if suffix in LIST_SUFFIXES:
        return _describe(read_list(source))
    if suffix in _READERS:
        return _READERS[suffix](source)
    raise AudioError(f"{source} is none of: {_LOOKED_FOR}")


def _describe(paths: Sequence[Path]) -> list[Clip]:
    """Clips of audio files, with what manifests and transcripts near them say."""
    manifests: dict[Path, dict[str, Clip]] = {}
    transcripts: dict[Path, dict[str, str]] = {}
    genders: dict[Path, dict[str, str | None]] = {}
    clips = []
    for path in paths:
        folder = path.parent
        if folder not in transcripts:
            transcripts[folder] = librispeech_texts(folder)
            genders[folder] = librispeech_genders(folder) if transcripts[folder] else {}
        clip = _from_manifest(path, manifests)
        if clip is None and path.stem in transcripts[folder]:
            speaker = path.stem.split("-")[0]
            gender = genders[folder].get(speaker)
            clip = Clip(path, speaker, transcripts[folder][path.stem], gender=gender)
        if clip is None:
            beside = path.with_suffix(".txt")
            text = read_text(beside).strip() if beside.is_file() else None
            clip = Clip(path, text=text or None)
        clips.append(clip)
    return clips


def _from_manifest(path: Path, manifests: dict[Path, dict[str, Clip]]) -> Clip | None:
    """What the nearest manifest.csv that lists `path` says; `manifests` keeps those already read."""
    absolute = os.path.abspath(path)
    for folder in list(Path(absolute).parents)[:_LEVELS_UP]:
        if folder not in manifests:
            manifest = folder / MANIFEST_NAME
            try:
                listed = read_csv(manifest) if manifest.is_file() else []
            except UserError:  # some other program's manifest.csv; the user didn't name it
                listed = []
            manifests[folder] = {os.path.abspath(clip.path): clip for clip in listed}
        found = manifests[folder].get(absolute)
        if found is not None:
            return replace(found, path=path, window=None)
    return None
