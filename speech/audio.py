"""Audio files in: any common format, rate and channel count becomes mono float32 at 16 kHz."""

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from myqasr.core.errors import AudioError

SAMPLE_RATE = 16_000
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus")
SILENT_PEAK = 1e-4
MIN_SECONDS = 0.1


def load_audio(path: Path, encoded: bytes | None = None) -> NDArray[np.float32]:
    """Decode a file to a waveform [samples], mono, 16 kHz, nominally in -1..1.

    encoded: decode these bytes instead of the file's own; `path` then only names them.
    Channels are averaged; other rates go through soxr's high-quality resampler.
    Raises UserError `<path>: <reason>` when the file is missing, can't be decoded, is empty, silent
    (peak below 1e-4), shorter than 0.1 s, or holds NaN or infinite samples.
    """
    try:
        # [samples, channels]
        samples, rate = soundfile.read(_source(path, encoded), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise AudioError(
            f"{path}: can't be decoded as audio ({_reason(error)}); supported: "
            f"{', '.join(AUDIO_SUFFIXES)}"
        ) from error
    if samples.shape[0] == 0:
        raise AudioError(f"{path}: holds no samples")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; record or convert it again")
    waveform: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
    if rate != SAMPLE_RATE:
        waveform = soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ").astype(np.float32)
    if len(waveform) < MIN_SECONDS * SAMPLE_RATE:
        raise AudioError(
            f"{path}: lasts {len(waveform) / SAMPLE_RATE:.3f} s, the shortest usable is {MIN_SECONDS} s"
        )
    peak = float(np.abs(waveform).max())
    if peak < SILENT_PEAK:
        raise AudioError(
            f"{path}: is silent (peak {peak:.1e}, speech is above {SILENT_PEAK:.0e}); "
            "check the microphone"
        )
    return waveform


def audio_seconds(path: Path, encoded: bytes | None = None) -> float:
    """Length by the file's header, without decoding it; raises UserError as `load_audio` does."""
    try:
        info = soundfile.info(_source(path, encoded))
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise AudioError(f"{path}: can't be decoded as audio ({_reason(error)})") from error
    return float(info.frames) / float(info.samplerate)


def audio_files(folder: Path) -> tuple[Path, ...]:
    """Audio files in a folder and below it, sorted by path; hidden files are left out."""
    return tuple(
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )


def _source(path: Path, encoded: bytes | None) -> str | io.BytesIO:
    if encoded is not None:
        return io.BytesIO(encoded)
    if not path.is_file():
        raise AudioError(f"{path}: there is no such file")
    return str(path)


def _reason(error: Exception) -> str:
    """What the decoder said, without its own mention of the path."""
    reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return "no audio found in it" if "does not exist" in reason else reason
