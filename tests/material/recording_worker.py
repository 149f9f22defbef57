"""A system of `benchmarks.peers` that writes down what it was asked, and may end at a clip."""

from pathlib import Path
from typing import Any

from benchmarks.peers.workers.serve import Recogniser, Waveform, serve


def load(settings: dict[str, Any]) -> Recogniser:
    """settings: log, a file; ends_at: samples of the clip at which it ends, with one line on stderr."""

    def text(waveform: Waveform) -> str:
        with Path(settings["log"]).open("a") as log:
            print(len(waveform), file=log)
        if len(waveform) == settings.get("ends_at"):
            raise SystemExit("out of memory, say")
        print("a runtime's own chatter")
        return f"{len(waveform)} samples"

    return Recogniser(text, "recording 1")


if __name__ == "__main__":
    serve(load)
