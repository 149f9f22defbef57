"""Recordings of hours: their samples are in memory once, one recording at a time, and no logits are kept."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from myqasr.personalize.hearing import EVERY_CLIP, recordings_for
from myqasr.runtime_bench.measure.transcription import each_input, transcribe
from myqasr.runtime_bench.runners.exported import AudioInput
from myqasr.speech.audio import load_audio
from myqasr.speech.datasets import each_clip, find_clips
from myqasr.speech.decoding import Tokens
from tests.material.recordings import talk

SECONDS = 120
SAMPLES_BYTES = 4 * 16_000 * SECONDS
BLOCK_BYTES = 4_000_000
"""For what is decoded at a time, in all the forms that it takes."""


def peak_bytes(work: Callable[[], object]) -> int:
    """Most that was allocated at a time by Python and numpy."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four long recordings: at 16 kHz, at another rate, of two channels, and compressed."""
    place = tmp_path_factory.mktemp("long")
    wave = np.tile(talk(2.0), SECONDS // 2)
    soundfile.write(place / "a.wav", wave, 16_000)
    soundfile.write(place / "b.wav", np.repeat(wave, 3), 48_000)
    soundfile.write(place / "c.wav", np.stack((wave, 0.5 * wave), axis=1), 16_000)
    soundfile.write(place / "d.flac", wave, 16_000)
    return place


@pytest.mark.parametrize("name", ["a.wav", "b.wav", "c.wav", "d.flac"])
def test_reading_takes_a_recordings_samples_once(folder: Path, name: str) -> None:
    assert peak_bytes(lambda: load_audio(folder / name)) < 1.2 * SAMPLES_BYTES + BLOCK_BYTES


def test_of_several_long_recordings_one_at_a_time_is_in_memory(folder: Path) -> None:
    def one_after_the_other() -> None:
        assert sum(each.seconds for each in each_clip(find_clips(folder), list)) > 4 * SECONDS - 1

    assert peak_bytes(one_after_the_other) < 2.3 * SAMPLES_BYTES + BLOCK_BYTES
    model: Any = SimpleNamespace(piece_samples=15 * 16_000, min_samples=400)
    found = recordings_for(folder, EVERY_CLIP, 4, model)[0]
    assert len({each.clip.path for each in found}) == 4
    assert (
        peak_bytes(lambda: recordings_for(folder, EVERY_CLIP, 2, model))
        < 2.3 * SAMPLES_BYTES + BLOCK_BYTES
    )


def test_the_logits_of_a_long_recording_are_not_kept() -> None:
    piece = np.zeros((700, 5_000), np.float32)  # 14 MB
    runner: Any = SimpleNamespace(logits=lambda features: piece.copy(), description="a runner")
    waveform = np.tile(talk(2.0), SECONDS // 2).astype(np.float32)
    tokens = Tokens(tuple("-a" + "b" * 4_998), blank=0)
    audio = AudioInput(False, 400, 5 * 16_000)

    def whole() -> None:
        assert transcribe(runner, each_input(waveform, audio), tokens) == ""

    assert peak_bytes(whole) < 4 * piece.nbytes
