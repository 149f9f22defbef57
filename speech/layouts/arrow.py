"""Hugging Face `datasets`: Arrow tables as `save_to_disk` leaves them, parquet as the hub serves it.

Both hold the recordings. Needs pyarrow, an extra.
"""

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from myqasr.core.errors import BrokenFileError, NotInstalledError, UserError
from myqasr.core.reading import instead, json_object
from myqasr.speech.layouts.audiofolder import SPLITS
from myqasr.speech.manifests import Clip, Reading, once, reading_of

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_PARQUET = ".parquet"
_TABLES_OPEN = 8
_HERE = "\0table"


def clips(folder: Path) -> list[Clip] | None:
    """Clips of every table of the folder, or of every split of a DatasetDict; of parquet files there."""
    if (folder / _SPLITS).is_file():
        names = _listed(folder / _SPLITS, "splits")
        return [clip for name in names for clip in _saved(folder / name, name)] or None
    if (folder / _STATE).is_file():
        return _saved(folder, None)
    files = sorted(folder.glob(f"[!.]*{_PARQUET}")) or sorted(folder.glob(f"data/[!.]*{_PARQUET}"))
    return [clip for file in files for clip in read_parquet(file)] or None


def read_parquet(file: Path) -> list[Clip]:
    """Clips of a parquet file; its name may begin with the split, as train-00000-of-00002.parquet does."""
    columns = _schema(file)
    audio = _audio_column(columns, file)
    others = [field.name for field in columns if field.name != audio]
    try:
        values = _parquet(file).read(columns=others).to_pydict()
        rows = _parquet(file).metadata.num_rows
    except _faults() as error:
        raise UserError(f"{file} can't be read as a parquet table: {error}") from error
    first = re.split(r"[-._]", file.name)[0]
    labels = _label_names(_about(columns))
    return _clips(file, values, rows, labels, SPLITS.get(first))


def recording(table_file: Path, row: int) -> bytes:
    """The encoded audio of one row; raises UserError when the table can't be read or holds none there."""
    if table_file.suffix == _PARQUET:
        value = _parquet_value(table_file, row)
    else:
        table = _table(table_file)
        value = table.column(_audio_column(table.schema, table_file))[row].as_py()
    held = value.get("bytes") if isinstance(value, dict) else value
    named = value.get("path") if isinstance(value, dict) else None
    if not held and isinstance(named, str) and (table_file.parent / named).is_file():
        return (table_file.parent / named).read_bytes()
    if not held or not isinstance(held, bytes):
        where = f": its file {named} isn't beside the table" if named else ""
        raise UserError(f"{table_file} row {row} holds no recording{where}")
    return held


def _saved(folder: Path, split: str | None) -> list[Clip]:
    state = json_object(folder / _STATE)
    about = folder / "dataset_info.json"
    features = json_object(about).get("features") if about.is_file() else {}
    labels = _label_names(features if isinstance(features, dict) else {})
    found = []
    for entry in _listed(folder / _STATE, "_data_files"):
        path = folder / entry["filename"]
        table = _table(path)
        audio = _audio_column(table.schema, path)
        values = {
            name: table.column(name).to_pylist() for name in table.column_names if name != audio
        }
        found += _clips(path, values, table.num_rows, labels, split or state.get("_split"))
    return found


def _clips(
    path: Path,
    columns: dict[str, list[Any]],
    rows: int,
    labels: dict[str, list[str]],
    split: str | None,
) -> list[Clip]:
    """Clips of a table whose recordings lie in it. columns: those that aren't audio."""
    known = reading_of(list(columns), path)
    reading = Reading({**known.columns, "path": _HERE}, known.bounds)
    found = []
    for row in range(rows):
        values = {name: _label(column[row], labels.get(name)) for name, column in columns.items()}
        clip = reading.clip(
            {**values, _HERE: str(path.absolute())}, path.parent, f"{path} row {row}"
        )
        if clip is not None:
            found.append(
                Clip(
                    path, clip.speaker, clip.text, clip.split or split, clip.window, clip.gender,
                    clip.language, row,
                )
            )  # fmt: skip
    return once(found, path)


def _faults() -> tuple[type[Exception], ...]:
    import pyarrow

    return OSError, ValueError, pyarrow.ArrowException


def _table(path: Path) -> "pyarrow.Table":
    """The table behind a memory map; `datasets` writes the streaming format."""
    return _mapped(path, _stamp(path))


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does, so that no other is kept open in its place."""
    try:
        held = path.stat()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    return held.st_mtime_ns, held.st_size


@functools.lru_cache(maxsize=_TABLES_OPEN)
def _mapped(path: Path, stamp: tuple[int, int]) -> "pyarrow.Table":
    pyarrow = _pyarrow(path)
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise UserError(f"{path} can't be read as an Arrow table: {error}") from error


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise NotInstalledError(
            f"{path.parent} holds tables that need pyarrow", "pip install 'myqasr[arrow]'"
        ) from error
    return pyarrow


def _parquet(path: Path) -> "parquet.ParquetFile":
    return _opened(path, _stamp(path))


@functools.lru_cache(maxsize=_TABLES_OPEN)
def _opened(path: Path, stamp: tuple[int, int]) -> "parquet.ParquetFile":
    _pyarrow(path)
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except _faults() as error:
        with path.open("rb") as file:
            other = instead(file.read(64), "the table")
        what = other or f"can't be read as a parquet table ({error}); fetch it again"
        raise UserError(f"{path} {what}") from error


def _schema(path: Path) -> "pyarrow.Schema":
    return _parquet(path).schema_arrow


def _parquet_value(path: Path, row: int) -> Any:
    """The audio of one row: of the group of rows that it lies in, which is kept."""
    file, first = _parquet(path), 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if row < first + count:
            return _group(path, group, _stamp(path))[row - first].as_py()
        first += count
    return None


@functools.lru_cache(maxsize=1)
def _group(path: Path, group: int, stamp: tuple[int, int]) -> Any:
    file = _parquet(path)
    audio = _audio_column(file.schema_arrow, path)
    try:
        return file.read_row_group(group, columns=[audio]).column(audio)
    except _faults() as error:
        raise UserError(f"{path} can't be read as a parquet table: {error}") from error


def _audio_column(schema: Sequence[Any], path: Path) -> str:
    """The first column of structs with `bytes`; else the one column of bytes."""
    import pyarrow

    for field in schema:
        kind = field.type
        if pyarrow.types.is_struct(kind) and "bytes" in [
            kind.field(i).name for i in range(kind.num_fields)
        ]:
            return str(field.name)
    plain = [
        str(field.name)
        for field in schema
        if pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type)
    ]
    if len(plain) == 1:
        return plain[0]
    names = ", ".join(field.name for field in schema)
    raise UserError(
        f"{path} has no column of recordings (encoded files as bytes); it has: {names}; save it with "
        "`datasets`, its column cast to Audio, or pass the files and a manifest.csv"
    )


def _about(schema: Any) -> dict[str, Any]:
    """The features that `datasets` keeps in a parquet file's own metadata."""
    stored = (schema.metadata or {}).get(b"huggingface")
    try:
        held = json.loads(stored) if stored else {}
        return dict(held.get("info", {}).get("features") or {})
    except (ValueError, AttributeError, TypeError):
        return {}


def _label_names(features: dict[str, Any]) -> dict[str, list[str]]:
    """Columns of class labels, with the names behind the numbers."""
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


def _label(value: Any, names: list[str] | None) -> Any:
    known = names is not None and isinstance(value, int) and 0 <= value < len(names)
    return names[value] if known and names is not None else value


def _listed(path: Path, name: str) -> list[Any]:
    """A list in a JSON file; raises BrokenFileError naming the file when it is something else."""
    found = json_object(path).get(name, [])
    if not isinstance(found, list):
        raise BrokenFileError(f"{path}: {name!r} is not a list; save the data set again")
    return found
