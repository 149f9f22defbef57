"""LJSpeech (Ito and Johnson, 2017) and its like: metadata.csv without a header, `id|text|normalised`."""

from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.manifests import Clip, located, once
from myqasr.speech.tables import text_lines

_AUDIO = ("wavs", "wav", "clips", "audio", ".")
_TABLES = ("metadata.csv", "metadata.txt", "metadata_train.csv", "metadata_val.csv")


def clips(folder: Path) -> list[Clip] | None:
    """Clips of the tables whose first line names a recording that lies there."""
    found = []
    for table in (folder / name for name in _TABLES):
        lines = text_lines(table) if table.is_file() else []
        first = lines[0].split("|") if lines else []
        if len(first) < 2 or not _audio(folder, first[0]).is_file():
            continue
        for number, line in enumerate(lines, 1):
            cells = [cell.strip() for cell in line.split("|")]
            if not line.strip():
                continue
            if not 2 <= len(cells) <= 3:
                raise UserError(
                    f"{table} line {number} has {len(cells)} cells; LJSpeech has id|text|text"
                )
            found.append(Clip(_audio(folder, cells[0]), text=cells[-1] or cells[1] or None))
    return once(found, folder) or None


def _audio(folder: Path, name: str) -> Path:
    paths = (located(folder / place, name.strip()) for place in _AUDIO if (folder / place).is_dir())
    return next((path for path in paths if path.is_file()), folder / _AUDIO[0] / name)
