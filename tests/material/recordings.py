"""Recordings as phones and programs write them, made with FFmpeg's own encoders."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from myqasr.speech.audio import SAMPLE_RATE

PHONES = {
    "memo.m4a": ("ipod", "aac", 44_100),
    "clip.mp4": ("mp4", "aac", 48_000),
    "note.aac": ("adts", "aac", 16_000),
    "call.amr": ("amr", "libopencore_amrnb", 8_000),
    "old.3gp": ("3gp", "libopencore_amrnb", 8_000),
    "browser.webm": ("webm", "libopus", 48_000),
    "lossless.caf": ("caf", "alac", 44_100),
    "mac.aiff": ("aiff", "pcm_s16be", 16_000),
    "song.mp3": ("mp3", "libmp3lame", 16_000),
}
"""File name -> container, codec, rate."""


def talk(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Something like speech [samples]: tones that change eight times a second."""
    draw = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    hertz = np.repeat(draw.uniform(150, 900, count // 2_000 + 1), 2_000)[:count]
    loud = np.repeat(draw.uniform(0.1, 0.5, count // 2_000 + 1), 2_000)[:count]
    return (loud * np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE)).astype(np.float32)


def encode(
    path: Path,
    waveform: NDArray[np.float32],
    container: str,
    codec: str,
    rate: int = SAMPLE_RATE,
    layout: str = "mono",
    options: dict[str, str] | None = None,
) -> Path:
    """Write 16 kHz mono samples [samples], or stereo ones [2, samples], in any of FFmpeg's formats."""
    rows = np.atleast_2d(waveform)
    given = "mono" if len(rows) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows), format="fltp", layout=given)
    frame.sample_rate = SAMPLE_RATE
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout = layout if len(rows) == 1 else "stereo"
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout=stream.layout, rate=rate
        )
        fifo = av.AudioFifo()
        for each in (*resampler.resample(frame), *resampler.resample(None)):
            fifo.write(each)
        while (
            part := fifo.read(stream.codec_context.frame_size or 1_024, partial=True)
        ) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


def by_ffmpeg(path: Path) -> NDArray[np.float32]:
    """What FFmpeg makes of a file [samples]: mono, 16 kHz. Undecodable packets are passed over."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    found = []
    with av.open(str(path)) as file:
        for packet in file.demux(audio=0):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                continue
            found += [
                each.to_ndarray()[0] for frame in frames for each in resampler.resample(frame)
            ]
    found += [each.to_ndarray()[0] for each in resampler.resample(None)]
    return np.concatenate(found)
