"""Locks that end with the process that holds them, so that none is ever stale.

`flock` locks an open file. The kernel lets go when the process ends, however it ends; a file that stays
behind is only a name.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import UserError

try:
    import fcntl
except ImportError:  # not a Unix: files are whole all the same, and two at once are not told apart
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@dataclass(slots=True)
class _Held:
    """A lock of this process. depth: how often its thread has taken it."""

    thread: int
    alone: bool
    depth: int = 1


_held: dict[str, _Held] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def folder_lock(folder: Path, doing: str, alone: bool = True) -> Iterator[None]:
    """Inside, no other process changes the folder (`alone`), or none changes it while this one reads.

    doing: in words, what the holder is busy with; who comes second is told, with the process's number. A
    folder that isn't there is made, one that stays empty is removed again. A thread may take a lock that it
    holds. Raises UserError when somebody else has it, or the folder can't be written (only if `alone`).
    """
    key = os.path.realpath(folder)
    with _guard:
        mine = _held.get(key)
        if mine is not None:
            if mine.thread != threading.get_ident() or (alone and not mine.alone):
                raise UserError(_busy(folder, f"process {os.getpid()}, this one"))
            mine.depth += 1
    if mine is not None:
        try:
            yield
        finally:
            mine.depth -= 1
        return
    made = alone and not folder.exists()
    handle = _taken(folder, doing, alone)
    _held[key] = _Held(threading.get_ident(), alone)
    try:
        yield
    finally:
        del _held[key]
        if handle is not None:
            _let_go(folder, handle, alone)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if nothing was written


def _taken(folder: Path, doing: str, alone: bool) -> int | None:
    """An open, locked file; None where a reader may not write, so that nothing can be locked."""
    path = folder / NAME
    while True:
        try:
            if alone:
                folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            if not alone:
                return None
            raise UserError(
                f"can't write {folder}: {error.strerror}; name another place"
            ) from error
        if not _lock(handle, alone):
            holder = os.read(handle, 500).decode(errors="replace").strip()
            os.close(handle)
            raise UserError(_busy(folder, holder or "another process"))
        if _is_at(handle, path):
            break
        os.close(handle)  # its holder has just ended and removed it
    with contextlib.suppress(OSError):  # on a full disk the lock holds, too
        os.ftruncate(handle, 0)
        os.write(
            handle, f"process {os.getpid()}, {doing}, since {time.strftime('%H:%M:%S')}".encode()
        )
    return handle


def _busy(folder: Path, holder: str) -> str:
    return f"{folder} is in use by {holder}; wait until that has ended, or use another folder"


def _let_go(folder: Path, handle: int, alone: bool) -> None:
    """Who holds it alone removes it: nobody else can have it open and locked."""
    if alone or _lock(handle, alone=True):
        (folder / NAME).unlink(missing_ok=True)
    os.close(handle)


@contextlib.contextmanager
def locked(handle: int | None) -> Iterator[None]:
    """Hold a lock on an open file or folder, which is closed at the end; None: there is none to hold."""
    try:
        if handle is not None:
            _lock(handle, alone=True)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def lock_of(path: Path) -> int | None:
    """The file or folder opened and locked; None when somebody has it locked."""
    if sys.platform == "win32" and path.is_dir():
        return None
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    if _lock(handle, alone=True) and _is_at(handle, path):
        return handle
    os.close(handle)
    return None


def _lock(handle: int, alone: bool) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)  # a file system without locks
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still what the path names."""
    try:
        there, mine = path.stat(), os.fstat(handle)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
