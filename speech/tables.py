"""Text files and delimited tables, read as they are written or refused with the line that isn't."""

import codecs
import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myqasr.core.errors import UserError
from myqasr.core.reading import instead

DELIMITERS = (",", "\t", ";", "|")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATOR = "sep="
"""How spreadsheets begin a table to say what separates its cells."""
_QUOTED = re.compile(r'"(?:[^"]|"")*"')

Json = Any
"""What json.loads gives."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. line: its number in the file, the first is 1. cells: column -> text."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a header, its columns as it spells them."""

    file: Path
    columns: tuple[str, ...]
    delimiter: str
    rows: tuple[Row, ...]


def read_text(file: Path) -> str:
    """A text file as UTF-8, or UTF-16 where a byte order mark says so.

    Raises UserError naming the first line that isn't.
    """
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file} can't be read: {reason}") from error
    other = instead(data[:64], "a text")
    if other is None and data[257:262] == b"ustar":
        other = f"is an archive; unpack it: tar -xf {file.name}"
    if other is not None:
        raise UserError(f"{file} {other}")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{file} line {line} isn't UTF-8; save the file as UTF-8 "
            f"(iconv -f WINDOWS-1252 -t UTF-8, if that is what it is)"
        ) from error


def text_lines(file: Path) -> list[str]:
    """Lines of a text file without their ends, which are a line feed, with or without a return before it.

    Nothing else ends a line: a text may hold U+2028 or a form feed.
    """
    text = read_text(file)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def json_lines(file: Path) -> Iterator[tuple[int, dict[str, Json]]]:
    """Objects of a file that holds one a line, or an array of them, each with its line or place from 1.

    Raises UserError naming the first that isn't an object.
    """
    lines = text_lines(file)
    held: list[tuple[int, Json]]
    if next((line for line in lines if line.strip()), "").lstrip().startswith("["):
        entries = _parsed("\n".join(lines), f"{file}")
        held = list(enumerate(entries, 1))
        what = "entry"
    else:
        held = [
            (number, _parsed(line, f"{file} line {number}"))
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
        what = "line"
    for number, entry in held:
        if not isinstance(entry, dict):
            raise UserError(f"{file} {what} {number} is not an object with names and values")
        yield number, entry


def _parsed(text: str, where: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON: {error}") from error


def plain_text(value: Json, where: str) -> str | None:
    """The text that a cell or JSON value is, without spaces around it; None for null, NaN and nothing.

    Numbers are texts where somebody's table made them so. Raises UserError for anything else.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(f"{where} is {json.dumps(value, default=str)[:60]}, not a text")
    return str(value).strip() or None


def read_table(file: Path, delimiter: str | None = None) -> Table:
    """A table with a header. Tabs separate cells in which quotes mean nothing; else quotes hold cells.

    delimiter: None to tell by the header. Rows that are empty are left out; those of tabs may lack cells at
    their end, which editors trim. Raises UserError naming the line of a row that isn't as wide as the header,
    or of a quote that isn't closed.
    """
    text = read_text(file)
    begin = text.split("\n", 1)[0]
    found = _delimiter(file, begin) if delimiter is None else delimiter
    rows = tabbed(file) if found == "\t" else _quoted(file, text, found)
    first = next(rows, None)
    if begin.lower().startswith(_SEPARATOR):
        first = next(rows, None)
    if first is None:
        raise UserError(f"{file} is empty; the first line of a table names its columns")
    columns = tuple(cell.strip() for cell in first[1])
    doubled = next((name for name in columns if name and columns.count(name) > 1), None)
    if doubled is not None:
        raise UserError(f"{file} has two columns {doubled!r}; leave one of them out")
    held = []
    for line, read in rows:
        cells = list(read)
        while len(cells) > len(columns) and not cells[-1].strip():
            cells.pop()
        if len(cells) > len(columns) or (len(cells) < len(columns) and found != "\t"):
            remedy = (
                "put texts in quotes that hold a " if len(cells) > len(columns) else "write all "
            )
            raise UserError(
                f"{file} line {line} has {len(cells)} cells, its header names {len(columns)} columns; "
                f"{remedy}{found!r}"
            )
        cells += [""] * (len(columns) - len(cells))
        held.append(Row(line, dict(zip(columns, (cell.strip() for cell in cells), strict=True))))
    return Table(file, columns, found, tuple(held))


def tabbed(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of lines that aren't empty, of a file separated by tabs.

    A cell that is in quotes as a whole is what they hold.
    """
    for number, line in enumerate(text_lines(file), 1):
        if line.strip():
            yield number, [_unquoted(cell) for cell in line.split("\t")]


def _unquoted(cell: str) -> str:
    held = cell.strip()
    return held[1:-1].replace('""', '"') if _QUOTED.fullmatch(held) else cell


def _quoted(file: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The same of a file whose cells may be in quotes, and then hold anything."""
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    began = 0
    while True:
        began = lines.line_num + 1
        try:
            cells = next(lines, None)
        except csv.Error as error:
            raise UserError(
                f"{file} line {began}: a quote that isn't closed, or goes on behind its end ({error}); "
                "within quotes write two for one"
            ) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield began, cells


def _delimiter(file: Path, header: str) -> str:
    named = header[len(_SEPARATOR) :][:1]
    if header.lower().startswith(_SEPARATOR) and named in DELIMITERS:
        return named
    if file.suffix.lower() in (".tsv", ".tab") and "\t" in header:
        return "\t"
    return max(DELIMITERS, key=header.count)
