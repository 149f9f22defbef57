"""Whom benchmarks are about: the embedded users, and real speakers the default model never heard."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.datasets import choose_clips, find_clips, read_clips
from tools.training.training_data import (
    RESERVED_SPEAKERS,
    Row,
    digit_strings,
    load_16khz,
    read_manifest,
    speech_folder,
)

Waveform = NDArray[np.float32]

EMBEDDED = Path("speech/default_users")
TUNE_CLIPS, TUNE_SECONDS = 16, 45.0
TEST_CLIPS, TEST_SECONDS = 24, 60.0
OCEAN_SPEAKERS = 20
LONGEST_STRING = 5
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Speaker:
    """Unlabelled clips to fit on, and others with their texts to test on; 16 kHz [samples]."""

    name: str
    tune: tuple[Waveform, ...]
    test: tuple[Waveform, ...]
    texts: tuple[str, ...]


def embedded_users() -> list[str]:
    """Names of the embedded users."""
    return sorted(path.name for path in EMBEDDED.iterdir() if path.is_dir())


def reserved_speakers() -> list[str]:
    """8 of LibriSpeech, 20 adult test speakers of speechocean762 (half of them women), 2 of the digits.

    Raises FileNotFoundError naming the variable to set when the shared speech is absent.
    """
    rows = read_manifest(speech_folder())
    adults: dict[str, list[str]] = {"F": [], "M": []}
    for row in rows:
        ocean = row.speaker.startswith("ocean-") and (row.split, row.age_group) == ("test", "adult")
        if ocean and row.speaker not in adults[row.gender]:
            adults[row.gender].append(row.speaker)
    chosen = [name for names in adults.values() for name in names[: OCEAN_SPEAKERS // 2]]
    return [*sorted(RESERVED_SPEAKERS), *sorted(chosen)]


def speakers_and_workers(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """Options of a benchmark over speakers, and the speakers' names; one thread for each worker."""
    parser.add_argument("--speakers", choices=("embedded", "real"), default="embedded")
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    real = options.speakers == "real"
    return options, reserved_speakers() if real else embedded_users()


def load_speaker(name: str) -> Speaker:
    """An embedded user or a reserved speaker by name."""
    if (EMBEDDED / name).is_dir():
        tune, _ = choose_clips(find_clips(EMBEDDED / name / "tune"), TUNE_CLIPS)
        test, _ = read_clips(find_clips(EMBEDDED / name / "test"), need_text=True)
        texts = tuple(recording.clip.text or "" for recording in test)
        return Speaker(
            name, tuple(r.waveform for r in tune), tuple(r.waveform for r in test), texts
        )
    folder = speech_folder()
    rows = [row for row in read_manifest(folder) if row.speaker == name]
    if name.startswith("digits-"):
        # Strings for tuning are made of other recordings than those for testing.
        tune_strings = digit_strings(folder, rows[::2], [name], TUNE_CLIPS, LONGEST_STRING, 1)
        test_strings = digit_strings(folder, rows[1::2], [name], TEST_CLIPS, LONGEST_STRING, 2)
        return Speaker(
            name,
            tuple(waveform for _, waveform in tune_strings),
            tuple(waveform for _, waveform in test_strings),
            tuple(text for text, _ in test_strings),
        )
    tune_rows = up_to(folder, rows[::2], TUNE_CLIPS, TUNE_SECONDS)
    test_rows = up_to(folder, rows[1::2], TEST_CLIPS, TEST_SECONDS)
    return Speaker(
        name,
        tuple(waveform for _, waveform in tune_rows),
        tuple(waveform for _, waveform in test_rows),
        tuple(row.text for row, _ in test_rows),
    )


def genders(names: Sequence[str]) -> dict[str, str]:
    """F or M by speaker."""
    rows = read_manifest(EMBEDDED)
    if not all((EMBEDDED / name).is_dir() for name in names):
        rows += read_manifest(speech_folder())
    known = {row.speaker: row.gender for row in rows}
    return {name: known[name] for name in names}


def up_to(
    folder: Path, rows: Sequence[Row], clips: int, seconds: float
) -> list[tuple[Row, Waveform]]:
    """The first rows with their waveforms, at most so many clips and seconds."""
    taken: list[tuple[Row, Waveform]] = []
    total = 0
    for row in rows[:clips]:
        waveform = load_16khz(folder / row.path)
        total += len(waveform)
        if taken and total > seconds * SAMPLE_RATE:
            break
        taken.append((row, waveform))
    return taken


def ratio(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Mean of `one` over mean of `other`, and its 95 % interval over resampled speakers."""
    left, right = np.asarray(one), np.asarray(other)
    picks = np.random.default_rng(0).integers(0, len(left), (RESAMPLES, len(left)))
    low, high = np.quantile(left[picks].mean(1) / right[picks].mean(1), [0.025, 0.975])
    return float(left.mean() / right.mean()), float(low), float(high)
