"""What lies among recordings and isn't taken: counted and named, so that nobody has to wonder."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from myqasr.speech.audio import AUDIO_SUFFIXES, files_below
from myqasr.speech.manifests import Clip, unread_columns

_EXPECTED = (
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".lab", ".md", ".lst", ".list", ".m3u", ".gz"),
    *(".stm", ".scp", ".arrow", ".parquet", ".textgrid", ".zip"),
    *("text", "segments", "utt2spk", "spk2utt", "spk2gender", "utt2dur", "reco2dur"),
)
"""Suffixes, and Kaldi's names, of what says something of recordings, or holds them."""
_KINDS_NAMED, _FILES_NAMED = 5, 3


def left_aside(sources: Sequence[Path], clips: Sequence[Clip]) -> list[tuple[Path, str]]:
    """Each place that was given with what isn't among its clips: other files, recordings, columns.

    clips: all that were found there, before any were chosen.
    """
    taken = {os.path.realpath(clip.path) for clip in clips}
    found = []
    for source in sources:
        if source.is_dir():
            found += [(source, reason) for reason in _in_folder(source, taken)]
        elif source.suffix.lower() in (".csv", ".tsv") and (names := unread_columns(source)):
            found.append((source, f"columns that aren't read: {', '.join(names)}"))
    return found


def _in_folder(folder: Path, taken: set[str]) -> list[str]:
    files = files_below(folder)
    others = Counter(
        path.suffix.lower() or path.name
        for path in files
        if (path.suffix.lower() or path.name) not in (*AUDIO_SUFFIXES, *_EXPECTED)
        and os.path.realpath(path) not in taken
    )
    unlisted = [
        path.name
        for path in files
        if path.suffix.lower() in AUDIO_SUFFIXES and os.path.realpath(path) not in taken
    ]
    reasons = []
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(_KINDS_NAMED))
        reasons.append(f"files that aren't audio by their names: {kinds}")
    if unlisted:
        shown = ", ".join(unlisted[:_FILES_NAMED])
        reasons.append(f"{len(unlisted)} recordings that its tables don't list: {shown}")
    return reasons
