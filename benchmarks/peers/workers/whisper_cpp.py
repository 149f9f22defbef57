"""whisper.cpp, greedy: no second try at a higher temperature, one segment, no timestamps, no context."""

import importlib.metadata
from typing import Any

from pywhispercpp.model import Model

from benchmarks.peers.workers.serve import Recogniser, Waveform, serve


def load(settings: dict[str, Any]) -> Recogniser:
    """settings: path of a ggml file, threads."""
    model = Model(
        settings["path"],
        n_threads=settings["threads"],
        language="en",
        greedy={"best_of": 1},
        temperature=0.0,
        temperature_inc=0.0,
        single_segment=True,
        no_timestamps=True,
        no_context=True,
        suppress_blank=True,
        suppress_nst=True,  # as OpenAI's decoding and all others here
        print_progress=False,
    )

    def text(waveform: Waveform) -> str:
        return " ".join(segment.text.strip() for segment in model.transcribe(waveform))

    return Recogniser(text, f"pywhispercpp {importlib.metadata.version('pywhispercpp')}")


if __name__ == "__main__":
    serve(load)
