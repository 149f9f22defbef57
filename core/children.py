"""Processes that we start, and our own end: none is left behind, however we end."""

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from myqasr.core.errors import UserError
from myqasr.core.locking import lock_of

_SCRATCH = "myqasr-scratch-"
_scratch: dict[Path, int | None] = {}
"""Folders of this process, and the open files that lock them."""

_PR_SET_PDEATHSIG = 1

_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


class TerminatedError(KeyboardInterrupt):
    """The process was asked to end, as Ctrl-C asks. number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def end_tidily() -> None:
    """Have SIGTERM and SIGHUP end this process as Ctrl-C does: temporary files and children go with it."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _terminated)


def _terminated(number: int, _frame: FrameType | None) -> None:
    raise TerminatedError(number)


def start(command: Sequence[str], **how: Any) -> "subprocess.Popen[Any]":
    """`subprocess.Popen`, of a process that doesn't outlive ours.

    Linux kills it when ours ends, even if nobody is there to do it; elsewhere it sees the end of its input.
    """
    return subprocess.Popen(command, preexec_fn=_with_parent(), **how)  # noqa: PLW1509  one C call


def run(command: Sequence[str], **how: Any) -> "subprocess.CompletedProcess[Any]":
    """`subprocess.run`, of such a process."""
    return subprocess.run(command, preexec_fn=_with_parent(), **how)  # noqa: PLW1510


def _with_parent() -> Callable[[], None] | None:
    # Linux means the thread that started it, and other threads may end long before the process.
    if _libc is None or threading.current_thread() is not threading.main_thread():
        return None
    parent, prctl = os.getpid(), _libc.prctl

    def die_with_it() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it has ended in between
            os._exit(1)

    return die_with_it


@contextlib.contextmanager
def scratch_folder(what: str) -> Iterator[Path]:
    """A temporary folder that is removed at the end; first, those of processes that were killed are."""
    folder = new_scratch(what)
    try:
        yield folder
    finally:
        drop_scratch(folder)


def new_scratch(what: str) -> Path:
    """The same until `drop_scratch`, or this process ends. Raises UserError when there is no room for it."""
    place = Path(tempfile.gettempdir())
    for old in place.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            handle = lock_of(old) if old.is_dir() and not old.is_symlink() else None
            if handle is not None:
                shutil.rmtree(old, ignore_errors=True)
                os.close(handle)
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{what}-"))
        except OSError as error:
            raise UserError(
                f"can't make a temporary folder in {place}: {error.strerror}; name another in TMPDIR"
            ) from error
        with contextlib.suppress(OSError):  # taken for a dead one's before it was locked
            handle = lock_of(folder)
            if handle is not None or _libc is None:
                _scratch[folder] = handle
                return folder


def drop_scratch(folder: Path) -> None:
    """Remove it now."""
    shutil.rmtree(folder, ignore_errors=True)
    handle = _scratch.pop(folder, None)
    if handle is not None:
        os.close(handle)


@atexit.register
def _drop_all() -> None:
    for folder in list(_scratch):
        drop_scratch(folder)
