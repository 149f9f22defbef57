"""Files that are whole or absent, their hashes, and frozen records as JSON.

Every result of a run is one file. It is written under a temporary name in the same folder and renamed,
so a killed process or a full disk leaves the previous state; a later run trusts any file it finds.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.preconf.json import make_converter

from myqasr.core.errors import BrokenFileError, UserError

RecordT = TypeVar("RecordT")

converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
"""Dataclass <-> JSON. Unknown keys are refused; packages register hooks for their own value types."""


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on error it is removed.

    mode: of the file, from the moment that it is there: another process may be waiting to run it.
    Raises UserError when the disk is full or the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"can't write {path}: {error.strerror or error}; nothing was changed, free some space "
            "and run again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that becomes `path` on success; on error it is removed.

    Raises UserError when the disk is full or the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            move(temporary, path)
        finally:
            remove(temporary)
    except OSError as error:
        raise UserError(
            f"can't write {path}: {error.strerror or error}; nothing was changed, free some space "
            "and run again"
        ) from error


def move(source: Path, path: Path) -> None:
    """Rename a file or folder to `path`, in place of what is there."""
    if path.is_dir():  # a folder that isn't empty can't be renamed over
        old = path.with_name(f".{path.name}.old")
        remove(old)
        path.replace(old)
        source.replace(path)
        remove(old)
    else:
        source.replace(path)


def remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, or of the names and digests of all files in a folder."""
    if not path.is_dir():
        return sha256_of_file(path)
    lines = [f"{sha256_of_file(file)}  {file.relative_to(path)}" for file in _files(path)]
    return sha256_of_text("\n".join(lines))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def write_bytes(path: Path, data: bytes) -> None:
    """Write the whole file or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(text: str) -> str:
    """Hex digest of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(record: Any) -> str:
    """A record (or plain data) as indented JSON with a stable key order as declared."""
    return json.dumps(converter.unstructure(record), indent=1, ensure_ascii=False, allow_nan=False)


def record_hash(record: Any) -> str:
    """Hex digest that names a record by its content."""
    return sha256_of_text(to_json(record))


def save_record(record: Any, path: Path) -> None:
    """Write a record as JSON, whole or not at all."""
    write_bytes(path, (to_json(record) + "\n").encode())


def load_record(path: Path, kind: type[RecordT]) -> RecordT:
    """Read a record back; raises UserError naming the file when it is missing or not such a record."""
    try:
        return converter.structure(json.loads(path.read_text()), kind)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (
        ValueError,
        TypeError,
        KeyError,
        cattrs.errors.BaseValidationError,
        cattrs.errors.ForbiddenExtraKeysError,
        cattrs.errors.StructureHandlerNotFoundError,
    ) as error:
        raise BrokenFileError(
            f"{path} is not a {kind.__name__} of this version ({error}); delete it and run again"
        ) from error
