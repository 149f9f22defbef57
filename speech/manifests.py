"""Clips, and the tables and lists that name them, whatever their columns are called."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.audio import AUDIO_SUFFIXES
from myqasr.speech.tables import Json, json_lines, plain_text, read_table, text_lines


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance on disk, with what its data set says of it.

    window: (start, length) in seconds when it is a part of the file; a length of infinity goes to its end.
    row: its place when the file is a table that holds the recordings themselves. gender: `F` or `M`.
    untold: why there is no text, where one was looked for and not understood.
    """

    path: Path
    speaker: str | None = None
    text: str | None = None
    split: str | None = None
    window: tuple[float, float] | None = None
    gender: str | None = None
    language: str | None = None
    row: int | None = None
    untold: str | None = field(default=None, compare=False)


COLUMNS: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "filepath", "filename", "file", "audiofilepath", "audiopath", "audiofile"),
        *("audiofilename", "audio", "wav", "wavpath", "wavfile", "wavfilename", "wavfilepath"),
        *("clip", "clippath", "recording", "recordingpath", "soundfile", "mp3", "flac"),
    ),
    "text": (
        *(
            "text",
            "transcript",
            "transcription",
            "sentence",
            "normalizedtext",
            "normalizedtranscript",
        ),
        *("normalizedtranscription", "rawtext", "rawtranscription", "utterance", "wrd", "words"),
        *("reference", "targettext", "label", "labels"),
    ),
    "speaker": (
        "speaker",
        "speakerid",
        "spk",
        "spkid",
        "clientid",
        "speakername",
        "userid",
        "reader",
    ),
    "split": ("split", "role", "subset", "partition"),
    "gender": ("gender", "sex", "speakergender"),
    "language": ("language", "lang", "locale", "languageid", "langid"),
}
"""What is read of a table -> names of the column, first those that are taken first.

Case, spaces and punctuation don't count: `Audio File`, `audio_file` and `audiofile` are one.
"""

_BOUNDARY = re.compile(
    r"(?:segment|seg|clip|audio|utterance|utt)?(start|begin|offset|onset|end|stop|duration|dur|length)"
    r"(s|secs?|seconds?|time|ms|msecs?|milliseconds?|us|ns|samples?|frames?|positions?|pos)?"
)
_PLACES = {
    **dict.fromkeys(("start", "begin", "offset", "onset"), "start"),
    **dict.fromkeys(("end", "stop"), "end"),
    **dict.fromkeys(("duration", "dur", "length"), "length"),
}
_ROUNDED_SECONDS = 0.1
_MILLISECONDS = ("ms", "msec", "msecs", "millisecond", "milliseconds")
_SECONDS = ("", "s", "sec", "secs", "second", "seconds", "time")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)")


def gender_of(text: str | None) -> str | None:
    """`F` or `M` for what data sets write: F, female, FEMALE, female_feminine, M, male, ...; else None."""
    first = (text or "").strip().upper()[:1]
    word = (text or "").strip().lower().partition("_")[0]
    return first if word in ("f", "m", "female", "male", "feminine", "masculine") else None


def column_of(what: str, columns: Iterable[str]) -> str | None:
    """The column that says `path`, `text`, `speaker`, ...; None where none does."""
    by_name = {_plain(column): column for column in reversed(list(columns))}
    return next((by_name[name] for name in COLUMNS[what] if name in by_name), None)


def _plain(column: str) -> str:
    return "".join(symbol for symbol in column.casefold() if symbol.isalnum())


@dataclass(frozen=True, slots=True)
class Reading:
    """Which columns of a table say what. bounds: start, end, length -> (column, unit in seconds)."""

    columns: dict[str, str]
    bounds: dict[str, tuple[str, float]]

    def unread(self, columns: Iterable[str]) -> list[str]:
        """Columns that nothing is taken from."""
        used = {*self.columns.values(), *(column for column, _ in self.bounds.values())}
        return [column for column in columns if column and column not in used]

    def clip(self, values: Mapping[str, Json], folder: Path, where: str) -> Clip | None:
        """The clip of one row; None when it names no file. Raises UserError naming `where`."""
        said = {
            what: plain_text(_named(values.get(column)), f"{where}: {column!r}")
            for what, column in self.columns.items()
        }
        path = said.get("path")
        if path is None:
            return None
        return Clip(
            located(folder, path),
            said.get("speaker"),
            said.get("text"),
            said.get("split"),
            self.window(values, where),
            gender_of(said.get("gender")),
            said.get("language"),
        )

    def window(self, values: Mapping[str, Json], where: str) -> tuple[float, float] | None:
        """The part of its file that a row is, (start, length) in seconds; None for all of it."""
        found: dict[str, float] = {}
        for place, (column, unit) in self.bounds.items():
            told = plain_text(values.get(column), f"{where}: {column!r}")
            if told is not None:
                found[place] = _seconds(told, where, column) * unit
        start = found.get("start", 0.0)
        length = found.get("length", math.inf)
        if "end" in found:
            # A duration beside an end may be that of the whole file.
            if found["end"] - start > length + _ROUNDED_SECONDS:
                raise UserError(
                    f"{where}: {start:g} to {found['end']:g} is longer than the duration, {length:g} s; are "
                    "start and end in samples? write seconds"
                )
            length = found["end"] - start
        if not (start >= 0 and length > 0 and math.isfinite(start)):
            raise UserError(
                f"{where}: {length:g} s from {start:g} s on is no part of a recording; "
                "a start is 0 or later, a duration more than 0"
            )
        return None if start == 0 and math.isinf(length) else (start, length)


def reading_of(columns: Sequence[str], file: object) -> Reading:
    """Which columns say what; raises UserError for one that cuts recordings in a way that isn't read."""
    found = {what: column for what in COLUMNS if (column := column_of(what, columns)) is not None}
    bounds: dict[str, tuple[str, float]] = {}
    for column in columns:
        match = _BOUNDARY.fullmatch(_plain(column))
        if match is None or column in found.values():
            continue
        place, unit = _PLACES[match[1]], match[2] or ""
        if unit not in (*_SECONDS, *_MILLISECONDS):
            if place == "length":
                continue  # of the whole file, as many tables say
            raise UserError(
                f"{file}: column {column!r} says which part of a file a row is, in a unit that isn't read; "
                "call it start, end or duration, in seconds"
            )
        bounds.setdefault(place, (column, 0.001 if unit in _MILLISECONDS else 1.0))
    if "start" not in bounds and _plain(bounds.get("length", ("", 0))[0]).endswith("length"):
        del bounds["length"]  # of a text, as likely as not
    return Reading(found, bounds)


def _named(value: Json) -> Json:
    """The path of an audio value as `datasets` writes it, {"path": ..., "bytes": ...}."""
    return value.get("path") if isinstance(value, Mapping) and "path" in value else value


def _seconds(told: str, where: str, column: str) -> float:
    clock = _CLOCK.fullmatch(told)
    if clock is not None:
        return 3600.0 * int(clock[1] or 0) + 60.0 * int(clock[2]) + float(clock[3])
    try:
        return float(told.replace(",", "."))
    except ValueError as error:
        raise UserError(f"{where}: {column!r} is {told!r}, not a number of seconds") from error


def located(folder: Path, name: str) -> Path:
    """The file that a table names: relative to its folder; its suffix, or a backslash in it, may be off."""
    path = folder / name
    if path.is_file():
        return path
    others = [folder / name.replace("\\", "/")] if "\\" in name else []
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        others += [path.with_name(path.name + suffix) for suffix in AUDIO_SUFFIXES]
    return next((other for other in others if other.is_file()), path)


def read_csv(manifest: Path) -> list[Clip]:
    """Rows of a table with a header: of commas, semicolons or tabs, its columns called as in `COLUMNS`.

    Paths are relative to the manifest. Raises UserError when no column names files, a row is no clip, or one
    sound has two texts.
    """
    table = read_table(manifest)
    reading = reading_of(table.columns, manifest)
    if "path" not in reading.columns:
        raise UserError(
            f"{manifest} has no column 'path' (its header is: {', '.join(table.columns)}); "
            "the header should name path, text and speaker"
        )
    clips = [
        reading.clip(row.cells, manifest.parent, f"{manifest} line {row.line}")
        for row in table.rows
    ]
    return once([clip for clip in clips if clip is not None], manifest)


def unread_columns(manifest: Path) -> list[str]:
    """Columns of a table that nothing is taken from."""
    columns = read_table(manifest).columns
    return reading_of(columns, manifest).unread(columns)


def read_nemo(manifest: Path) -> list[Clip]:
    """Objects that name files: NeMo's audio_filepath, text, duration, offset; a line each, or an array.

    Paths are relative to the manifest; names may be others, as in `COLUMNS`. Raises UserError naming the
    first line that isn't such an object.
    """
    clips = []
    for number, entry in json_lines(manifest):
        where = f"{manifest} line {number}"
        clip = reading_of(list(entry), where).clip(entry, manifest.parent, where)
        if clip is None:
            raise UserError(
                f"{where} is not a NeMo entry "
                f'({{"audio_filepath": ..., "text": ..., "duration": ...}}): it names no file'
            )
        clips.append(clip)
    return once(clips, manifest)


def once(clips: list[Clip], file: object) -> list[Clip]:
    """Clips without repeats; raises UserError where the same sound has two texts."""
    texts: dict[tuple[Path, tuple[float, float] | None, int | None], str] = {}
    for clip in clips:
        if clip.text is not None:
            known = texts.setdefault((clip.path, clip.window, clip.row), clip.text)
            if known != clip.text:
                raise UserError(
                    f"{file} gives {clip.path.name} two texts, {known[:40]!r} and {clip.text[:40]!r}; say "
                    "which part each is of, with columns start and duration, in seconds"
                )
    return list(dict.fromkeys(clips))


def read_list(file: Path) -> list[Path]:
    """A text file with one audio path a line, relative to its folder; `#` starts a comment line.

    Raises UserError when a line doesn't end like an audio file.
    """
    lines = (line.strip() for line in text_lines(file))
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
    for file in sorted(folder.glob("[!.]*.trans.txt")):
        for line in text_lines(file):
            stem, _, text = line.strip().partition(" ")
            texts[stem] = text.strip()
    return texts


def librispeech_files(folder: Path) -> dict[str, str]:
    """Empty unless there are such files in a folder, which aren't opened: their stems, without texts."""
    return {file.name: "" for file in folder.glob("[!.]*.trans.txt")}


def librispeech_genders(folder: Path) -> dict[str, str | None]:
    """Speaker -> gender from the nearest SPEAKERS.TXT at or above `folder`, four levels up at most."""
    for place in (folder, *list(folder.absolute().parents)[:4]):
        table = place / "SPEAKERS.TXT"
        if table.is_file():
            lines = [line.split("|") for line in text_lines(table) if line[:1] != ";"]
            return {cells[0].strip(): gender_of(cells[1]) for cells in lines if len(cells) > 1}
    return {}
