"""Runners whose model lives in a process of its own: our C++ runner, and TFLite's Python worker.

A crash or endless loop of the runtime is an error that names the file; the process that asked goes on.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core import children
from myqasr.core.children import drop_scratch, new_scratch
from myqasr.core.errors import UserError
from myqasr.runtime_bench.devices.session import Session
from myqasr.runtime_bench.results.report import Startup
from myqasr.runtime_bench.runners.base import Runner

_LOGITS = "logits.f32"


@dataclass(frozen=True, slots=True)
class Folder:
    """A place on this machine. command: what runs there, after an emulator perhaps."""

    name: str
    command: tuple[str, ...]
    path: Path

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start the process in the folder."""
        return children.start(
            [*self.command, *arguments],
            cwd=self.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )

    def put(self, name: str, data: bytes) -> None:
        """Write a file of the folder."""
        try:
            (self.path / name).write_bytes(data)
        except OSError as error:
            raise UserError(f"can't write {self.path / name}: {error.strerror}") from error

    def get(self, name: str) -> bytes:
        """Read a file of the folder."""
        return (self.path / name).read_bytes()

    def check_alive(self) -> None:
        """This machine is."""

    def close(self) -> None:
        """Remove the folder."""
        drop_scratch(self.path)


def new_folder(name: str, command: tuple[str, ...]) -> Folder:
    """A fresh temporary folder for a process to work in."""
    return Folder(name, command, new_scratch("runner"))


@dataclass(frozen=True, slots=True)
class ProcessRunner(Runner):
    """A model in a process that times itself: what the transport costs is in no figure."""

    session: Session

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [frames, vocab] or [tokens written, vocab] of features [samples].

        Raises UserError naming the file when the runtime refuses them, crashes or hangs.
        """
        answer = self.session.run(features, _LOGITS)
        values = np.frombuffer(self.session.place.get(_LOGITS), np.float32)
        return values.reshape(answer["rows"], answer["columns"])

    def seconds(self, features: NDArray[np.float32]) -> float:
        """Time of one inference, by the process's own clock."""
        return float(self.session.run(features, "-")["ms"][0]) / 1e3

    def startup(
        self, features: NDArray[np.float32], load_ms: float, baseline_rss_bytes: int
    ) -> Startup:
        """Load time and memory by the process itself, whose first inference this is."""
        first_ms = float(self.session.run(features, "-")["ms"][0])
        memory = self.session.command("memory")
        return Startup(
            self.load_ms,
            first_ms,
            int(self.session.loaded["baseline_rss_bytes"]),
            int(memory["peak_rss_bytes"]),
        )

    @property
    def load_ms(self) -> float:
        """Time from file to model in memory, without starting the process."""
        return float(self.session.loaded["load_ms"])

    def close(self) -> None:
        """End the process and remove what it left; logits can't be computed any more."""
        self.session.close()
