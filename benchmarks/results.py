"""Where benchmark figures go, and how whole commands are timed."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myqasr.core.placing import write_bytes
from myqasr.core.storage import converter
from myqasr.runtime_bench.devices.machine import runtime_versions, this_device

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
BUILD = ROOT / "build" / "benchmarks"


@dataclass(frozen=True, slots=True)
class CommandCost:
    """A finished child process: wall-clock seconds, CPU seconds and its peak resident memory."""

    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int


def run_command(arguments: list[str], threads: int) -> CommandCost:
    """Run a command on so many threads; raises CalledProcessError with its output when it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    with subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        output = process.stdout.read() if process.stdout is not None else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, arguments, output)
    return CommandCost(
        round(time.perf_counter() - started, 1),
        round(usage.ru_utime + usage.ru_stime, 1),
        usage.ru_maxrss * 1024,
    )


def save_result(name: str, command: str, figures: Any) -> Path:
    """Write docs/results/NAME.json with the command, machine and versions."""
    path = RESULTS / f"{name}.json"
    record = {
        "command": command,
        "device": converter.unstructure(this_device()),
        "versions": runtime_versions(),
        "figures": converter.unstructure(figures),
    }
    write_bytes(path, (json.dumps(record, indent=1) + "\n").encode())
    return path


def load_result(name: str) -> dict[str, Any]:
    """Read docs/results/NAME.json."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result
