"""Batches as a function of (seed, step): a training killed at any step resumes on the same data.

A batch holds clips of nearly the same length, because the model's group norm sees the padding.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from tools.training.synthetic_speech import SAMPLE_RATE_HZ
from tools.training.training_data import Clip, user_texts

BLANK = "<pad>"
UNKNOWN = "<unk>"
WORD_DELIMITER = "|"
TOKENS: tuple[str, ...] = (BLANK, UNKNOWN, WORD_DELIMITER, "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
TOKEN_IDS: dict[str, int] = {token: number for number, token in enumerate(TOKENS)}
_SLOWEST, _FASTEST = 0.82, 1.05
_SAMPLES_PER_FRAME = 640
_MOST_LETTERS_PER_FRAME = 0.72  # CTC needs a frame per letter; denser speech teaches little
_WINDOW = 0.05  # clips within 5 % of the wanted length share a batch


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the curriculum: which clips, up to which step."""

    until_step: int
    most_words: int
    longest_seconds: float
    weights: dict[str, float]
    batch_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded audio and flat labels for CTC."""

    audio: torch.Tensor  # [batch, samples] float32
    lengths: torch.Tensor  # [batch] samples
    labels: torch.Tensor  # [sum of label lengths]
    label_lengths: torch.Tensor  # [batch]


def encode(text: str) -> list[int]:
    """Return token ids; characters outside the alphabet raise KeyError naming them."""
    return [TOKEN_IDS[WORD_DELIMITER if char == " " else char] for char in text]


def normalise(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean, unit variance: exactly what Wav2Vec2FeatureExtractor does."""
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def load_index(folder: Path) -> list[Clip]:
    """Read the corpus index; raise FileNotFoundError naming the command that makes it."""
    path = folder / "clips.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no corpus in {folder}: run `python -m tools.training.training_data`"
        )
    return [Clip(**row) for row in json.loads(path.read_text())]


def letters_per_frame(clip: Clip) -> float:
    """Return how much of the frames CTC needs for the text: letters, and a blank per double one."""
    doubles = sum(a == b for a, b in pairwise(clip.text))
    return (len(clip.text) + doubles) * _SAMPLES_PER_FRAME / clip.length


class TrainingBatches(Dataset[Batch]):
    """`batches[step]` is the batch of that step."""

    def __init__(self, folder: Path, stages: list[Stage], steps: int, seed: int) -> None:
        users = user_texts()
        clips = load_index(folder)
        self._clips = [clip for clip in clips if not clip.dev and clip.text not in users]
        self._audio_path = folder / "audio.i16"
        self._stages = stages
        self._steps = steps
        self._seed = seed
        self._pools: dict[int, dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}

    def __len__(self) -> int:
        return self._steps

    def _pool(self, number: int) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Per source, clip numbers and lengths of one stage, sorted by length."""
        if number not in self._pools:
            stage = self._stages[number]
            pool = {}
            for source in stage.weights:
                chosen = [
                    (clip.length, i)
                    for i, clip in enumerate(self._clips)
                    if clip.source == source
                    and len(clip.text.split()) <= stage.most_words
                    and letters_per_frame(clip) <= _MOST_LETTERS_PER_FRAME
                    and clip.length <= stage.longest_seconds * SAMPLE_RATE_HZ
                ]
                if not chosen:
                    raise ValueError(f"stage {number} of the curriculum finds no {source!r} clips")
                table = np.array(sorted(chosen), dtype=np.int64)
                pool[source] = (table[:, 1], table[:, 0])
            self._pools[number] = pool
        return self._pools[number]

    def _augment(
        self, samples: NDArray[np.float32], speed: float, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        places = np.arange(0.0, samples.size - 1, speed)
        faster = np.interp(places, np.arange(samples.size), samples).astype(np.float32)
        if rng.random() < 0.6:
            level = float(np.sqrt(np.mean(faster**2))) * 10 ** (-rng.uniform(12, 45) / 20)
            noise = rng.standard_normal(faster.size, dtype=np.float32)
            if rng.random() < 0.5:  # darker noise: rooms and streets have more of it
                noise = np.convolve(noise, np.full(6, 0.4, np.float32), "same")
            faster = faster + level * noise
        if rng.random() < 0.3:  # a tilt of the spectrum: microphones differ
            tilt = np.float32(rng.uniform(-0.5, 0.5))
            faster[1:] = faster[1:] + tilt * faster[:-1]
        return faster.astype(np.float32)

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self._seed, step])
        audio = np.memmap(self._audio_path, dtype="<i2", mode="r")
        number = next(i for i, s in enumerate(self._stages) if step < s.until_step)
        pool = self._pool(number)
        sources = list(pool)
        weights = np.array([self._stages[number].weights[s] for s in sources])
        # Drawing the anchor by seconds keeps the mix of audio near the weights.
        anchor_source = sources[rng.choice(len(sources), p=weights / weights.sum())]
        anchor = float(rng.choice(pool[anchor_source][1]))
        size = max(1, int(self._stages[number].batch_seconds * SAMPLE_RATE_HZ / anchor))
        fitting = weights * [
            np.searchsorted(lengths, anchor * 1.05) > np.searchsorted(lengths, anchor * 0.95)
            for _, lengths in pool.values()
        ]
        waves: list[NDArray[np.float32]] = []
        labels: list[list[int]] = []
        for pick in rng.choice(len(sources), size=size, p=fitting / fitting.sum()):
            numbers, lengths = pool[sources[pick]]
            speed = rng.uniform(_SLOWEST, _FASTEST)
            low = np.searchsorted(lengths, anchor * speed * (1 - _WINDOW))
            high = np.searchsorted(lengths, anchor * speed * (1 + _WINDOW))
            if low >= high:
                continue
            clip = self._clips[numbers[rng.integers(low, high)]]
            samples = audio[clip.start : clip.start + clip.length].astype(np.float32) / np.float32(
                32_768
            )
            waves.append(normalise(self._augment(samples, speed, rng)))
            labels.append(encode(clip.text))
        if not waves:
            return self[step + len(self)]  # a lone odd length: take another batch instead
        return collate(waves, labels)


def collate(waves: list[NDArray[np.float32]], labels: list[list[int]]) -> Batch:
    """Pad audio with zeros and join the labels."""
    lengths = torch.tensor([wave.size for wave in waves])
    padded = torch.zeros(len(waves), int(lengths.max()))
    for row, wave in zip(padded, waves, strict=True):
        row[: wave.size] = torch.from_numpy(wave)
    flat = torch.tensor([token for label in labels for token in label])
    return Batch(padded, lengths, flat, torch.tensor([len(label) for label in labels]))
