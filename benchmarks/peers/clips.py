"""Whose clips: the first ones of a speaker to fit on, the following ones to test on."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.datasets import Clip, Recording
from tools.training.training_data import load_16khz, speech_folder

SPEAKERS = (
    *("libri-1272", "libri-174", "libri-1462", "libri-84"),
    *("cv-372293e65cda", "cv-b87dd0680063", "cv-3f8c120d55b1", "cv-d00446e08c60"),
)
"""Two men and two women of LibriSpeech, four speakers of Common Voice; all reserved for benchmarks."""
MANIFESTS = ("manifest.csv", "manifest_more.csv")
FIT_CLIPS = 16
SECONDS = (1.0, 29.5)
"""Clips that fit into one window of Whisper's, so that no system has to cut."""


@dataclass(frozen=True, slots=True)
class TestClip:
    """A clip as every system gets it: float32 samples in a file, mono, 16 kHz. name: its file's."""

    name: str
    path: Path
    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """fit: unlabelled recordings for our files. test: others, which no file was fitted on."""

    name: str
    fit: tuple[Recording, ...]
    test: tuple[TestClip, ...]


def load_speaker(name: str, clips: int, folder: Path) -> Speaker:
    """A speaker of the shared speech, by the manifests' name; test clips are written to `folder`.

    A speaker with few clips gives half of them to fitting. Raises UserError when there is no such speaker,
    FileNotFoundError naming the variable to set when the shared speech is absent.
    """
    speech = speech_folder()
    rows = manifest_rows(speech, name)
    rows = [row for row in rows if SECONDS[0] <= float(row["seconds"]) <= SECONDS[1]]
    if len(rows) < 2:
        raise UserError(
            f"{len(rows)} clips of {name!r} in {speech}; speakers are named as in its manifests, "
            "e.g. libri-1272"
        )
    fitted = min(FIT_CLIPS, len(rows) // 2)
    fit = tuple(
        Recording(Clip(speech / row["path"], name), load_16khz(speech / row["path"]))
        for row in rows[:fitted]
    )
    folder.mkdir(parents=True, exist_ok=True)
    test = [_test_clip(speech, row, folder) for row in rows[fitted : fitted + clips]]
    return Speaker(name, fit, tuple(test))


def manifest_rows(speech: Path, speaker: str) -> list[dict[str, str]]:
    """What the manifests of the shared speech say of a speaker's clips, in their order."""
    found: list[dict[str, str]] = []
    for manifest in MANIFESTS:
        if (speech / manifest).is_file():
            with (speech / manifest).open(encoding="utf-8", newline="") as file:
                found += csv.DictReader(file)
    return [row for row in found if row["speaker"] == speaker]


def _test_clip(speech: Path, row: dict[str, str], folder: Path) -> TestClip:
    waveform: NDArray[np.float32] = load_16khz(speech / row["path"])
    path = folder / f"{Path(row['path']).stem}.npy"
    np.save(path, waveform)
    return TestClip(path.stem, path, len(waveform) / SAMPLE_RATE, row["text"])


def total_seconds(clips: Sequence[TestClip]) -> float:
    """Length of all together."""
    return sum(clip.seconds for clip in clips)
