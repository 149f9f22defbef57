"""CTranslate2, greedy, compute type int8."""

from typing import Any

import ctranslate2
import numpy as np

from benchmarks.peers.workers.mel import log_mel
from benchmarks.peers.workers.serve import Recogniser, Waveform, load_tokens, serve, written_text


def load(settings: dict[str, Any]) -> Recogniser:
    """settings: path of a folder with model.bin, threads, paths of tokens and mel filters."""
    model = ctranslate2.models.Whisper(
        settings["path"], "cpu", compute_type="int8",
        inter_threads=1, intra_threads=settings["threads"],
    )  # fmt: skip
    tokens, filters = load_tokens(settings["tokens"]), np.load(settings["filters"])
    how = tokens.autoregression
    assert how is not None

    def text(waveform: Waveform) -> str:
        features = ctranslate2.StorageView.from_array(log_mel(waveform, filters)[None])
        (found,) = model.generate(
            features, [list(how.prompt)], beam_size=1, max_length=how.max_tokens,
            suppress_blank=True, suppress_tokens=[-1],
        )  # fmt: skip
        return written_text(found.sequences_ids[0], tokens)

    return Recogniser(text, f"ctranslate2 {ctranslate2.__version__}")


if __name__ == "__main__":
    serve(load)
