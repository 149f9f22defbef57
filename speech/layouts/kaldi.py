"""Kaldi's data folders (Povey et al., ASRU 2011): wav.scp, text, and if there are, segments and utt2spk."""

from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.manifests import Clip, gender_of
from myqasr.speech.tables import text_lines

_LEVELS_UP = 4


def clips(folder: Path, told: bool = True) -> list[Clip] | None:
    """Clips of a folder with a wav.scp that names files; `told`: with their texts.

    Raises UserError for one that runs programs.
    """
    if not (folder / "wav.scp").is_file():
        return None
    files = {}
    for name, place in _pairs(folder / "wav.scp").items():
        if place.endswith("|"):
            raise UserError(
                f"{folder / 'wav.scp'}: {name} is a program's output, {place[:40]!r}; only files are read: "
                "write it to one (utils/data/... or the program itself), and name that"
            )
        files[name] = _located(folder, place)
    texts = _pairs(folder / "text") if told else {}
    speakers = _pairs(folder / "utt2spk")
    genders = _pairs(folder / "spk2gender")

    def clip(name: str, path: Path, window: tuple[float, float] | None) -> Clip:
        speaker = speakers.get(name)
        gender = gender_of(genders.get(speaker or ""))
        return Clip(path, speaker, texts.get(name) or None, window=window, gender=gender)

    segments = _pairs(folder / "segments")
    if not segments:
        return [clip(name, path, None) for name, path in files.items()] or None
    found = []
    for name, cells in segments.items():
        try:
            recording, start, end = cells.split()[:3]
            path, begin = files[recording], float(start)
            length = float(end) - begin if float(end) >= 0 else float("inf")
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{folder / 'segments'}: {name} is not a recording of wav.scp, a start and an end"
            ) from error
        if not (begin >= 0 and length > 0):
            raise UserError(f"{folder / 'segments'}: {name} is {start} to {end} s, no part of it")
        found.append(clip(name, path, (begin, length)))
    return found


def _pairs(file: Path) -> dict[str, str]:
    """First word of each line -> the rest."""
    lines = (
        (line.strip().split(None, 1) for line in text_lines(file) if line.strip())
        if file.is_file()
        else ()
    )
    return {cells[0]: cells[1] if len(cells) > 1 else "" for cells in lines}


def _located(folder: Path, place: str) -> Path:
    """Paths are relative to where Kaldi was run, which is the folder, or one above it."""
    above = list((folder / "x").absolute().parents)[: _LEVELS_UP + 1]
    return next((path for up in above if (path := up / place).is_file()), folder / place)
