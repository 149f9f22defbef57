"""FLEURS (Conneau et al., SLT 2022): per language `audio/<split>/` and tables without a header."""

from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.layouts.common_voice import SPLITS
from myqasr.speech.manifests import Clip, gender_of
from myqasr.speech.tables import tabbed

_COLUMNS = 7  # id, file, raw text, text, phonemes, samples, gender


def clips(folder: Path) -> list[Clip] | None:
    """Clips of all splits that have a table. FLEURS names no speakers."""
    tables = [name for name in SPLITS if (folder / f"{name}.tsv").is_file()]
    if not tables or not (folder / "audio").is_dir():
        return None
    found = []
    for split in tables:
        table = folder / f"{split}.tsv"
        for number, cells in tabbed(table):
            if len(cells) < _COLUMNS:
                raise UserError(
                    f"{table} line {number} has {len(cells)} columns, FLEURS has {_COLUMNS}"
                )
            found.append(
                Clip(
                    folder / "audio" / split / cells[1],
                    text=cells[3].strip() or cells[2].strip() or None,
                    split=split,
                    gender=gender_of(cells[6]),
                    language=folder.name.partition("_")[0],
                )
            )
    return found
