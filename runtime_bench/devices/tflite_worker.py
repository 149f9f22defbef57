"""Runs a .tflite file in an environment that has a TFLite runtime and nothing of this project.

Run as `python tflite_worker.py RUNTIME MODEL THREADS forward`, RUNTIME being tflite-runtime or
ai-edge-litert. It obeys the commands `run` and `memory` of our C++ runner, see
`runtime_bench/cpp/runner.cpp`.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads would cost memory and instructions
import numpy as np


def main(runtime: str, file: str, threads: int) -> int:
    """Serve until the commands end; exit code 0 when all went well, else 1."""
    module = importlib.import_module(f"{runtime.replace('-', '_')}.interpreter")
    before = status_bytes("VmRSS")
    start = time.perf_counter()
    try:
        interpreter = module.Interpreter(file, num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        answer({"error": f"can't load {file}: {first_line(error)}"})
        return 1
    loaded = {"load_ms": 1e3 * (time.perf_counter() - start), "baseline_rss_bytes": before}
    answer({**loaded, "threads": threads, "version": importlib.metadata.version(runtime)})
    code = 0
    for line in sys.stdin:
        try:
            answer(obey(interpreter, line.split()))
        except (RuntimeError, ValueError, OSError) as error:
            code = 1
            answer({"error": f"{file}: {first_line(error)}"})
    return code


def obey(interpreter: Any, words: list[str]) -> dict[str, Any]:
    """The answer to a command."""
    match words:
        case ["run", features, logits, repeats]:
            return run(interpreter, np.fromfile(features, np.float32), logits, int(repeats))
        case ["memory"]:
            return {"rss_bytes": status_bytes("VmRSS"), "peak_rss_bytes": status_bytes("VmHWM")}
    raise ValueError(f"unknown command: {' '.join(words)}")


def run(interpreter: Any, features: Any, file: str, repeats: int) -> dict[str, Any]:
    """Run features [samples] so many times; the last logits [frames, vocab] go to a file, unless it is -."""
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        logits = infer(interpreter, features)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    if file != "-":
        logits.tofile(file)
    return {"ms": milliseconds, "rows": len(logits), "columns": logits.shape[1]}


def infer(interpreter: Any, features: Any) -> Any:
    """Logits [frames, vocab] of features [samples]."""
    place = interpreter.get_input_details()[0]
    if place["shape"][1] != len(features):
        interpreter.resize_tensor_input(place["index"], [1, len(features)])
        interpreter.allocate_tensors()
    interpreter.set_tensor(place["index"], features[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def status_bytes(key: str) -> int:
    """Bytes of a line like `VmHWM:   1234 kB` of /proc/self/status."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{key}:"))


def first_line(error: Exception) -> str:
    """What went wrong, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def answer(found: Mapping[str, Any]) -> None:
    """One line of JSON in one write, which the counter of instructions goes by."""
    os.write(1, json.dumps(found).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
