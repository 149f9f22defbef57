"""The same words, heard a little differently each time.

SpecAugment (Park et al., Interspeech 2019) on the waveform, so that it serves models of every input: bands
of frequency and stretches of time are silenced. Speed is changed by resampling (Ko et al., Interspeech 2015).
"""

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from myqasr.speech.audio import SAMPLE_RATE

Waveform = NDArray[np.float32]
_MEL_HZ, _MEL = 700.0, 2595.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """speed, gain_db: at most so far from 1 and 0. bands, stretches: how many are silenced.

    band, stretch: the widest, as shares of the mel scale up to half the rate and of the clip.
    """

    speed: float = 0.08
    gain_db: float = 6.0
    bands: int = 1
    band: float = 0.2
    stretches: int = 2
    stretch: float = 0.05


def at_speed(waveform: Waveform, speed: float) -> Waveform:
    """A waveform [samples] played `speed` times as fast, pitch and all."""
    if speed == 1:
        return waveform
    resampled: Waveform = soxr.resample(waveform, SAMPLE_RATE * speed, SAMPLE_RATE, "HQ")
    return resampled.astype(np.float32)


def augmented(
    waveform: Waveform, how: Augmentation, draw: np.random.Generator, most_samples: int | None
) -> Waveform:
    """A waveform [samples] changed at random, no longer than `most_samples`."""
    slowest = 1 - how.speed
    if most_samples is not None:
        slowest = min(max(slowest, len(waveform) / most_samples * 1.001), 1.0)
    changed = at_speed(waveform, float(draw.uniform(slowest, 1 + how.speed)))
    changed = changed * np.float32(10 ** (draw.uniform(-how.gain_db, how.gain_db) / 20))
    for _ in range(how.bands):
        changed = _without_band(changed, how.band, draw)
    for _ in range(how.stretches):
        size = round(len(changed) * draw.uniform(0, how.stretch))
        begin = round((len(changed) - size) * draw.uniform())
        changed[begin : begin + size] = 0
    return changed[:most_samples].astype(np.float32)


def _without_band(waveform: Waveform, widest: float, draw: np.random.Generator) -> Waveform:
    top = _MEL * np.log10(1 + SAMPLE_RATE / 2 / _MEL_HZ)
    width = draw.uniform(0, widest)
    low = draw.uniform(0, 1 - width)
    edges = _MEL_HZ * (10 ** (np.array([low, low + width]) * top / _MEL) - 1)
    spectrum = np.fft.rfft(waveform)
    first, last = np.round(edges * len(waveform) / SAMPLE_RATE).astype(int)
    spectrum[first:last] = 0
    return np.fft.irfft(spectrum, len(waveform)).astype(np.float32)
