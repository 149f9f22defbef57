"""Recordings in memory: clips with their waveforms, cut at pauses where they are long."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.manifests import Clip
from myqasr.speech.segments import split_at_pauses


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A clip and its waveform [samples], mono 16 kHz.

    remark: what was done to it beside decoding. cut_from: `audio_hash` of the one that it is a piece of.
    """

    clip: Clip
    waveform: NDArray[np.float32]
    remark: str | None = None
    cut_from: str | None = None

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / SAMPLE_RATE


def audio_hash(recordings: Iterable[Recording]) -> str:
    """Hex sha256 over the decoded samples; the order and the names of the files don't matter."""
    digests = sorted(
        hashlib.sha256(np.ascontiguousarray(recording.waveform, "<f4").data).digest()
        for recording in recordings
    )
    return hashlib.sha256(b"".join(digests)).hexdigest()


def cut_at_pauses(
    recordings: Sequence[Recording], max_samples: int, min_samples: int
) -> list[Recording]:
    """The recordings in pieces of at most `max_samples`, as they are benched; shorter ones as they are.

    A piece is a clip with a window of its own. Raises UserError as `split_at_pauses` does.
    """
    found = []
    for recording in recordings:
        if len(recording.waveform) <= max_samples:
            found.append(recording)
            continue
        whole, begun = audio_hash([recording]), 0
        start = recording.clip.window[0] if recording.clip.window is not None else 0.0
        shortest = min(min_samples, max_samples // 2)
        for piece in split_at_pauses(recording.waveform, max_samples, shortest):
            window = (start + begun / SAMPLE_RATE, len(piece) / SAMPLE_RATE)
            clip = replace(recording.clip, window=window, text=None)
            found.append(Recording(clip, piece, recording.remark, whole))
            begun += len(piece)
    return found


def overlap(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Whether two parts of a file, (start, length) in seconds, share any of it; None is all of it."""
    (begin, length), (start, extent) = one or (0.0, math.inf), other or (0.0, math.inf)
    return begin < start + extent and start < begin + length
