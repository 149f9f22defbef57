"""Audio files in: any common format, rate and channel count becomes mono float32 at 16 kHz."""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from myqasr.core.errors import AudioError
from myqasr.core.reading import instead
from myqasr.speech.decoders import FAULTS, Block, blocks, header_seconds

SAMPLE_RATE = 16_000
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".amr", ".awb", ".3gp", ".3ga",
    ".3g2", ".mp4", ".m4b", ".mov", ".webm", ".weba", ".mka", ".mkv", ".wma", ".caf", ".aif", ".aiff",
    ".aifc", ".w64", ".au", ".wv", ".ac3", ".qta", ".avi", ".mp2", ".mpga", ".sph", ".tta", ".voc",
)  # fmt: skip
SILENT_PEAK = 1e-4
MIN_SECONDS = 0.1
ROUNDED_SECONDS = 0.05
"""Tables round the length of a file: what is left of it behind a window that begins it belongs to it."""

CANCELLED = 0.3
"""Share of the power of unrelated channels that their mean has at least, if they don't cancel out."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """waveform: [samples], mono, 16 kHz. remark: what had to be done to it that its owner should know."""

    waveform: NDArray[np.float32]
    remark: str | None = None


def load_audio(
    path: Path, encoded: bytes | None = None, window: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """The waveform of `decode_audio`."""
    return decode_audio(path, encoded, window).waveform


def decode_audio(
    path: Path, encoded: bytes | None = None, window: tuple[float, float] | None = None
) -> Decoded:
    """Decode a file, to the end whatever its header says: mono, 16 kHz, nominally in -1..1.

    encoded: decode these bytes instead of the file's own; `path` then only names them. window: decode only
    this part, (start, length) in seconds.
    Channels are averaged, or where that would cancel them out the loudest is taken; other rates go through
    soxr's high-quality resampler. Raises UserError `<path>: <reason>` when the file is missing, can't be
    decoded, is empty, silent (no sample further than 1e-4 from their mean), shorter than 0.1 s, ends before
    the window does, or holds NaN or infinite samples.
    """
    _check_there(path, encoded)
    start, seconds = window if window is not None else (0.0, None)
    seconds = None if seconds == math.inf else seconds
    asked = seconds + ROUNDED_SECONDS if seconds is not None and start == 0 else seconds
    try:
        heard = _Downmix()
        waveform = heard.resampled(blocks(path, encoded, start, asked))
        if heard.cancelled():
            heard = _Downmix(heard.loudest())
            waveform = heard.resampled(blocks(path, encoded, start, asked))
    except FAULTS as error:
        raise AudioError(f"{path}: {_left_instead(path, encoded) or _undecoded(error)}") from error
    if seconds is not None:
        waveform = _within(waveform, path, start, seconds)
    _check_speech(waveform, path)
    return Decoded(waveform, heard.remark())


def audio_seconds(path: Path, encoded: bytes | None = None) -> float:
    """Length by the file's header, decoded only where it doesn't say; raises UserError as `load_audio`."""
    _check_there(path, encoded)
    try:
        return header_seconds(path, encoded)
    except FAULTS as error:
        raise AudioError(f"{path}: {_left_instead(path, encoded) or _undecoded(error)}") from error


def audio_files(folder: Path) -> tuple[Path, ...]:
    """Audio files in a folder and below it, sorted by path, linked folders and all.

    Hidden files and folders are left out; a file that is there by several paths is given once.
    """
    return tuple(path for path in files_below(folder) if path.suffix.lower() in AUDIO_SUFFIXES)


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and below it that aren't hidden, sorted by path; see `audio_files`."""
    found: dict[str, Path] = {}
    entered = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if name[0] != "." and real not in entered)
        if real not in entered:
            entered.add(real)
            paths = (Path(place) / name for name in sorted(names) if name[0] != ".")
            for path in paths:
                if path.is_file():
                    found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())


class _Downmix:
    """Mono at 16 kHz of blocks, whose rate and channels may change on the way.

    channel: of every number of channels, the one to take; else they are averaged.
    """

    def __init__(self, channel: dict[int, int] | None = None) -> None:
        self._channel = channel or {}
        self._sums: dict[
            int, NDArray[np.float64]
        ] = {}  # [count, sums, squares] of channels and mean

    def resampled(self, found: Iterator[Block]) -> NDArray[np.float32]:
        """[samples] of all blocks."""
        pieces = bytearray()  # grows where it lies: hours of samples are there once
        rate, stream = SAMPLE_RATE, None
        for block in found:
            if block.rate != rate:
                if stream is not None:
                    pieces += stream.resample_chunk(np.zeros(0, np.float32), last=True).data
                rate, stream = block.rate, None
                if rate != SAMPLE_RATE:
                    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", quality="HQ")
            mono = self._mono(block.samples)
            pieces += (mono if stream is None else stream.resample_chunk(mono, last=False)).data
        if stream is not None:
            pieces += stream.resample_chunk(np.zeros(0, np.float32), last=True).data
        return np.frombuffer(pieces, np.float32)

    def _mono(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        count = samples.shape[1]
        mono: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
        if count in self._channel:
            return np.ascontiguousarray(samples[:, self._channel[count]])
        if count > 1:
            every = np.concatenate((samples, mono[:, None]), axis=1).astype(np.float64)
            sums = np.stack((np.full(count + 1, len(mono)), every.sum(0), (every**2).sum(0)))
            self._sums[count] = self._sums.get(count, np.zeros_like(sums)) + sums
        return mono

    def _powers(self, count: int) -> NDArray[np.float64]:
        """Variance of each channel, and of their mean."""
        samples, sums, squares = self._sums[count]
        powers: NDArray[np.float64] = np.maximum(squares / samples - (sums / samples) ** 2, 0.0)
        return powers

    def cancelled(self) -> bool:
        """Whether the mean has lost most of what the channels hold."""
        powers = {count: self._powers(count) for count in self._sums}
        return any(
            each[-1] < CANCELLED * each[:-1].sum() / count**2 for count, each in powers.items()
        )

    def loudest(self) -> dict[int, int]:
        """Of every number of channels, the one with the most power."""
        return {count: int(self._powers(count)[:-1].argmax()) for count in self._sums}

    def remark(self) -> str | None:
        """What was done instead of averaging."""
        taken = ", ".join(f"{index + 1} of {count}" for count, index in self._channel.items())
        return f"its channels cancel each other out: heard channel {taken} alone" if taken else None


def _within(
    waveform: NDArray[np.float32], path: Path, start: float, seconds: float
) -> NDArray[np.float32]:
    """The window itself of what was decoded for it."""
    lacking = seconds - len(waveform) / SAMPLE_RATE
    if lacking > MIN_SECONDS:
        raise AudioError(
            f"{path}: {seconds:g} s from {start:g} s on are not in it, {lacking:.2f} s lack; is its table "
            "of another recording, or in milliseconds?"
        )
    asked = round(seconds * SAMPLE_RATE)
    whole = start == 0 and len(waveform) < round((seconds + ROUNDED_SECONDS) * SAMPLE_RATE) - 1
    return waveform if whole else waveform[:asked]


def _check_speech(waveform: NDArray[np.float32], path: Path) -> None:
    if len(waveform) == 0:
        raise AudioError(f"{path}: holds no samples")
    if not math.isfinite(waveform.sum(dtype=np.float64)):  # a mask would take a quarter more
        raise AudioError(f"{path}: holds NaN or infinite samples; record or convert it again")
    if len(waveform) < MIN_SECONDS * SAMPLE_RATE:
        raise AudioError(
            f"{path}: lasts {len(waveform) / SAMPLE_RATE:.3f} s, the shortest usable is {MIN_SECONDS} s"
        )
    mean = float(waveform.mean(dtype=np.float64))
    peak = max(float(waveform.max()) - mean, mean - float(waveform.min()))
    if peak < SILENT_PEAK:
        raise AudioError(
            f"{path}: is silent (peak {peak:.1e}, speech is above {SILENT_PEAK:.0e}); "
            "check the microphone"
        )


def _check_there(path: Path, encoded: bytes | None) -> None:
    if encoded is None and not path.is_file():
        raise AudioError(f"{path}: there is no such file")
    if (len(encoded) if encoded is not None else path.stat().st_size) == 0:
        raise AudioError(f"{path}: holds no samples: the file is empty")


def _left_instead(path: Path, encoded: bytes | None) -> str | None:
    """What git, or a server, left in place of a recording."""
    if encoded is None:
        with contextlib.suppress(OSError), path.open("rb") as file:
            encoded = file.read(64)
    return instead((encoded or b"")[:64], "the recording")


def _undecoded(error: Exception) -> str:
    return f"can't be decoded as audio ({_reason(error)})"


def _reason(error: Exception) -> str:
    """What the decoder said, without its own mention of the path."""
    said = getattr(error, "strerror", None) or getattr(error, "error_string", error)
    reason = str(said).strip().rstrip(".")
    return "no audio found in it" if "does not exist" in reason else reason
