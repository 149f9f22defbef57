"""What the tables of several data sets have in common."""

import csv
import io
from pathlib import Path
from typing import Literal

from myqasr.core.errors import UserError
from myqasr.speech.manifests import read_text

SPLITS = ("train", "dev", "test")


def rows_by_name(file: Path, needed: tuple[str, ...], delimiter: str) -> list[dict[str, str]]:
    """Rows of a table with a header; quotes mean nothing in tab-separated ones.

    Raises UserError naming the first column of `needed` that isn't there.
    """
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    text = io.StringIO(read_text(file), newline="")
    rows = csv.DictReader(text, delimiter=delimiter, quoting=quoting, restval="")
    for column in needed:
        if column not in (rows.fieldnames or ()):
            raise UserError(
                f"{file} has no column {column!r}; its header is: {', '.join(rows.fieldnames or ())}"
            )
    return list(rows)


def filled(text: str | None) -> str | None:
    """The text without spaces around it; None when nothing is left."""
    return (text or "").strip() or None
