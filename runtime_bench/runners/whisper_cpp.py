"""Exported ggml files in whisper.cpp, from the wheel pywhispercpp, in a process of its own.

No flash attention, and as many threads as asked: results depend on the former, and with it on the latter.
"""

import importlib.util
import sys

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.runtime_bench.devices.session import open_session
from myqasr.runtime_bench.runners.base import System, existing_file
from myqasr.runtime_bench.runners.process import ProcessRunner, new_folder

NAME = "whisper-cpp"
WORKER = "myqasr.runtime_bench.devices.whisper_worker"


def open_runner(system: System, threads: int) -> ProcessRunner:
    """Load a file in a new process.

    Raises NotInstalledError without the wheel, UserError when the file is missing or whisper.cpp refuses it.
    """
    if importlib.util.find_spec("_pywhispercpp") is None:
        raise NotInstalledError(
            f"runner {NAME} needs pywhispercpp", "pip install 'myqasr[whisper-cpp]'"
        )
    path = existing_file(system)
    if system.autoregression is None:
        raise UserError(f"{system.source} is no Whisper's file, which whisper.cpp wants")
    # What lies in the user's folder isn't ours to import.
    folder = new_folder("whisper.cpp", (sys.executable, "-P", "-m", WORKER))
    session = open_session(folder, str(path), threads, system.autoregression, name=system.source)
    version = session.loaded["version"]
    return ProcessRunner(f"whisper.cpp (pywhispercpp {version})", threads, session)
