"""Files that list recordings: CSV manifests, NeMo's JSON lines, LibriSpeech transcripts, plain lists."""

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.audio import AUDIO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance on disk, with what its data set says of it.

    window: (start, length) in seconds when it is a part of the file. row: its place when the file is a table
    that holds the recordings themselves. gender: `F` or `M`.
    """

    path: Path
    speaker: str | None = None
    text: str | None = None
    split: str | None = None
    window: tuple[float, float] | None = None
    gender: str | None = None
    language: str | None = None
    row: int | None = None


def gender_of(text: str | None) -> str | None:
    """`F` or `M` for what data sets write: F, female, FEMALE, female_feminine, M, male, ...; else None."""
    first = (text or "").strip().upper()[:1]
    word = (text or "").strip().lower().partition("_")[0]
    return first if word in ("f", "m", "female", "male", "feminine", "masculine") else None


def read_csv(manifest: Path) -> list[Clip]:
    """Rows of a CSV or TSV with a header.

    Needs `path`; knows `text`, `speaker`, `split` (or `role`), `gender` and `language`.

    Paths are relative to the manifest. Raises UserError when there is no column `path`.
    """
    delimiter = "\t" if manifest.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(io.StringIO(read_text(manifest), newline=""), delimiter=delimiter)
    if rows.fieldnames is None or "path" not in rows.fieldnames:
        raise UserError(
            f"{manifest} has no column 'path' (its header is: {', '.join(rows.fieldnames or [])}); "
            "the header should name path, text and speaker"
        )
    return [
        Clip(
            manifest.parent / row["path"],
            row.get("speaker") or None,
            row.get("text") or None,
            row.get("split") or row.get("role") or None,
            gender=gender_of(row.get("gender")),
            language=row.get("language") or None,
        )
        for row in rows
        if row["path"]
    ]


def read_nemo(manifest: Path) -> list[Clip]:
    """NeMo's manifest: one JSON object a line with audio_filepath, text, duration, offset.

    Paths are relative to the manifest. Raises UserError naming the first line that isn't such an object.
    """
    clips = []
    for number, line in enumerate(read_text(manifest).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            clips.append(_nemo_clip(json.loads(line), manifest.parent))
        except Exception as error:
            raise UserError(
                f"{manifest} line {number} is not a NeMo entry "
                f'({{"audio_filepath": ..., "text": ..., "duration": ...}}): {error!r}'
            ) from error
    return clips


def read_list(file: Path) -> list[Path]:
    """A text file with one audio path a line, relative to its folder; `#` starts a comment line.

    Raises UserError when a line doesn't end like an audio file.
    """
    lines = (line.strip() for line in read_text(file).splitlines())
    paths = [file.parent / line for line in lines if line and not line.startswith("#")]
    for path in paths:
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            raise UserError(
                f"{file} lists {path.name!r}, which is not an audio file ({', '.join(AUDIO_SUFFIXES)})"
            )
    return paths


def librispeech_texts(folder: Path) -> dict[str, str]:
    """Stem -> text from the `SPK-CHAPTER.trans.txt` files in a folder."""
    texts = {}
    for file in sorted(folder.glob("*.trans.txt")):
        for line in read_text(file).splitlines():
            stem, _, text = line.strip().partition(" ")
            texts[stem] = text.strip()
    return texts


def librispeech_genders(folder: Path) -> dict[str, str | None]:
    """Speaker -> gender from the nearest SPEAKERS.TXT at or above `folder`, four levels up at most."""
    for place in (folder, *list(folder.absolute().parents)[:4]):
        table = place / "SPEAKERS.TXT"
        if table.is_file():
            lines = [line.split("|") for line in read_text(table).splitlines() if line[:1] != ";"]
            return {cells[0].strip(): gender_of(cells[1]) for cells in lines if len(cells) > 1}
    return {}


def read_text(file: Path) -> str:
    """A text file as UTF-8, with or without byte order mark; other bytes become U+FFFD."""
    try:
        return file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}") from error


def _nemo_clip(entry: dict[str, object], folder: Path) -> Clip:
    window = None
    if entry.get("offset") is not None:
        window = (float(str(entry["offset"])), float(str(entry["duration"])))
        if not (window[0] >= 0 and window[1] > 0 and math.isfinite(sum(window))):
            raise ValueError(f"offset {window[0]}, duration {window[1]}")
    speaker, text, split = (entry.get(key) for key in ("speaker", "text", "split"))
    return Clip(
        folder / str(entry["audio_filepath"]),
        str(speaker) if speaker else None,
        str(text) if text else None,
        str(split) if split else None,
        window,
        gender_of(str(entry.get("gender"))),
        str(entry["language"]) if entry.get("language") else None,
    )
