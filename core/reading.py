"""Reading what others wrote: whatever it raises becomes one error that names the file. Also, JSON."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from myqasr.core.errors import BrokenFileError, NotInstalledError, UserError, one_line

_NO_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc")


@contextlib.contextmanager
def reading(
    source: object, what: str, mend: str = "", kind: type[UserError] = BrokenFileError
) -> Iterator[None]:
    """Inside, a file is read that may be cut off, damaged, of another version, or not a file at all.

    source: what the error names. what: e.g. `is not valid JSON`. mend: the way out. Libraries raise anything
    from KeyError to types of their own on such files; all of it becomes `kind`. Errors that name the source
    already stay as they are.
    """
    try:
        yield
    except NotInstalledError:
        raise
    except UserError as error:
        if str(source) in str(error):
            raise
        raise kind(_told(source, what, str(error), mend)) from error
    except Exception as error:
        raise kind(_told(source, what, reason(error), mend)) from error


def instead(head: bytes, of: str) -> str | None:
    """What git, or a server, left in place of a file; None where it may be the file.

    head: its first bytes. of: what should be there, e.g. `the weights`.
    """
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return f"is a pointer of Git LFS, not {of}; `git lfs pull` fetches it"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"is a web page, not {of}; fetch the file itself, not its page"
    return None


def reason(error: BaseException) -> str:
    """What an error says, in part of a line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = one_line(str(error).strip(), 200)
    if not words or isinstance(error, KeyError | IndexError | AttributeError | TypeError):
        return f"{type(error).__name__}: {words}".removesuffix(": ")
    return words


def read_json(
    path: Path, what: str = "is not JSON", mend: str = "", kind: type[UserError] = BrokenFileError
) -> Any:
    """The content of a JSON file; raises `kind` naming it when it can't be read or isn't JSON."""
    with reading(path, what, mend, kind):
        data = path.read_bytes()
        other = instead(data[:64], "JSON")
        if other is not None:
            raise kind(f"{path} {other}")
        return json.loads(data.decode("utf-8-sig"))


def json_object(
    path: Path,
    what: str = "is not a JSON object",
    mend: str = "",
    kind: type[UserError] = BrokenFileError,
) -> dict[str, Any]:
    """The same of a file that must hold an object."""
    found = read_json(path, what, mend, kind)
    if not isinstance(found, dict):
        raise kind(_told(path, what, f"it holds {type(found).__name__} {found!r:.100}", mend))
    return found


@contextlib.contextmanager
def outside_errors() -> Iterator[None]:
    """Turn what the system says of files and memory, wherever it says so, into a UserError.

    A name that is too long, a file that may not be read, a disk that is full, memory that isn't there.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        where = f"{' -> '.join(names)}: " if names else ""
        raise UserError(f"{where}{reason(error)}") from error
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise UserError("a file's name holds a null byte, which none can; name another") from error
    except MemoryError as error:
        raise UserError(_memory(error)) from error
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_MEMORY):
            raise UserError(_memory(error)) from error
        raise


def _memory(error: BaseException) -> str:
    return (
        f"not enough memory ({reason(error)}); use a smaller model or shorter recordings, or end other "
        "programs"
    )


def _told(source: object, what: str, why: str, mend: str) -> str:
    return f"{source} {what} ({why})" + (f"; {mend}" if mend else "")
