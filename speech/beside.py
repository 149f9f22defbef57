"""What lies beside recordings and says what is spoken in them: tables, LibriSpeech's lists, text files."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.manifests import (
    Clip,
    librispeech_files,
    librispeech_genders,
    librispeech_texts,
    read_csv,
    read_nemo,
)
from myqasr.speech.tables import read_text

MANIFEST_NAME = "manifest.csv"
NO_TEXT = "no transcript in a manifest.csv, .trans.txt or .txt"
_TEXT_SUFFIXES = (".txt", ".normalized.txt", ".lab")
_UNREAD = (
    ".srt",
    ".vtt",
    ".sbv",
    ".ass",
    ".textgrid",
    ".eaf",
    ".ctm",
    ".trs",
    ".xml",
    ".docx",
    ".rtf",
)
"""Suffixes of what holds transcripts in forms that aren't read."""
_TIMIT = re.compile(r"\d+\s+\d+\s+(?=\S)")
"""First and last sample, before TIMIT's texts."""
_TABLES = {".csv": read_csv, ".tsv": read_csv, ".jsonl": read_nemo, ".json": read_nemo}
_MOST_TABLE_BYTES = 256 * 2**20
_LEVELS_UP = 4


def described(paths: Sequence[Path], root: Path | None = None, texts: bool = True) -> list[Clip]:
    """Clips of audio files, with what is said of them near them.

    root: the folder that was asked for: any table in it or below it may say something, above it only
    manifest.csv. texts: whether transcripts beside them are opened. A table that lists parts of a file gives
    a clip for each. Where a text was looked for in something that isn't understood, the clips say so.
    """
    notes = _Notes(None if root is None else os.path.abspath(root), texts)
    return [clip for path in paths for clip in notes.clips(path)]


class _Notes:
    """Tables and transcripts by folder, each read once."""

    def __init__(self, root: str | None, texts: bool) -> None:
        self._root, self._texts = root, texts
        self._tables: dict[Path, dict[str, list[Clip]]] = {}
        self._faults: dict[Path, str] = {}
        self._transcripts: dict[Path, dict[str, str]] = {}
        self._genders: dict[Path, dict[str, str | None]] = {}
        self._names: dict[Path, dict[str, str]] = {}

    def clips(self, path: Path) -> list[Clip]:
        absolute = os.path.abspath(path)
        listed, untold = self._listed(absolute)
        if listed:
            return [replace(clip, path=path) for clip in listed]
        folder = path.parent
        try:
            spoken = self._librispeech(folder)
        except UserError as error:
            return [Clip(path, untold=str(error))]
        if path.stem in spoken or (spoken and not self._texts):
            speaker = path.stem.split("-")[0]
            text = spoken.get(path.stem)
            return [Clip(path, speaker, text, gender=self._genders[folder].get(speaker))]
        if not self._texts:
            return [Clip(path)]
        try:
            text = self._beside(path)
        except UserError as error:
            text, untold = None, str(error)
        other = next((each for each in map(self._sibling(path), _UNREAD) if each), None)
        if other is not None and untold is None:
            untold = (
                f"no transcript: {other} isn't read; write its text to {path.stem}.txt beside it"
            )
        return [Clip(path, text=text or None, untold=None if text else untold)]

    def _beside(self, path: Path) -> str | None:
        """The text of a file of the same name, whatever the case of its suffix."""
        sibling = self._sibling(path)
        found = next((each for each in map(sibling, _TEXT_SUFFIXES) if each), None)
        if found is None:
            return None
        text = read_text(found).strip()
        return _TIMIT.sub("", text, count=1) if sibling(".phn") or sibling(".wrd") else text

    def _sibling(self, path: Path) -> Callable[[str], Path | None]:
        """From a suffix to the file beside `path` that has it."""
        folder = path.parent
        if folder not in self._names:
            names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
            self._names[folder] = {
                name[: -len(end)] + end.lower(): name for name in names for end in _ends(name)
            }
        known = self._names[folder]

        def named(suffix: str) -> Path | None:
            name = known.get(path.stem + suffix)
            return None if name is None else folder / name

        return named

    def _librispeech(self, folder: Path) -> dict[str, str]:
        if folder not in self._transcripts:
            found = librispeech_texts(folder) if self._texts else librispeech_files(folder)
            self._genders[folder] = librispeech_genders(folder) if found else {}
            self._transcripts[folder] = found
        return self._transcripts[folder]

    def _listed(self, absolute: str) -> tuple[list[Clip], str | None]:
        """What the nearest table that lists a file says, and which tables aren't understood."""
        untold = None
        for folder in list(Path(absolute).parents)[:_LEVELS_UP]:
            asked = self._root is not None and folder.is_relative_to(self._root)
            found = self._of_folder(folder, asked).get(os.path.realpath(absolute))
            if found:
                return found, None
            if asked or folder == Path(absolute).parent:
                untold = untold or self._faults.get(folder)
        return [], untold

    def _of_folder(self, folder: Path, asked: bool) -> dict[str, list[Clip]]:
        """Real path -> clips of it, by the tables of a folder; its manifest.csv comes first."""
        if folder not in self._tables:
            by_path: dict[str, list[Clip]] = {}
            for table in _tables(folder) if asked else (folder / MANIFEST_NAME,):
                try:
                    listed = _TABLES[table.suffix.lower()](table) if table.is_file() else []
                except UserError as error:
                    self._faults.setdefault(folder, f"no transcript: {error}")
                    continue
                new: dict[str, list[Clip]] = {}
                if listed and not any(clip.path.is_file() for clip in listed):
                    self._faults.setdefault(
                        folder,
                        f"no transcript: {table} lists other files ({listed[0].path}, ...); write there "
                        "where the recordings are, as seen from its folder",
                    )
                nothing = f"no transcript: {table} has no text for it in a column 'text'"
                for clip in (
                    clip if clip.text or clip.untold else replace(clip, untold=nothing)
                    for clip in listed
                ):
                    new.setdefault(os.path.realpath(clip.path), []).append(clip)
                by_path = {**new, **by_path}
            self._tables[folder] = by_path
        return self._tables[folder]


def _ends(name: str) -> list[str]:
    """A name's suffix, and that with the one before it."""
    suffixes = Path(name).suffixes
    return ["".join(suffixes[-count:]) for count in (1, 2) if len(suffixes) >= count]


def _tables(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _TABLES
        and path.name[0] != "."
        and path.is_file()
        and path.stat().st_size < _MOST_TABLE_BYTES
    ]
    return sorted(found, key=lambda path: path.name != MANIFEST_NAME)
