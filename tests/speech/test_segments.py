"""Cutting long audio: nothing lost, nothing too long or too short, and cuts fall into pauses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.speech.segments import PAUSE_SAMPLES, split_at_pauses


@settings(max_examples=200, deadline=None)
@given(data=st.data(), max_samples=st.integers(2, 3_000), seed=st.integers(0, 2**32 - 1))
def test_pieces_are_the_whole_waveform_within_the_limits(
    data: st.DataObject, max_samples: int, seed: int
) -> None:
    min_samples = data.draw(st.integers(1, max_samples // 2))
    length = data.draw(st.integers(1, 10 * max_samples))
    waveform = np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    pieces = split_at_pauses(waveform, max_samples, min_samples)
    np.testing.assert_array_equal(np.concatenate(pieces), waveform)
    assert all(len(piece) <= max_samples for piece in pieces)
    if len(pieces) > 1:
        assert min(len(piece) for piece in pieces) >= min_samples


def test_audio_that_fits_is_left_whole() -> None:
    waveform = np.ones(16_000, np.float32)
    assert [len(piece) for piece in split_at_pauses(waveform, 16_000, 650)] == [16_000]


def test_the_cut_falls_into_the_pause_not_into_a_word() -> None:
    waveform = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    pause = slice(13_000, 13_000 + 2 * PAUSE_SAMPLES)
    waveform[pause] *= 0.01
    first = split_at_pauses(waveform, 16_000, 650)[0]
    assert pause.start + PAUSE_SAMPLES // 2 <= len(first) <= pause.stop - PAUSE_SAMPLES // 2


def test_a_pause_early_in_a_piece_is_not_used() -> None:
    waveform = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    waveform[1_000:3_000] = 0
    assert len(split_at_pauses(waveform, 16_000, 650)[0]) >= 16_000 * 2 // 3


def test_a_last_piece_would_not_be_shorter_than_the_model_takes() -> None:
    waveform = np.random.default_rng(0).standard_normal(16_001).astype(np.float32)
    assert [len(p) >= 8_000 for p in split_at_pauses(waveform, 16_000, 8_000)] == [True, True]


def test_limits_that_allow_no_cut_are_refused() -> None:
    with pytest.raises(UserError, match="9000 to 16000"):
        split_at_pauses(np.ones(20_000, np.float32), 16_000, 9_000)
