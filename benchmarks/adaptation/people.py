"""Whose speech: the people who are learned from and tested on, and the many who are learned from before."""

import csv
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.clips import MANIFESTS, manifest_rows
from myqasr.core.errors import UserError
from myqasr.speech.datasets import Clip, Recording
from tools.training.training_data import load_16khz, speech_folder

SPEAKERS = (
    *("1272", "cv-372293e65cda", "1462", "cv-b87dd0680063", "84", "cv-3f8c120d55b1"),
    *("174", "cv-d00446e08c60", "652", "2086", "1673", "2412"),
)
"""All reserved speakers with three minutes or more: eight of LibriSpeech, four of Common Voice."""
SECONDS = (1.0, 29.5)
MANY_OF_ACCENTS = 150
MANY_OF_READERS = ("1993", "2035", "2902", "251", "2078", "2428")
MANY_OF_EACH_READER = 8
"""The many: a clip each of so many people of Common Voice, and some of readers who aren't reserved."""
TRIED_ON = ("cv-724f1c9909e0", "cv-feba7732f588")
"""How learning goes best was tried on these, and on readers 2803 and 1919: they are none of the many."""

Waveform = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Speaker:
    """tune: unlabelled recordings. test: (name, samples, text) of others."""

    name: str
    tune: tuple[Recording, ...]
    test: tuple[tuple[str, Waveform, str], ...]


def load_speaker(name: str, tune: int, test: int) -> Speaker:
    """A speaker of the shared speech; raises UserError when there are too few clips."""
    speech = speech_folder()
    rows = manifest_rows(speech, name)
    rows = [row for row in rows if SECONDS[0] <= float(row["seconds"]) <= SECONDS[1]]
    if len(rows) <= tune:
        raise UserError(f"{len(rows)} clips of {name!r} in {speech}: no test clips after {tune}")
    return Speaker(
        name,
        tuple(_recording(row) for row in rows[:tune]),
        tuple(
            (row["path"], load_16khz(speech / row["path"]), row["text"])
            for row in rows[tune : tune + test]
        ),
    )


def many() -> list[Recording]:
    """One clip each of many people, none of whom is reserved or was used to choose how to learn."""
    found: dict[str, dict[str, str]] = {}
    for row in _all_rows():
        trains = row["path"].startswith("accents/") and row["split"] == "train"
        if trains and _fits(row) and row["speaker"] not in TRIED_ON:
            found.setdefault(row["speaker"], row)
    chosen = list(found.values())[:MANY_OF_ACCENTS]
    for reader in MANY_OF_READERS:
        rows = [row for row in manifest_rows(speech_folder(), f"libri-{reader}") if _fits(row)]
        chosen += rows[:MANY_OF_EACH_READER]
    return [_recording(row) for row in chosen]


def _all_rows() -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for manifest in MANIFESTS:
        with (speech_folder() / manifest).open(encoding="utf-8", newline="") as file:
            found += csv.DictReader(file)
    return found


def _fits(row: dict[str, str]) -> bool:
    return SECONDS[0] <= float(row["seconds"]) <= SECONDS[1]


def _recording(row: dict[str, str]) -> Recording:
    path = speech_folder() / row["path"]
    return Recording(Clip(path, row["speaker"]), load_16khz(path))
