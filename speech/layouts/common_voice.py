"""Common Voice (Ardila et al., LREC 2020): one language's folder with `clips/` and tables beside it."""

from pathlib import Path

from myqasr.speech.layouts.tables import SPLITS, filled, rows_by_name
from myqasr.speech.manifests import Clip, gender_of

_WITHOUT_SPLIT = "validated"


def clips(folder: Path) -> list[Clip] | None:
    """Clips of train.tsv, dev.tsv and test.tsv; of validated.tsv where there are no splits."""
    if not (folder / "clips").is_dir():
        return None
    tables = [name for name in SPLITS if (folder / f"{name}.tsv").is_file()]
    if not tables and (folder / f"{_WITHOUT_SPLIT}.tsv").is_file():
        tables = [_WITHOUT_SPLIT]
    found = []
    for name in tables:
        for row in rows_by_name(folder / f"{name}.tsv", ("client_id", "path"), "\t"):
            if row["path"]:
                found.append(
                    Clip(
                        folder / "clips" / row["path"],
                        speaker=filled(row["client_id"]),
                        text=filled(row.get("sentence")),
                        split=None if name == _WITHOUT_SPLIT else name,
                        gender=gender_of(row.get("gender")),
                        language=filled(row.get("locale")) or folder.name,
                    )
                )
    return found or None
