"""Hugging Face AudioFolder: metadata.csv or metadata.jsonl beside the audio, at the top or per split."""

import json
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.layouts.tables import filled, rows_by_name
from myqasr.speech.manifests import Clip, gender_of, read_text

TEXTS = ("transcription", "text", "sentence", "label")
SPEAKERS = ("speaker", "speaker_id", "client_id")


def clips(folder: Path) -> list[Clip] | None:
    """Clips that the metadata files of the folder and of its direct subfolders name."""
    found: list[Clip] = []
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        split = None if place == folder else place.name
        for row in _rows(place):
            language = filled(_first(row, ("language", "locale")))
            found.append(
                Clip(
                    place / row["file_name"],
                    filled(_first(row, SPEAKERS)),
                    filled(_first(row, TEXTS)),
                    filled(row.get("split")) or split,
                    gender=gender_of(row.get("gender")),
                    language=language,
                )
            )
    return found or None


def _rows(folder: Path) -> list[dict[str, str]]:
    table, lines = folder / "metadata.csv", folder / "metadata.jsonl"
    if table.is_file():
        return [row for row in rows_by_name(table, ("file_name",), ",") if row["file_name"]]
    rows = []
    for number, line in enumerate(read_text(lines).splitlines() if lines.is_file() else (), 1):
        try:
            entry = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise UserError(f"{lines} line {number} is not JSON: {error}") from error
        if entry is not None:
            if not isinstance(entry, dict) or not entry.get("file_name"):
                raise UserError(f"{lines} line {number} has no file_name")
            rows.append({key: str(value) for key, value in entry.items() if value is not None})
    return rows


def _first(row: dict[str, str], columns: tuple[str, ...]) -> str | None:
    return next((row[column] for column in columns if row.get(column)), None)
