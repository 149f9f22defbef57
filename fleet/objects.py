"""Bytes named by their sha256, in a folder or at any URL that fsspec knows; written once, checked on read.

    STORE.json          what this is, and the layout's version
    objects/ab/abcd...  the bytes whose sha256 is abcd...
    people/NAME/000001.json  what a person's model is made of; see `myqasr.fleet.people`

Nothing that is there is ever changed. https://filesystem-spec.readthedocs.io
"""

import hashlib
import json
import posixpath
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myqasr.core.errors import BrokenFileError, NotInstalledError, UserError
from myqasr.core.placing import write_bytes
from myqasr.core.reading import reason

MARKER = "STORE.json"
LAYOUT = {"what": "myqasr store", "layout": 1}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OBJECT = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Name and length of an object."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256) or self.size_bytes < 0:
            raise UserError(f"{self.sha256!r} of {self.size_bytes} bytes names no object")

    @classmethod
    def of(cls, data: bytes) -> "ObjectRef":
        """What these bytes are called."""
        return cls(hashlib.sha256(data).hexdigest(), len(data))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store. path: within it. age_seconds: since it was written; 0 where that isn't known."""

    path: str
    size_bytes: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Objects:
    """A store's files. fs: an fsspec file system. root: the store's folder in it. url: as it was named."""

    fs: Any
    root: str
    url: str

    def put(self, data: bytes) -> tuple[ObjectRef, bool]:
        """Keep bytes. Returns their name, and whether they are new here; one that is cut off is mended."""
        ref = ObjectRef.of(data)
        path = object_path(ref.sha256)
        if self.size_of(path) == ref.size_bytes:
            return ref, False
        self.write(path, data)
        return ref, True

    def get(self, ref: ObjectRef, what: str) -> bytes:
        """An object's bytes, checked. what: it is, for the error.

        Raises UserError when it is missing, BrokenFileError naming both hashes when it isn't what was put.
        """
        path = object_path(ref.sha256)
        data = self.read(path, f"{what} (object {ref.sha256})")
        found = ObjectRef.of(data)
        if found != ref:
            raise BrokenFileError(
                f"{self.url}: {what} is damaged: object {ref.sha256} of {ref.size_bytes:,} bytes has sha256 "
                f"{found.sha256} and {found.size_bytes:,} bytes; delete {path} there and put the run again"
            )
        return data

    def read(self, path: str, what: str) -> bytes:
        """A file's bytes as they are; raises UserError saying what is missing or can't be read."""
        try:
            data: bytes = self.fs.cat_file(self._whole(path))
        except FileNotFoundError as error:
            raise UserError(f"{self.url} lacks {what}; put the run again") from error
        except Exception as error:
            raise UserError(f"{self.url}: can't read {what}: {reason(error)}") from error
        return data

    def write(self, path: str, data: bytes) -> None:
        """A file, whole or not at all; raises UserError when it can't be written."""
        whole = self._whole(path)
        if self.is_local:
            write_bytes(Path(whole), data)
            return
        try:
            self.fs.makedirs(posixpath.dirname(whole), exist_ok=True)
            self.fs.pipe_file(whole, data)
        except Exception as error:
            raise UserError(f"{self.url}: can't write {path}: {reason(error)}") from error

    def remove(self, path: str) -> None:
        """Delete one file; raises UserError when that fails."""
        try:
            self.fs.rm_file(self._whole(path))
        except FileNotFoundError:
            return
        except Exception as error:
            raise UserError(f"{self.url}: can't delete {path}: {reason(error)}") from error

    def size_of(self, path: str) -> int | None:
        """Bytes of a file; None when it isn't there."""
        try:
            return int(self.fs.size(self._whole(path)))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise UserError(f"{self.url}: can't ask for {path}: {reason(error)}") from error

    def files(self, under: str = "") -> Iterator[StoredFile]:
        """Every file, by path; of one folder if it is named."""
        self.fs.invalidate_cache()
        start = self._whole(under) if under else self.root
        try:
            found = self.fs.find(start, detail=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise UserError(f"{self.url}: can't list {under or 'it'}: {reason(error)}") from error
        for name in sorted(found):
            path = posixpath.relpath(name, self.root)
            yield StoredFile(path, int(found[name]["size"] or 0), _age(found[name]))

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        protocol = self.fs.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def _whole(self, path: str) -> str:
        return posixpath.join(self.root, path)


def _age(found: dict[str, Any]) -> float:
    """Seconds since a file was written, of what file systems say of it."""
    written = found.get("mtime") or found.get("LastModified") or found.get("created")
    if written is None:
        return 0.0
    at = written if isinstance(written, int | float) else written.timestamp()
    return max(0.0, time.time() - at)


def object_path(sha256: str) -> str:
    """Where an object lies in a store."""
    return f"objects/{sha256[:2]}/{sha256}"


def object_named(path: str) -> str | None:
    """The sha256 that a file's place says; None where it isn't an object's place."""
    match = _OBJECT.fullmatch(path)
    return None if match is None else match.group(2)


def open_store(url: str | Path, make: bool = False) -> Objects:
    """A store by folder or URL. make: begin one where nothing is.

    Raises UserError when it isn't a store (or can't be one: the folder holds other things), or of another
    layout; NotInstalledError when fsspec needs a package for the URL.
    """
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(str(url))
    except ImportError as error:
        raise NotInstalledError(f"{url}: {error}", "install what fsspec asks for") from error
    except Exception as error:
        raise UserError(
            f"{url} names no place for a store: {reason(error)}; name a folder or a URL"
        ) from error
    store = Objects(fs, str(root).rstrip("/") or "/", str(url))
    if store.size_of(MARKER) is not None:
        _check_layout(store)
        return store
    if not make:
        raise UserError(
            f"{url} is no store: it has no {MARKER}; `myqasr store put RUN --store` makes one"
        )
    if next(store.files(), None) is not None:
        raise UserError(
            f"{url} holds other files and no {MARKER}; name an empty folder for the store"
        )
    store.write(MARKER, (json.dumps(LAYOUT) + "\n").encode())
    return store


def _check_layout(store: Objects) -> None:
    try:
        found = json.loads(store.read(MARKER, MARKER))
    except ValueError as error:
        raise BrokenFileError(f"{store.url}: {MARKER} is not JSON; is this a store?") from error
    if found != LAYOUT:
        raise UserError(f"{store.url}: {MARKER} says {found!r:.100}, this version reads {LAYOUT}")
