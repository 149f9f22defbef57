"""Greedy word errors of a float model, one clip at a time, as the product runs it."""

import csv
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2ForCTC

from tools.training.training_batches import TOKENS, WORD_DELIMITER, load_index, normalise
from tools.training.training_data import USERS_MANIFEST, load_16khz


@dataclass(frozen=True, slots=True)
class Labelled:
    """A clip with its text and the group its errors are counted under."""

    group: str
    text: str
    samples: NDArray[np.float32]  # [samples], 16 kHz


def user_clips(split: str) -> list[Labelled]:
    """Return the synthetic users' clips of one split, grouped by speaker."""
    with USERS_MANIFEST.open(encoding="utf-8", newline="") as file:
        return [
            Labelled(row["speaker"], row["text"], load_16khz(USERS_MANIFEST.parent / row["path"]))
            for row in csv.DictReader(file)
            if row["split"] == split
        ]


def dev_clips(corpus: Path) -> list[Labelled]:
    """Return the corpus clips held out of training, grouped by source."""
    audio = np.memmap(corpus / "audio.i16", dtype="<i2", mode="r")
    return [
        Labelled(
            c.source,
            c.text,
            audio[c.start : c.start + c.length].astype(np.float32) / np.float32(32_768),
        )
        for c in load_index(corpus)
        if c.dev
    ]


def greedy_text(logits: torch.Tensor) -> str:
    """Collapse the best path: repeats, then blanks. `logits`: [frames, vocab]."""
    best = torch.unique_consecutive(logits.argmax(-1))
    return "".join(TOKENS[i] for i in best.tolist() if i != 0).replace(WORD_DELIMITER, " ").strip()


@torch.inference_mode()
def transcribe(model: Wav2Vec2ForCTC, samples: NDArray[np.float32]) -> str:
    """Return the greedy text of one clip."""
    return greedy_text(model(torch.from_numpy(normalise(samples))[None]).logits[0])


def word_errors(model: Wav2Vec2ForCTC, clips: list[Labelled]) -> tuple[int, int, str]:
    """Return word errors, reference words, and one line `reference -> hypothesis` to look at."""
    texts = [transcribe(model, clip.samples) for clip in clips]
    measures = jiwer.process_words([clip.text for clip in clips], texts)
    errors = measures.substitutions + measures.deletions + measures.insertions
    words = measures.hits + measures.substitutions + measures.deletions
    return errors, words, f"{clips[0].text} -> {texts[0]}"
