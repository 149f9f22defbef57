"""Exported .pte files in our C++ runner: ExecuTorch as an app has it, without Python or torch around it."""

from myqasr.runtime_bench.devices.native import host_runner
from myqasr.runtime_bench.devices.session import open_session
from myqasr.runtime_bench.runners.base import System, existing_file
from myqasr.runtime_bench.runners.process import ProcessRunner, new_folder


def open_runner(system: System, threads: int, profile: bool = False) -> ProcessRunner:
    """Build the runner if it isn't yet, and load a .pte; raises UserError when either fails."""
    path = existing_file(system)
    runner = host_runner()
    folder = new_folder("the C++ runner", (str(runner.path),))
    session = open_session(
        folder, str(path), threads, system.autoregression, profile, name=system.source
    )
    return ProcessRunner(f"ExecuTorch {runner.version} C++", session.loaded["threads"], session)
