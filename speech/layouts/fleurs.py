"""FLEURS (Conneau et al., SLT 2022): per language `audio/<split>/` and tables without a header."""

from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.layouts.tables import SPLITS, filled
from myqasr.speech.manifests import Clip, gender_of, read_text

_COLUMNS = 7  # id, file, raw text, text, phonemes, samples, gender


def clips(folder: Path) -> list[Clip] | None:
    """Clips of all splits that have a table. FLEURS names no speakers."""
    tables = [name for name in SPLITS if (folder / f"{name}.tsv").is_file()]
    if not tables or not (folder / "audio").is_dir():
        return None
    found = []
    for split in tables:
        table = folder / f"{split}.tsv"
        for number, line in enumerate(read_text(table).splitlines(), start=1):
            cells = line.split("\t")
            if not line.strip():
                continue
            if len(cells) < _COLUMNS:
                raise UserError(
                    f"{table} line {number} has {len(cells)} columns, FLEURS has {_COLUMNS}"
                )
            found.append(
                Clip(
                    folder / "audio" / split / cells[1],
                    text=filled(cells[3]) or filled(cells[2]),
                    split=split,
                    gender=gender_of(cells[6]),
                    language=folder.name.partition("_")[0],
                )
            )
    return found
