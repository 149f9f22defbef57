"""Hashes of files, and frozen records as JSON that says the hash of its own content.

A record that is read is the one that was written, or an error: a flipped bit would else go on into a person's
file.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any, TypeVar

from cattrs.preconf.json import make_converter

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.placing import write_bytes
from myqasr.core.reading import json_object, reading

RecordT = TypeVar("RecordT")

HASH = "sha256"
"""Name of a record's first field."""

converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
"""Dataclass <-> JSON. Unknown keys are refused; packages register hooks for their own value types."""


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


def sealed(record: Any) -> dict[str, Any]:
    """A record as plain data that begins with the hash of its content; `unsealed` holds one to the other."""
    return {HASH: record_hash(record), **converter.unstructure(record)}


def unsealed(stored: dict[str, Any], path: Path, mend: str) -> dict[str, Any]:
    """What `sealed` was given, as plain data; raises BrokenFileError naming both hashes when they differ."""
    content = {name: value for name, value in stored.items() if name != HASH}
    written, found = stored.get(HASH), record_hash(content)
    if written is None:
        raise BrokenFileError(
            f"{path} says no hash of its content: it was written by another version, or changed; {mend}"
        )
    if found != written:
        raise BrokenFileError(
            f"{path} was changed after it was written: it says {HASH} {written}, its content has {found}; "
            f"{mend}"
        )
    return content


def save_record(record: Any, path: Path) -> None:
    """Write a record as JSON with its hash, whole or not at all."""
    write_bytes(path, (to_json(sealed(record)) + "\n").encode())


def load_record(
    path: Path, kind: type[RecordT], mend: str = "delete it and run again", seal: bool = True
) -> RecordT:
    """Read a record back.

    mend: the way out, for the error. seal: whether it says its own hash, as all that `save_record` wrote.
    Raises UserError naming the file when it is missing; BrokenFileError when it isn't such a record, or not
    the one that was written.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    what = f"is not a {kind.__name__} of this version"
    with reading(path, what, mend):
        stored = json_object(path, what, mend)
        return converter.structure(unsealed(stored, path, mend) if seal else stored, kind)


MOST_OF_THE_TIME = 0.05
"""May go into writing down what was got so far, in case of a kill."""


class Sparing:
    """Saves a growing record after every step of the work, unless that would take much of the time."""

    def __init__(self) -> None:
        self._saved_at, self._took = time.monotonic(), 0.0

    def save(self, record: Any, path: Path) -> None:
        """Write it now, or leave it to a later call."""
        begin = time.monotonic()
        if begin - self._saved_at >= self._took / MOST_OF_THE_TIME:
            save_record(record, path)
            self._saved_at = time.monotonic()
            self._took = self._saved_at - begin
