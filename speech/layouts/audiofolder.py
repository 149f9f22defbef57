"""Hugging Face AudioFolder: metadata.csv or metadata.jsonl beside the audio, at the top or further down."""

from dataclasses import replace
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.manifests import Clip, column_of, once, reading_of
from myqasr.speech.tables import json_lines, read_table

METADATA = ("metadata.csv", "metadata.jsonl")
SPLITS = {
    **{name: name for name in ("train", "dev", "test")},
    **dict.fromkeys(("validation", "valid", "val", "eval"), "dev"),
}
"""What parts of paths say -> the split."""
_LEVELS_DOWN = 2


def clips(folder: Path) -> list[Clip] | None:
    """Clips that the metadata files name, of the folder and of those up to two levels below it.

    A metadata.csv of something else isn't one. Raises UserError for one that names files and is broken.
    """
    depths = ("/".join(["*"] * depth) for depth in range(_LEVELS_DOWN + 1))
    places = [folder, *(path for depth in depths if depth for path in sorted(folder.glob(depth)))]
    found: list[Clip] = []
    for place in places:
        if place.is_dir() and not place.name.startswith("."):
            found += _of_folder(place, place.relative_to(folder).parts)
    return found or None


def _of_folder(place: Path, below: tuple[str, ...]) -> list[Clip]:
    found = []
    for file in (place / name for name in METADATA):
        for where, row in _rows(file) if file.is_file() else ():
            clip = reading_of(list(row), file).clip(row, place, where)
            if clip is None:
                raise UserError(f"{where} has no file_name")
            parts = (
                (*below, *clip.path.relative_to(place).parts[:-1])
                if clip.path.is_relative_to(place)
                else below
            )
            named = next((SPLITS[part] for part in parts if part in SPLITS), None)
            found.append(replace(clip, split=clip.split or named or (below[0] if below else None)))
    return once(found, place)


def _rows(file: Path) -> list[tuple[str, dict[str, object]]]:
    """Rows with where they are; none of a table that names no files."""
    if file.suffix == ".jsonl":
        return [(f"{file} line {number}", entry) for number, entry in json_lines(file)]
    try:
        table = read_table(file)
    except UserError:
        if "|" in file.open("rb").readline().decode(errors="replace"):
            return []  # LJSpeech has no header
        raise
    if column_of("path", table.columns) is None:
        return []
    return [(f"{file} line {row.line}", dict(row.cells)) for row in table.rows]
