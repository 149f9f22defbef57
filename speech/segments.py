"""Cut audio that is longer than an exported file takes, where the speaker pauses."""

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.speech.audio import SAMPLE_RATE

PAUSE_SAMPLES = SAMPLE_RATE // 50  # 20 ms


def split_at_pauses(
    waveform: NDArray[np.float32], max_samples: int, min_samples: int
) -> list[NDArray[np.float32]]:
    """Pieces of a waveform [samples], each at most `max_samples`, that concatenate to the input.

    Each cut lies in the middle of the quietest 20 ms of the last third of its piece. No piece of a
    waveform that has to be cut is shorter than `min_samples`; a waveform that fits stays as it is.
    Raises UserError when it has to be cut and `max_samples` is less than twice `min_samples`.
    """
    if len(waveform) > max_samples and not 1 <= min_samples <= max_samples // 2:
        raise UserError(
            f"audio can't be cut into pieces of {min_samples} to {max_samples} samples; "
            "export with a longest input of at least twice the shortest"
        )
    pieces = []
    rest = waveform
    while len(rest) > max_samples:
        latest = min(max_samples, len(rest) - min_samples)
        earliest = max(max_samples * 2 // 3, min_samples)
        cut = _quietest(rest, min(earliest, latest), latest)
        pieces.append(rest[:cut])
        rest = rest[cut:]
    return [*pieces, rest]


def _quietest(waveform: NDArray[np.float32], start: int, stop: int) -> int:
    """Middle of the 20 ms with the least energy within start..stop; `stop` when there's no room."""
    width = min(PAUSE_SAMPLES, stop - start)
    if width == 0:
        return stop
    squares = waveform[start:stop].astype(np.float64) ** 2
    energy = np.convolve(squares, np.ones(width), mode="valid")
    return start + int(energy.argmin()) + (width + 1) // 2
