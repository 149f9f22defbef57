"""Hugging Face `datasets` as `save_to_disk` leaves them: Arrow tables that hold the recordings.

Needs pyarrow, an extra.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.reading import json_object
from myqasr.speech.layouts.audiofolder import SPEAKERS, TEXTS
from myqasr.speech.layouts.tables import filled
from myqasr.speech.manifests import Clip, gender_of

if TYPE_CHECKING:
    import pyarrow

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_TABLES_OPEN = 8


def clips(folder: Path) -> list[Clip] | None:
    """Clips of every table of the folder, or of every split of a DatasetDict."""
    if (folder / _SPLITS).is_file():
        names = _listed(folder / _SPLITS, "splits")
        return [clip for name in names for clip in _table_clips(folder / name, name)] or None
    return _table_clips(folder, None) if (folder / _STATE).is_file() else None


def recording(table_file: Path, row: int) -> bytes:
    """The encoded audio of one row; raises UserError when the table can't be read or holds none there."""
    table = _table(table_file)
    value = table.column(_audio_column(table, table_file))[row].as_py()
    if not isinstance(value, dict) or not value.get("bytes"):
        raise UserError(f"{table_file} row {row} holds no recording")
    return bytes(value["bytes"])


def _table_clips(folder: Path, split: str | None) -> list[Clip]:
    state = json_object(folder / _STATE)
    found = []
    for entry in _listed(folder / _STATE, "_data_files"):
        path = folder / entry["filename"]
        table = _table(path)
        audio = _audio_column(table, path)
        columns = {
            name: table.column(name).to_pylist() for name in table.column_names if name != audio
        }
        labels = _label_names(folder)
        for row in range(table.num_rows):
            values = {
                name: _text(column[row], labels.get(name)) for name, column in columns.items()
            }
            found.append(
                Clip(
                    path,
                    _first(values, SPEAKERS),
                    _first(values, TEXTS),
                    values.get("split") or split or state.get("_split"),
                    gender=gender_of(values.get("gender")),
                    language=_first(values, ("language", "locale")),
                    row=row,
                )
            )
    return found


@functools.lru_cache(maxsize=_TABLES_OPEN)
def _table(path: Path) -> "pyarrow.Table":
    """The table behind a memory map; `datasets` writes the streaming format."""
    try:
        import pyarrow
    except ImportError as error:
        raise UserError(
            f"{path.parent} holds Arrow tables; reading them needs pyarrow: pip install 'myqasr[arrow]'"
        ) from error
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise UserError(f"{path} can't be read as an Arrow table: {error}") from error


def _audio_column(table: "pyarrow.Table", path: Path) -> str:
    """The first column of structs with `bytes`."""
    import pyarrow

    for field in table.schema:
        kind = field.type
        if pyarrow.types.is_struct(kind) and "bytes" in [
            kind.field(i).name for i in range(kind.num_fields)
        ]:
            return str(field.name)
    raise UserError(f"{path} has no audio column; it has: {', '.join(table.column_names)}")


def _label_names(folder: Path) -> dict[str, list[str]]:
    """Columns of class labels, with the names behind the numbers."""
    path = folder / "dataset_info.json"
    features = json_object(path).get("features") if path.is_file() else {}
    if not isinstance(features, dict):
        return {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


def _listed(path: Path, name: str) -> list[Any]:
    """A list in a JSON file; raises BrokenFileError naming the file when it is something else."""
    found = json_object(path).get(name, [])
    if not isinstance(found, list):
        raise BrokenFileError(f"{path}: {name!r} is not a list; save the data set again")
    return found


def _text(value: Any, names: list[str] | None) -> str | None:
    if value is None:
        return None
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return filled(str(value))


def _first(values: dict[str, str | None], names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := values.get(name))), None)
