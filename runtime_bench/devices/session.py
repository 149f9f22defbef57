"""A runner that works in a process of its own, here or elsewhere: commands in, answers out.

The model is loaded once. Features and logits travel as files in the process's working folder; commands and
answers, one line each, through its standard input and output. It times itself, so that what the transport
costs is in no figure.
"""

import collections
import hashlib
import json
import queue
import signal
import subprocess
import threading
import weakref
from collections.abc import Sequence
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.speech.decoding import Autoregression

ANSWER_SECONDS = 600.0
"""Longest that one command may take. Emulators are a hundred times slower than what they emulate."""


class Place(Protocol):
    """Where a runner works: a folder of this machine, or of a device."""

    @property
    def name(self) -> str:
        """In messages: `the C++ runner`, `the runner on device 1234`."""
        ...

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start the runner in its folder, with pipes to its input, output and errors."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write a file of the folder."""
        ...

    def get(self, name: str) -> bytes:
        """Read a file of the folder."""
        ...

    def check_alive(self) -> None:
        """Raise UserError when the place can't be reached any more."""
        ...

    def close(self) -> None:
        """Remove the folder; never raises."""
        ...


class Session:
    """A running runner. Ends with `close`, or when nothing refers to it any more.

    file: the model's name in messages. answer_seconds: longest that one command may take. loaded: what the
    runner said when it had loaded the model.
    """

    def __init__(
        self, place: Place, process: "subprocess.Popen[bytes]", file: str, answer_seconds: float
    ) -> None:
        self.place = place
        self.process = process
        self.file = file
        self.answer_seconds = answer_seconds
        self.loaded: dict[str, Any] = {}
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._errors: collections.deque[bytes] = collections.deque(maxlen=50)
        self._sent: set[str] = set()
        # Neither of these refers to the session, which otherwise would never be without references.
        assert process.stdout is not None and process.stderr is not None
        answers = threading.Thread(
            target=_read_answers, args=(process.stdout, self._answers), daemon=True
        )
        self._listener = threading.Thread(
            target=_read_errors, args=(process.stderr, self._errors), daemon=True
        )
        answers.start()
        self._listener.start()
        self.close = weakref.finalize(self, _end, place, process)

    def command(self, line: str) -> dict[str, Any]:
        """Send one command and wait for its answer; raises UserError with the runner's reason."""
        stdin = self.process.stdin
        assert stdin is not None
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except (OSError, ValueError):
            pass  # it has ended, or was closed; the answer says so
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer. Asks now and then whether the place is still there."""
        waited = 0.0
        step = min(5.0, self.answer_seconds)
        while True:
            try:
                line = self._answers.get(timeout=step)
                break
            except queue.Empty:
                waited += step
                self.place.check_alive()
                if waited >= self.answer_seconds:
                    self.process.kill()  # it hears nothing
                    self.close()  # an answer that came later would pass for that of another command
                    raise UserError(
                        f"{self.place.name} gave no answer in {self.answer_seconds:g} s on {self.file}"
                    ) from None
        if line is None:
            self._answers.put(None)
            raise UserError(self._why_ended())
        try:
            answer = json.loads(line)
        except ValueError:
            return self.answer()  # a remark of a library
        if "error" in answer:
            raise UserError(f"{self.place.name}: {answer['error']}{self._remark()}")
        found: dict[str, Any] = answer
        return found

    def run(self, features: NDArray[np.float32], logits: str, repeats: int = 1) -> dict[str, Any]:
        """Run features [samples] so many times. logits: file for the last output, or "-"."""
        data = np.ascontiguousarray(features, np.float32).tobytes()
        file = hashlib.sha256(data).hexdigest()[:16] + ".f32"
        if file not in self._sent:
            self.place.put(file, data)
            self._sent.add(file)
        return self.command(f"run {file} {logits} {repeats}")

    def _why_ended(self) -> str:
        """After the last answer: a crash, a place that is gone, or an exit."""
        self.place.check_alive()
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = 0
        number = -code if code < 0 else code - 128
        if 0 < number < 65:
            names = {one.value: one.name for one in signal.Signals}
            return (
                f"{self.place.name} crashed ({names.get(number, f'signal {number}')}) on {self.file}"
                f"{self._remark()}; nothing was measured"
            )
        return f"{self.place.name} ended with exit code {code} on {self.file}{self._remark()}"

    def _remark(self) -> str:
        """The last line on standard error that isn't information, in brackets."""
        if self.process.poll() is not None:
            self._listener.join(timeout=2)
        lines = [line.decode(errors="replace").strip() for line in list(self._errors)]
        telling = [line for line in lines if line and not line.startswith(("I ", "INFO:"))]
        return f" ({telling[-1]})" if telling else ""


def open_session(
    place: Place,
    model: str,
    threads: int,
    how: Autoregression | None = None,
    profile: bool = False,
    answer_seconds: float = ANSWER_SECONDS,
    name: str | None = None,
) -> Session:
    """Start the runner and load a model, a path as the place knows it; name: what messages call it.

    profile: note every kernel's time, for the command `etdump`. Raises UserError on any failure.
    """
    methods = "forward" if how is None else "encode,decode"
    try:
        process = place.start((model, str(threads), methods, *(("profile",) if profile else ())))
    except BaseException:
        place.close()
        raise
    session = Session(place, process, model if name is None else name, answer_seconds)
    try:
        session.loaded.update(session.answer())
        if how is not None:
            session.command(greedy_command(how))
    except BaseException:
        session.close()
        raise
    return session


def greedy_command(how: Autoregression) -> str:
    """How to write token by token, as the runner reads it."""
    lists = (how.prompt, how.suppressed, how.suppressed_first, how.more_ends)
    words = [" ".join(str(number) for number in (len(ids), *ids)) for ids in lists]
    return " ".join(("greedy", str(how.end), str(how.max_tokens), *words))


def _read_answers(stream: IO[bytes], answers: "queue.Queue[bytes | None]") -> None:
    """Hand on each line, then None."""
    for line in stream:
        answers.put(line)
    answers.put(None)


def _read_errors(stream: IO[bytes], errors: "collections.deque[bytes]") -> None:
    """Keep the last lines."""
    errors.extend(stream)


def _end(place: Place, process: "subprocess.Popen[bytes]") -> None:
    """End of input ends the runner; one that doesn't hear is killed."""
    try:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
    place.close()
