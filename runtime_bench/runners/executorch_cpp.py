"""Exported .pte files in our C++ runner: ExecuTorch as an app has it, without Python or torch around it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime_bench.adb import RemoteDevice
from runtime_bench.native import host_runner
from runtime_bench.report import Startup
from runtime_bench.runners.base import System
from runtime_bench.session import Session, open_session
from speech.errors import UserError

_LOGITS = "logits.f32"


@dataclass(frozen=True, slots=True)
class Folder:
    """A place on this machine. command: the runner, after an emulator perhaps."""

    name: str
    command: tuple[str, ...]
    path: Path

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start the runner in the folder."""
        return subprocess.Popen(
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
        shutil.rmtree(self.path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class CppRunner:
    """A model loaded by a C++ runner."""

    description: str
    threads: int
    session: Session

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [frames, vocab] or [tokens written, vocab] of features [samples]."""
        answer = self.session.run(features, _LOGITS)
        values = np.frombuffer(self.session.place.get(_LOGITS), np.float32)
        return values.reshape(answer["rows"], answer["columns"])

    def seconds(self, features: NDArray[np.float32]) -> float:
        """Time of one inference, by the runner's clock."""
        return float(self.session.run(features, "-")["ms"][0]) / 1e3

    def startup(self, features: NDArray[np.float32]) -> Startup:
        """Load time and peak memory of the process, whose first inference this is."""
        first_ms = float(self.session.run(features, "-")["ms"][0])
        loaded = self.session.loaded
        memory = self.session.command("memory")
        return Startup(
            float(loaded["load_ms"]),
            first_ms,
            int(loaded["baseline_rss_bytes"]),
            int(memory["peak_rss_bytes"]),
        )

    def device(self) -> RemoteDevice | None:
        """This machine."""
        return None

    def close(self) -> None:
        """End the process and remove its folder."""
        self.session.close()


def new_folder(name: str, command: tuple[str, ...]) -> Folder:
    """A fresh temporary folder for a runner to work in."""
    return Folder(name, command, Path(tempfile.mkdtemp(prefix="myqasr-runner-")))


def existing_file(system: System) -> Path:
    """The system's file; raises UserError when it doesn't exist."""
    path = Path(system.source).absolute()
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    return path


def open_runner(system: System, threads: int, profile: bool = False) -> CppRunner:
    """Build the runner if it isn't yet, and load a .pte; raises UserError when either fails."""
    path = existing_file(system)
    runner = host_runner()
    folder = new_folder("the C++ runner", (str(runner.path),))
    session = open_session(folder, str(path), threads, system.autoregression, profile)
    return CppRunner(f"ExecuTorch {runner.version} C++", session.loaded["threads"], session)
