"""Runs a .tflite in the environment of tflite-runtime, for `runtime_bench.runners.tflite_runtime`.

Run as `python tflite_worker.py FILE THREADS` by the interpreter of that environment, which has numpy 1 and
tflite-runtime and nothing of this project. Each request is a line of JSON {"samples": N} and N float32; each
reply a line of JSON, {"shape": [...]} and that many float32, or {"error": "..."}. The first reply, without a
request, tells that the file was loaded: {"rss": bytes before it}.
"""

import json
import os
import sys
from typing import Any, BinaryIO

import numpy as np
from tflite_runtime.interpreter import Interpreter


def main(file: str, threads: int) -> None:
    """Serve until the requests end."""
    # What the runtime prints must not get between the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open("/proc/self/statm") as statm:
        rss = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        interpreter = Interpreter(file, num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reply(replies, {"error": str(error)})
        return
    reply(replies, {"rss": rss})
    for line in sys.stdin.buffer:
        features = np.frombuffer(sys.stdin.buffer.read(4 * json.loads(line)["samples"]), np.float32)
        try:
            logits = run(interpreter, features)
        except (RuntimeError, ValueError) as error:
            reply(replies, {"error": str(error)})
            continue
        reply(replies, {"shape": logits.shape}, logits.tobytes())


def run(interpreter: Any, features: Any) -> Any:
    """Logits [frames, vocab] of features [samples]."""
    place = interpreter.get_input_details()[0]
    if place["shape"][1] != len(features):
        interpreter.resize_tensor_input(place["index"], [1, len(features)])
        interpreter.allocate_tensors()
    interpreter.set_tensor(place["index"], features[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def reply(replies: BinaryIO, head: dict[str, Any], data: bytes = b"") -> None:
    """One line of JSON, and the numbers."""
    replies.write(json.dumps(head).encode() + b"\n" + data)
    replies.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
