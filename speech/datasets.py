"""Recordings from what people have: folders, zips, lists, public data sets, CSV and NeMo manifests.

A clip's text and speaker come from the nearest table at or above it that lists it, else from LibriSpeech's
`.trans.txt` beside it, else from a `.txt` of the same name. Order is always by path, or as the list or
manifest has it.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from myqasr.core.errors import AudioError, UserError
from myqasr.core.reading import reading
from myqasr.speech.audio import (
    AUDIO_SUFFIXES,
    Decoded,
    audio_files,
    audio_seconds,
    decode_audio,
)
from myqasr.speech.beside import MANIFEST_NAME, NO_TEXT, described
from myqasr.speech.layouts import arrow, clips_of, lhotse, stm, zipped
from myqasr.speech.manifests import Clip, once, read_csv, read_list
from myqasr.speech.recordings import Recording, audio_hash

__all__ = [
    "Clip",
    "Recording",
    "Selection",
    "audio_hash",
    "choose_clips",
    "evenly",
    "find_clips",
    "read_clips",
    "same_sound",
    "selected",
]

LIST_SUFFIXES = (".txt", ".lst", ".list", ".m3u")
_READERS: dict[str, Callable[[Path], list[Clip]]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".json": lhotse.read_objects,
    ".jsonl": lhotse.read_objects,
    ".gz": lhotse.read_objects,
    ".stm": stm.read,
    ".parquet": arrow.read_parquet,
    zipped.SUFFIX: zipped.clips,
}
PREFERRED_SECONDS = (1.5, 12.0)
_LEVELS_DOWN = 2
_ARCHIVES = (".tar", ".tgz", ".bz2", ".xz", ".zst", ".rar", ".7z")

_LOOKED_FOR = (
    f"audio files ({', '.join(AUDIO_SUFFIXES[:7])} and other usual ones), a zip or list of them, a "
    "manifest.csv or NeMo JSON, or a data set of docs/data.md"
)

Item = TypeVar("Item")


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
    source: Path | Sequence[Path], selection: Selection = Selection(), texts: bool = True
) -> tuple[Clip, ...]:
    """Clips of an audio file, folder, list file, public data set, CSV or NeMo manifest, or several.

    texts: False for those who must not know what is spoken: files that only hold transcripts aren't opened,
    and of tables, which also name the recordings, the text is dropped. Files that a list or manifest names
    aren't opened yet. Raises UserError saying what was looked for
    when nothing is found, and what there is when nothing is as selected.
    """
    sources = [source] if isinstance(source, Path) else list(source)
    there: list[Clip] = []
    for path in sources:
        with reading(path, "can't be read", f"expected {_LOOKED_FOR}", AudioError):
            there += _apart(
                _clips_of(path, texts)
            )  # here already: a name may be one that no file can have
    found = _apart(there)
    if not found:
        raise AudioError(f"no recordings in {_listing(sources)}; looked for {_LOOKED_FOR}")
    return selected(found, selection, sources)


def selected(
    found: Sequence[Clip], selection: Selection, sources: Sequence[Path]
) -> tuple[Clip, ...]:
    """Those that are as selected; raises UserError saying what there is in the sources when none is."""
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
    skipped: list[tuple[Path, str]] = []
    recordings = list(each_clip(clips, skipped.extend, need_text))
    return recordings, skipped


def each_clip(
    clips: Sequence[Clip],
    skip: Callable[[list[tuple[Path, str]]], None],
    need_text: bool = False,
) -> Iterator[Recording]:
    """Decode clips one after the other, so that one at a time is in memory.

    skip: is given those that can't be used, each with the reason. Raises UserError as `read_clips`.
    """
    skipped: list[tuple[Path, str]] = []
    for clip in clips:
        try:
            if need_text and clip.text is None:
                raise AudioError(clip.untold or NO_TEXT)
            recording = _recording(clip)
        except UserError as error:
            skipped.append((clip.path, str(error).removeprefix(f"{clip.path}: ")))
            skip(skipped[-1:])
        else:
            yield recording
            del recording
    if len(skipped) == len(clips):
        _refuse_none([], skipped)


def choose_clips(
    clips: Sequence[Clip],
    count: int,
    kept: Callable[[Recording], Sequence[Recording]] = lambda recording: [recording],
) -> tuple[list[Recording], list[tuple[Path, str]]]:
    """Decode `count` clips spread evenly over the sequence, in its order; fewer if there are fewer.

    Clips of 1.5 to 12 s come first: shorter ones say little, longer ones slow the measuring down.
    The lengths of all are read from their headers, so every file that isn't audio is among the skipped.
    kept: of each that was decoded, what of it is; one after the other, as they may be hours long.
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
    chosen: dict[int, Sequence[Recording]] = {}
    for index in [*_spread(preferred, count), *_spread(others, count)]:
        if len(chosen) == count:
            break
        try:
            chosen[index] = kept(_recording(clips[index]))
        except UserError as error:
            path = clips[index].path
            skipped.append((path, str(error).removeprefix(f"{path}: ")))
    recordings = [piece for index in sorted(chosen) for piece in chosen[index]]
    _refuse_none(recordings, skipped)
    return recordings, skipped


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
    if clip.window is not None and math.isfinite(clip.window[1]):
        return clip.window[1]
    start = clip.window[0] if clip.window is not None else 0.0
    return audio_seconds(clip.path, _encoded(clip)) - start


def _encoded(clip: Clip) -> bytes | None:
    """The recording's own bytes when it lies in a table or zip."""
    if clip.row is not None:
        with reading(clip.path, "can't be read", kind=AudioError):
            return arrow.recording(clip.path, clip.row)
    return zipped.recording(clip.path)


def _recording(clip: Clip) -> Recording:
    found: Decoded = decode_audio(clip.path, _encoded(clip), clip.window)
    return Recording(clip, found.waveform, found.remark)


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


def _listing(sources: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in sources[:3]) + (", ..." if len(sources) > 3 else "")


def same_sound(clip: Clip) -> tuple[str, tuple[float, float] | None, int | None]:
    """What two clips share that are the same part of one file, by whichever path."""
    return os.path.realpath(clip.path), clip.window, clip.row


def _apart(clips: Iterable[Clip]) -> tuple[Clip, ...]:
    """Clips without repeats, each with all that is said of it."""
    found: dict[object, Clip] = {}
    for clip in clips:
        key = same_sound(clip)
        known = found.setdefault(key, clip)
        if known is not clip and known.text is not None and clip.text is not None:
            once([known, replace(clip, path=known.path)], "what was given")
        if known.text is None and clip.text is not None:
            found[key] = replace(clip, path=known.path)
    return tuple(found.values())


def _clips_of(source: Path, texts: bool) -> list[Clip]:
    found = _told_clips_of(source, texts)
    return found if texts else [replace(clip, text=None, untold=None) for clip in found]


def _told_clips_of(source: Path, texts: bool) -> list[Clip]:
    if source.is_dir():
        return _of_folder(source, texts)
    if not source.is_file():
        raise AudioError(f"{source} does not exist; expected {_LOOKED_FOR}")
    suffix = source.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return described([source], texts=texts)
    if suffix in LIST_SUFFIXES:
        return described(read_list(source), texts=texts)
    if suffix in _READERS:
        return _READERS[suffix](source)
    if suffix in _ARCHIVES:
        raise AudioError(f"{source} is an archive; unpack it, and pass the folder")
    raise AudioError(f"{source} is none of: {_LOOKED_FOR}")


def _of_folder(source: Path, texts: bool) -> list[Clip]:
    """Of a data set, or of those in the folders below, and of all other audio files there."""
    known = clips_of(source, texts)
    if known is not None:
        return known
    within: dict[Path, list[Clip]] = {}
    for folder in _folders_below(source, _LEVELS_DOWN):
        if not any(folder.is_relative_to(other) for other in within):
            found = clips_of(folder, texts)
            if found is not None:
                within[folder] = found
    others = [
        path
        for path in audio_files(source)
        if not any(path.is_relative_to(folder) for folder in within)
    ]
    clips = [clip for found in within.values() for clip in found] + described(others, source, texts)
    manifest = source / MANIFEST_NAME
    # A manifest may list recordings that live elsewhere.
    return clips or (read_csv(manifest) if manifest.is_file() else [])


def _folders_below(folder: Path, levels: int) -> list[Path]:
    """Folders below, those further up first; hidden ones are left out."""
    found = []
    for path in sorted(folder.iterdir()) if levels else ():
        if path.name[0] != "." and path.is_dir():
            found += [path, *_folders_below(path, levels - 1)]
    return found
