"""Runs a .tflite file in an environment that has a TFLite runtime and nothing of this project.

Run as `python tflite_worker.py RUNTIME MODEL THREADS METHODS`, RUNTIME being tflite-runtime or
ai-edge-litert. It obeys the commands `greedy`, `run` and `memory` of our C++ runner, see
`runtime_bench/cpp/runner.cpp`. Runner `litert` takes `TokenWriter` from here, whisper.cpp's worker `serve`.
"""

import functools
import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads would cost memory and instructions
import numpy as np

CACHE, ROW = "cache_", "row_"
LEAST_REPEATS, LEAST_REPEATED = 4, 24


def main(runtime: str, file: str, threads: int, methods: str) -> int:
    """Serve until the commands end; exit code 0 when all went well, else 1."""
    module = importlib.import_module(f"{runtime.replace('-', '_')}.interpreter")

    def load() -> Model:
        interpreter = module.Interpreter(file, num_threads=threads)
        interpreter.allocate_tensors()
        if methods == "forward":
            return Model(functools.partial(infer, interpreter))
        return Model(writer=TokenWriter(interpreter))

    return serve(file, threads, importlib.metadata.version(runtime), load)


def serve(file: str, threads: int, version: str, load: "Callable[[], Model]") -> int:
    """Load a model and obey commands until they end; exit code 0 when all went well, else 1."""
    before = status_bytes("VmRSS")
    start = time.perf_counter()
    try:
        model = load()
    except (RuntimeError, ValueError) as error:
        answer({"error": f"can't load {file}: {first_line(error)}"})
        return 1
    loaded = {"load_ms": 1e3 * (time.perf_counter() - start), "baseline_rss_bytes": before}
    answer({**loaded, "threads": threads, "version": version})
    code = 0
    for line in sys.stdin:
        try:
            answer(obey(model, line.split()))
        except (RuntimeError, ValueError, OSError) as error:
            code = 1
            answer({"error": f"{file}: {first_line(error)}"})
    return code


def obey(model: "Model", words: list[str]) -> dict[str, Any]:
    """The answer to a command."""
    match words:
        case ["run", features, logits, repeats]:
            return run(model, np.fromfile(features, np.float32), logits, int(repeats))
        case ["greedy", *numbers]:
            model.greedy = Greedy([int(number) for number in numbers])
            return {}
        case ["memory"]:
            return {"rss_bytes": status_bytes("VmRSS"), "peak_rss_bytes": status_bytes("VmHWM")}
    raise ValueError(f"unknown command: {' '.join(words)}")


def run(model: "Model", features: Any, file: str, repeats: int) -> dict[str, Any]:
    """Run features [samples] so many times; the last logits [frames, vocab] go to a file, unless it is -."""
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        logits = model.infer(features)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    if file != "-":
        logits.tofile(file)
    return {"ms": milliseconds, "rows": len(logits), "columns": logits.shape[1]}


class Model:
    """A file that is called with audio, or one that writes token by token, once it is told how.

    once: features [samples] to logits. writer: with `listen` and `next_logits`, as `TokenWriter` has them.
    """

    def __init__(self, once: Callable[[Any], Any] | None = None, writer: Any = None) -> None:
        self.once, self.writer = once, writer
        self.greedy: Greedy | None = None

    def infer(self, features: Any) -> Any:
        """Logits [frames, vocab], or [tokens written, vocab], of features [samples]."""
        if self.once is not None:
            return self.once(features)
        if self.greedy is None:
            raise ValueError("not told how to write")
        self.writer.listen(features)
        return self.greedy.logits(self.writer.next_logits)


def infer(interpreter: Any, features: Any) -> Any:
    """Logits [frames, vocab] of features [samples]."""
    place = interpreter.get_input_details()[0]
    if place["shape"][1] != len(features):
        interpreter.resize_tensor_input(place["index"], [1, len(features)])
        interpreter.allocate_tensors()
    interpreter.set_tensor(place["index"], features[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


class TokenWriter:
    """An interpreter of `encode` and `decode`, the latter first in the file.

    What `decode` reads of the audio and of the tokens before lies in its inputs, whose memory nothing else
    uses: it is filled once a clip, and each token's rows are put there; nothing is copied.
    """

    def __init__(self, interpreter: Any) -> None:
        encode, decode = (interpreter.get_signature_runner(name) for name in ("encode", "decode"))
        self.interpreter = interpreter
        self.inputs, self.outputs = (
            {name: tensor["index"] for name, tensor in details.items()}
            for details in (decode.get_input_details(), decode.get_output_details())
        )
        self.caches = {
            index: self.outputs[name.replace(CACHE, ROW)]
            for name, index in self.inputs.items()
            if name.startswith(CACHE)
        }
        self.samples = int(encode.get_input_details()["waveform"]["shape"][1])

    def listen(self, features: Any) -> None:
        """Start with another clip, float32 [samples]; raises ValueError when that isn't a whole window."""
        if len(features) != self.samples:
            raise ValueError(f"this file takes {self.samples}")
        # While the signature is held, the interpreter doesn't run its first subgraph.
        encode = self.interpreter.get_signature_runner("encode")
        for name, heard in encode(waveform=features[None]).items():
            self.interpreter.set_tensor(self.inputs[name], heard)
        for cache in self.caches:
            self.interpreter.tensor(cache)()[:] = 0

    def next_logits(self, token: int, position: int) -> Any:
        """Logits [vocab] of what follows a token, whose rows are kept."""
        run = self.interpreter
        run.set_tensor(self.inputs["token"], np.array([[token]], np.int32))
        run.set_tensor(self.inputs["position"], np.array([position], np.int32))
        run.invoke()
        for cache, row in self.caches.items():
            run.tensor(cache)()[:, position] = run.get_tensor(row)[:, 0]
        return run.get_tensor(self.outputs["logits"])[0]


class Greedy:
    """How a text is started and stopped, as `speech.decoding` has it.

    numbers: end, most tokens; and for prompt, suppressed, suppressed first and more ends: how many ids, then
    these.
    """

    def __init__(self, numbers: list[int]) -> None:
        end, self.max_tokens, *rest = numbers
        lists: list[list[int]] = []
        for _ in range(4):
            count = rest[0]
            lists.append(rest[1 : 1 + count])
            rest = rest[1 + count :]
        self.prompt, self.suppressed, self.suppressed_first, more_ends = lists
        self.ends = {end, *more_ends}

    def logits(self, next_logits: Callable[[int, int], Any]) -> Any:
        """Logits [tokens written, vocab]. next_logits: of a token and its position."""
        for position, earlier in enumerate(self.prompt[:-1]):
            next_logits(earlier, position)
        ids, rows = list(self.prompt), []
        while len(ids) < self.max_tokens:
            rows.append(next_logits(ids[-1], len(ids) - 1))
            allowed = rows[-1].copy()
            allowed[self.suppressed] = -np.inf
            if len(rows) == 1:
                allowed[self.suppressed_first] = -np.inf
            ids.append(int(allowed.argmax()))
            if ids[-1] in self.ends or repeats(ids[len(self.prompt) :]):
                break
        return np.stack(rows)


def repeats(written: list[int]) -> bool:
    """Whether a text goes round in circles."""
    for size in range(1, len(written) // LEAST_REPEATS + 1):
        count = max(LEAST_REPEATS * size, LEAST_REPEATED)
        tail = written[-count:]
        if len(tail) == count and tail[size:] == tail[:-size]:
            return True
    return False


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
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
