"""Exported .tflite files in tflite-runtime 2.14.0, which lives in an environment and a process of its own.

A crash or endless loop of the runtime is an error that names the file; the process that asked goes on.
"""

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from runtime_bench.environments import environment_python
from runtime_bench.runners.base import System
from speech.errors import UserError

NAME = "tflite-runtime"
TIMEOUT_SECONDS = 120.0
"""For loading a file, and for each inference."""

_WORKER = Path(__file__).with_name("tflite_worker.py")


class Worker:
    """The runtime's process, asked one thing at a time; it ends with this object."""

    def __init__(self, command: list[str], file: str, timeout_seconds: float) -> None:
        self.file = file
        self.timeout_seconds = timeout_seconds
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, bufsize=0
        )
        self._finalizer = weakref.finalize(self, _end, self.process, self.log)

    def ask(self, head: dict[str, int], data: bytes) -> None:
        """Send a request; what goes wrong shows when the reply is read."""
        stdin: Any = self.process.stdin
        try:
            for part in (json.dumps(head).encode() + b"\n", data):
                view = memoryview(part)
                while view:
                    view = view[stdin.write(view) :]
        except BrokenPipeError:
            return

    def reply(self) -> tuple[dict[str, Any], bytes]:
        """The head of the next reply and its numbers.

        Raises UserError naming the file when the runtime crashes, hangs, or says that it can't.
        """
        deadline = time.monotonic() + self.timeout_seconds
        pending = b""
        while b"\n" not in pending:
            pending += self._some(deadline)
        line, _, data = pending.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        if "error" in head:
            first = (head["error"].splitlines() or ["no reason given"])[0]
            raise UserError(f"{self.file} can't be run by {NAME} ({first})")
        wanted = 4 * int(np.prod(head.get("shape", [0])))
        parts, missing = [data], wanted - len(data)
        while missing > 0:
            parts.append(self._some(deadline))
            missing -= len(parts[-1])
        return head, b"".join(parts)

    def _some(self, deadline: float) -> bytes:
        stdout: Any = self.process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                self.process.kill()
                raise UserError(
                    f"{NAME} hangs on {self.file}: no answer after {self.timeout_seconds:g} s; "
                    "export it again, or with other --precisions"
                )
        some: bytes = os.read(stdout.fileno(), 1 << 20)
        if not some:
            raise UserError(
                f"{NAME} crashed on {self.file} ({self._last_words()}); export it again"
            )
        return some

    def _last_words(self) -> str:
        code = self.process.wait()
        if code < 0:
            return signal.Signals(-code).name
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"


def _end(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.kill()
    process.wait()
    log.close()


@dataclass(frozen=True, slots=True)
class TfliteRuntimeRunner:
    """A loaded file in another process. baseline_bytes: that process's memory before it was loaded."""

    description: str
    threads: int
    worker: Worker
    baseline_bytes: int

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [frames, vocab] of features [samples]; raises UserError when the runtime fails."""
        data = np.ascontiguousarray(features, np.float32).tobytes()
        self.worker.ask({"samples": len(features)}, data)
        head, numbers = self.worker.reply()
        return np.frombuffer(numbers, np.float32).reshape(head["shape"])


def open_runner(
    system: System, threads: int, timeout_seconds: float = TIMEOUT_SECONDS
) -> TfliteRuntimeRunner:
    """Load a file in a new process.

    Raises UserError when the runtime isn't installed, or the file is missing or not for it.
    """
    path = Path(system.source)
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    command = [str(environment_python(NAME)), "-I", str(_WORKER), str(path), str(threads)]
    worker = Worker(command, str(path), timeout_seconds)
    head, _ = worker.reply()
    return TfliteRuntimeRunner(f"{NAME} 2.14.0", threads, worker, int(head["rss"]))


def memory(runner: TfliteRuntimeRunner) -> tuple[int, int]:
    """The other process: bytes before the file was loaded, and its peak so far."""
    from runtime_bench.peak_memory import peak_rss_bytes

    return runner.baseline_bytes, peak_rss_bytes(runner.worker.process.pid)
