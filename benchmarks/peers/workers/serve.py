"""What the processes have in common: a request a line on stdin, an answer a line on stdout, both JSON.

`{"do": "text", "clip": PATH.npy}` -> text, seconds and CPU seconds; `{"do": "time", ...}` -> the two times;
`{"do": "memory"}` -> peak and baseline of resident memory, in bytes. What a runtime prints goes to stderr.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from myqasr.core.storage import converter
from myqasr.runtime_bench.devices.machine import forget_peak, peak_rss_bytes
from myqasr.speech.decoding import Tokens, ids_to_text

Waveform = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A loaded model. own_time: seconds of one run by the clock of another process, where it lives in one.

    own_peak: peak memory of that process and what it was before loading, bytes.
    """

    text: Callable[[Waveform], str]
    version: str
    own_time: Callable[[Waveform], float | None] | None = None
    own_peak: Callable[[], tuple[int, int]] | None = None


def serve(load: Callable[[dict[str, Any]], Recogniser]) -> None:
    """Load the model that the only argument tells of, then answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    baseline = psutil.Process().memory_info().rss
    forget_peak()
    begin = time.perf_counter()
    model = load(json.loads(sys.argv[1]))
    took = time.perf_counter() - begin
    print(json.dumps({"version": model.version, "load_seconds": took}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(model, json.loads(line), baseline)), file=answers, flush=True)


def _answer(model: Recogniser, request: dict[str, str], baseline: int) -> dict[str, Any]:
    if request["do"] == "memory":
        peak, before = (peak_rss_bytes(), baseline) if model.own_peak is None else model.own_peak()
        return {"peak_rss_bytes": peak, "baseline_rss_bytes": before}
    waveform: Waveform = np.load(request["clip"])
    text, own = "", None
    cpu, begin = _cpu_seconds(), time.perf_counter()
    if request["do"] == "time" and model.own_time is not None:
        own = model.own_time(waveform)
    else:
        text = model.text(waveform)
    took = time.perf_counter() - begin
    return {
        "text": text,
        "seconds": took if own is None else own,
        "cpu_seconds": _cpu_seconds() - cpu,
    }


def _cpu_seconds() -> float:
    """CPU time so far of all threads of this process, and of processes it has started."""
    others = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return time.process_time() + sum(each.user + each.system for each in others)


def load_tokens(path: str) -> Tokens:
    """Tokens of the model, from JSON."""
    return converter.structure(json.loads(Path(path).read_text()), Tokens)


def written_text(ids: list[int], tokens: Tokens) -> str:
    """Text of the ids that a runtime wrote, up to and with the first that ends it."""
    how = tokens.autoregression
    last = [] if how is None else [place for place, token in enumerate(ids) if how.ends(token)]
    return ids_to_text(ids[: last[0] + 1] if last else ids, tokens)
