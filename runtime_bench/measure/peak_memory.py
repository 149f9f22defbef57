"""Load time and peak memory of one system, in a process of its own so that nothing else counts.

Run as `python -m myqasr.runtime_bench.measure.peak_memory SYSTEM_JSON THREADS FEATURES.npy`; prints one
JSON line.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
from numpy.typing import NDArray

from myqasr.core import children
from myqasr.core.children import scratch_folder
from myqasr.core.errors import UserError
from myqasr.core.storage import converter
from myqasr.runtime_bench.devices.machine import forget_peak
from myqasr.runtime_bench.results.report import Startup
from myqasr.runtime_bench.runners.base import Runner, System, open_system, runner_module
from myqasr.runtime_bench.runners.records import record_of

TIMEOUT_SECONDS = 900
LOADS, LOAD_SECONDS = 5, 2.0
"""Loads whose median counts, as long as they don't take longer than so many seconds together."""


def measure_startup(system: System, features: NDArray[np.float32], threads: int) -> Startup:
    """Load a system in a fresh process and run one input [samples], the longest there is.

    Raises UserError with the process's last words when it fails or is killed.
    """
    with scratch_folder("bench") as folder:
        file = folder / "features.npy"
        np.save(file, features)
        try:
            done = children.run(
                [
                    sys.executable,
                    "-P",  # what lies in the user's folder isn't ours to import
                    "-m",
                    "myqasr.runtime_bench.measure.peak_memory",
                    json.dumps(converter.unstructure(replace(system, weights_hash=None))),
                    str(threads),
                    str(file),
                ],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_SECONDS,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"{system.name} took more than {TIMEOUT_SECONDS} s in its own process"
            ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{system.name} failed in its own process: {lines[-1]}")
    return converter.structure(json.loads(done.stdout.splitlines()[-1]), Startup)


def startup_here(system: System, features: NDArray[np.float32], threads: int) -> Startup:
    """The same in this process; only a fresh one gives figures that mean something."""
    runner_module(system.runner)
    baseline = psutil.Process().memory_info().rss
    forget_peak()
    runner, load_ms = _load(system, threads)
    startup = runner.startup(features, load_ms, baseline)
    loads = [load_ms]
    again = 1 if record_of(system.runner).remote else LOADS
    while len(loads) < again and sum(loads) < 1e3 * LOAD_SECONDS:
        runner.close()
        del runner  # before there is another one
        runner, load_ms = _load(system, threads)
        loads.append(load_ms)
    return replace(startup, load_ms=statistics.median(loads), loads=len(loads))


def _load(system: System, threads: int) -> tuple[Runner, float]:
    """A model in memory and the milliseconds that took, without starting a process for it."""
    start = time.perf_counter()
    runner = open_system(system, threads)
    took = 1e3 * (time.perf_counter() - start)
    return runner, took if runner.load_ms is None else runner.load_ms


def main(arguments: list[str]) -> int:
    """The child process: exit code 2 and one line on stderr for a user error."""
    system = converter.structure(json.loads(arguments[0]), System)
    try:
        startup = startup_here(system, np.load(arguments[2]), int(arguments[1]))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(converter.unstructure(startup)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
