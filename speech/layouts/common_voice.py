"""Common Voice (Ardila et al., LREC 2020): one language's folder with `clips/` and tables beside it."""

from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.manifests import Clip, gender_of, located
from myqasr.speech.tables import read_table

SPLITS = ("train", "dev", "test")
_WITHOUT_SPLIT = "validated"
_NEEDED = ("client_id", "path")


def clips(folder: Path) -> list[Clip] | None:
    """Clips of train.tsv, dev.tsv and test.tsv; of validated.tsv where there are no splits.

    The first releases leave out the suffix of the files.
    """
    if not (folder / "clips").is_dir():
        return None
    tables = [name for name in SPLITS if (folder / f"{name}.tsv").is_file()]
    if not tables and (folder / f"{_WITHOUT_SPLIT}.tsv").is_file():
        tables = [_WITHOUT_SPLIT]
    found = []
    for name in tables:
        table = read_table(folder / f"{name}.tsv", "\t")
        for column in _NEEDED:
            if column not in table.columns:
                raise UserError(
                    f"{table.file} has no column {column!r}; its header is: {', '.join(table.columns)}"
                )
        for cells in (row.cells for row in table.rows if row.cells["path"]):
            found.append(
                Clip(
                    located(folder / "clips", cells["path"]),
                    speaker=cells["client_id"] or None,
                    text=cells.get("sentence") or None,
                    split=None if name == _WITHOUT_SPLIT else name,
                    gender=gender_of(cells.get("gender")),
                    language=cells.get("locale") or folder.name,
                )
            )
    return found or None
