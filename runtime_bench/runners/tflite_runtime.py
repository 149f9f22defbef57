"""Exported .tflite files in tflite-runtime 2.14.0, which lives in an environment and a process of its own."""

from myqasr.runtime_bench.devices.environments import environment_python, worker_command
from myqasr.runtime_bench.devices.session import open_session
from myqasr.runtime_bench.runners.base import System, existing_file
from myqasr.runtime_bench.runners.process import ProcessRunner, new_folder

NAME = "tflite-runtime"


def open_runner(system: System, threads: int) -> ProcessRunner:
    """Load a file in a new process.

    Raises UserError when the runtime isn't installed, or the file is missing or not for it.
    """
    path = existing_file(system)
    folder = new_folder(NAME, worker_command(environment_python(NAME), NAME))
    session = open_session(folder, str(path), threads, system.autoregression, name=system.source)
    return ProcessRunner(f"{NAME} {session.loaded['version']}", threads, session)
