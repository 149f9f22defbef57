"""Files and folders that are whole or absent, alone or several together; temporary ones never stay.

Each is written under a temporary name in the same folder and renamed, so a killed process or a full disk
leaves the previous state. Who writes holds a lock on the temporary file, which ends with the process: the
next who writes in that folder removes those of the dead.
"""

import contextlib
import contextvars
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.core.locking import lock_of, locked
from myqasr.core.reading import reason

SUFFIX = ".part"
LONGEST_NAME = 255
"""Bytes of a file's name on the file systems there are."""
_NAME_BYTES = 200  # of the place's name in a temporary one


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What is written and not yet in its place. holder: a temporary folder around it, if there is one.

    lock: an open file that says that we live.
    """

    written: Path
    path: Path
    holder: Path | None
    lock: int | None

    def settle(self) -> None:
        """Into its place."""
        move(self.written, self.path)

    def clear(self) -> None:
        """Away with what is left of it."""
        remove(self.written if self.holder is None else self.holder)
        if self.lock is not None:
            os.close(self.lock)


_batch: contextvars.ContextVar[list[_Waiting] | None] = contextvars.ContextVar(
    "batch", default=None
)


@contextlib.contextmanager
def _collecting(batch: list[_Waiting] | None) -> Iterator[None]:
    token = _batch.set(batch)
    try:
        yield
    finally:
        _batch.reset(token)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Files and folders written inside take their places at the end, one right after the other, or none does.

    They do so in the order in which they were written. What is inside another `together` waits for its end.
    Raises UserError naming those that are in their places when a later one can't be renamed.
    """
    if _batch.get() is not None:
        yield
        return
    waiting: list[_Waiting] = []
    try:
        with _collecting(waiting):
            yield
        done: list[str] = []
        for each in waiting:
            try:
                each.settle()
            except OSError as error:
                new = f"; new are {', '.join(done)}" if done else "; nothing was changed"
                raise UserError(f"can't write {each.path}: {reason(error)}{new}") from error
            done.append(each.path.name)
    finally:
        for each in waiting:
            each.clear()


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on error it is removed.

    mode: of the file, from the moment that it is there: another process may be waiting to run it.
    Raises UserError when the disk is full or the folder can't be written, whatever a library that writes the
    file makes of it.
    """
    with _written(path):
        prefix, suffix, place = _hidden(path)
        handle, name = tempfile.mkstemp(suffix, prefix, place)
        temporary = Path(name)
        with locked(handle):
            try:
                yield temporary
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                temporary.chmod(mode)
                _place(temporary, path, None, handle)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that becomes `path` on success; on error it is removed.

    Raises UserError as `replacing` does.
    """
    with _written(path):
        temporary = _hidden_folder(path)
        handle = lock_of(temporary)
        with locked(handle):
            try:
                yield temporary
                for each in sorted(temporary.rglob("*")):
                    sync(each)
                temporary.chmod(0o755)
                _place(temporary, path, None, handle)
            except BaseException:
                remove(temporary)
                raise


@contextlib.contextmanager
def drafting(path: Path) -> Iterator[Path]:
    """Yield a path at which others write and read a file or folder, as often as they like; it becomes `path`.

    On error it is removed. Raises UserError as `replacing` does.
    """
    with _written(path):
        holder = _hidden_folder(path)
        handle = lock_of(holder)
        with locked(handle):
            try:
                with _collecting(None):
                    yield holder / path.name
                _place(holder / path.name, path, holder, handle)
            except BaseException:
                remove(holder)
                raise


def _place(written: Path, path: Path, holder: Path | None, handle: int | None) -> None:
    """Into its place, now or with others."""
    batch = _batch.get()
    if batch is not None:
        lock = None if handle is None else os.dup(handle)  # it lasts as long as either is open
        batch.append(_Waiting(written, path, holder, lock))
        return
    _Waiting(written, path, holder, None).settle()
    if holder is not None:
        remove(holder)


def write_bytes(path: Path, data: bytes) -> None:
    """Write the whole file or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Make the folder, clear it of what dead processes left, and say of errors what couldn't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_parts_of_the_dead(path.parent)
        yield
    except UserError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and "os error" not in str(error).lower() + _cause(error):
            raise
        goes = "" if _batch.get() is None else " and what goes with it"
        state = f"it{goes} stays as it was"
        raise UserError(
            f"can't write {path}: {reason(error)}; {state}, free some space and run again"
        ) from error


def _cause(error: Exception) -> str:
    """Signs that a library met the system's error while writing, and raises one of its own."""
    text = str(error)
    signs = ("No space left", "I/O error", "File too large", "iostream", "write failed")
    return "os error" if any(sign in text for sign in signs) else ""


def _hidden(path: Path) -> tuple[str, str, str]:
    """Start and end of a temporary name, within what file systems take, and the folder, for `path`."""
    start = path.name.encode()[:_NAME_BYTES].decode(errors="ignore")
    return f".{start}.", SUFFIX, str(path.parent)


def _hidden_folder(path: Path) -> Path:
    prefix, suffix, place = _hidden(path)
    return Path(tempfile.mkdtemp(suffix, prefix, place))


def remove_parts_of_the_dead(folder: Path) -> None:
    """Remove temporary files and folders of processes that are no more; those of the living stay."""
    for part in folder.glob(f".*{SUFFIX}"):
        with contextlib.suppress(OSError):
            handle = lock_of(part)
            if handle is not None:
                try:
                    remove(part)
                finally:
                    os.close(handle)


def move(source: Path, path: Path) -> None:
    """Rename a file or folder to `path`, in place of what is there, and have the disk know of it."""
    if path.is_dir() and not path.is_symlink():  # a folder that isn't empty can't be renamed over
        old = _hidden_folder(path)
        path.replace(old)
        source.replace(path)
        remove(old)
    else:
        source.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the disk hold a file, or a folder's list of names, before going on; as far as it can."""
    with contextlib.suppress(OSError):  # some file systems can't do it for folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raise UserError saying why when a file or folder can't be made at `path`; nothing stays of the trial.

    To be asked before work whose result goes there.
    """
    for name in path.parts:
        if len(os.fsencode(name)) > LONGEST_NAME:
            raise UserError(
                f"can't write {path}: a name of {len(os.fsencode(name))} bytes, {LONGEST_NAME} are the most; "
                "take a shorter --out"
            )
    try:
        place = _nearest(path.parent)
        if not place.is_dir():
            raise UserError(f"can't write {path}: {place} is not a folder; name another place")
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"can't write {path}: {reason(error)}; name another place") from error


def _nearest(path: Path) -> Path:
    """The first of `path`, its folder, that one's folder ... that is there; a link to nothing counts."""
    for place in (path, *path.parents):
        if place.exists() or place.is_symlink():
            return place
    return Path()
