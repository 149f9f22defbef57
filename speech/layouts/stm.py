"""NIST's STM, as TED-LIUM and others have it: file, channel, speaker, start, end, <labels>, text."""

from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.audio import AUDIO_SUFFIXES
from myqasr.speech.manifests import Clip, once
from myqasr.speech.tables import text_lines

SUFFIX = ".stm"
NOT_SCORED = "ignore_time_segment_in_scoring"
_FIELDS = 5
_AUDIO_BESIDE = (".", "..", "../sph", "../wav", "../audio", "sph", "wav", "audio")


def clips(folder: Path) -> list[Clip] | None:
    """Clips of the tables of a folder, or of its `stm/`."""
    tables = sorted(folder.glob(f"[!.]*{SUFFIX}")) or sorted(folder.glob(f"stm/[!.]*{SUFFIX}"))
    return [clip for table in tables for clip in read(table)] or None


def read(file: Path) -> list[Clip]:
    """The segments that are scored. Raises UserError naming the first line that is none."""
    found = []
    for number, line in enumerate(text_lines(file), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        cells = line.split(maxsplit=_FIELDS)
        try:
            name, _, speaker, start, end = cells[:_FIELDS]
            window = (float(start), float(end) - float(start))
        except ValueError as error:
            raise UserError(
                f"{file} line {number} is not a segment: file, channel, speaker, start, end, text"
            ) from error
        said = cells[_FIELDS] if len(cells) > _FIELDS else ""
        if said.startswith("<"):
            said = said.partition(">")[2]
        if said.strip().lower() == NOT_SCORED:
            continue
        if not (window[0] >= 0 and window[1] > 0):
            raise UserError(f"{file} line {number}: {start} to {end} s is no part of a recording")
        text = said.strip() or None
        found.append(Clip(_audio(file.parent, name), speaker, text, window=window))
    return once(found, file)


def _audio(folder: Path, name: str) -> Path:
    places = [
        folder / place / (name + suffix)
        for place in _AUDIO_BESIDE
        for suffix in ("", *AUDIO_SUFFIXES)
    ]
    return next((path for path in places if path.is_file()), folder / name)
