"""Whisper's log-mel features in numpy, for runtimes that don't make them (openai/whisper, audio.py)."""

import numpy as np
from numpy.typing import NDArray

SAMPLES, TAPS, HOP = 480_000, 400, 160
Floats = NDArray[np.float32]


def log_mel(waveform: Floats, filters: Floats) -> Floats:
    """Samples of at most 30 s, 16 kHz, and filters [mels, frequencies] -> [mels, 3000]."""
    padded = np.zeros(SAMPLES, np.float32)
    padded[: min(len(waveform), SAMPLES)] = waveform[:SAMPLES]
    padded = np.pad(padded, TAPS // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, TAPS)[::HOP][:-1]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(TAPS) / TAPS)).astype(np.float32)
    powers = np.square(np.abs(np.fft.rfft(frames * window, axis=1)))
    features = np.log10(np.maximum(filters @ powers.T.astype(np.float32), 1e-10))
    clipped: Floats = (np.maximum(features, features.max() - 8.0) + 4.0) / 4.0
    return clipped.astype(np.float32)
