"""Samples of an encoded recording, block by block, until nothing comes.

libsndfile reads WAV, AIFF and Ogg, whose samples it finds by structure; FFmpeg's decoders (PyAV) read all
else: what phones record, and MP3 and FLAC, of which libsndfile hears no more than their headers say.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

BLOCK_SAMPLES = 1 << 16
MOST_SAMPLES = 1 << 40
"""A header that says more doesn't know."""

MOST_BROKEN = 0.1
"""Share of packets that may be undecodable: there are some where files were joined."""

PREROLL_SECONDS = 2.0
"""Decoding starts so long before a window: codecs with a memory are themselves again by then."""

FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,eac3,flac,gsm,matroska,mov,mp3,mpeg,mpegts,nist,"
    "ogg,tta,voc,w64,wav,wv"
)
"""Containers that are tried; none of them names further files to open."""

_NO_SEEK = ("MPEG_LAYER_III", "GSM610")
"""Kinds of samples in a WAV that libsndfile can't find its way in."""

FAULTS = (soundfile.SoundFileError, av.FFmpegError, OSError, ValueError)
"""What reading a block may raise on a file that isn't audio or is damaged."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """samples: [samples, channels], float32, nominally in -1..1. rate: in Hz; it may change within a file."""

    rate: int
    samples: NDArray[np.float32]


def blocks(
    path: Path, encoded: bytes | None, start: float = 0.0, seconds: float | None = None
) -> Iterator[Block]:
    """A recording's samples from `start` seconds on, `seconds` of them or all there are.

    encoded: its bytes; else those of the file. A later start costs a seek, not a decode of what is before.
    Raises one of `FAULTS`.
    """
    kind = _kind(path, encoded)
    if kind == "sndfile":
        yield from _by_sndfile(_opened(path, encoded), start, seconds)
    elif kind == "unfinished":
        yield from _by_sndfile(io.BytesIO(_finished(_bytes(path, encoded))), start, seconds)
    else:
        yield from _by_ffmpeg(_opened(path, encoded), start, seconds)


def header_seconds(path: Path, encoded: bytes | None) -> float:
    """How long a recording says that it is; one that doesn't say is decoded. Raises one of `FAULTS`."""
    kind = _kind(path, encoded)
    if kind == "sndfile":
        info = soundfile.info(_opened(path, encoded))
        return float(info.frames) / float(info.samplerate)
    if kind == "ffmpeg":
        with _opened(path, encoded) as file, _container(file) as container:
            stream = _audio_stream(container)
            if stream.duration:
                return float(stream.duration * stream.time_base)
            if container.duration:
                return float(container.duration) / float(av.time_base)
    return sum(len(block.samples) / block.rate for block in blocks(path, encoded))


def _opened(path: Path, encoded: bytes | None) -> BinaryIO:
    return path.open("rb") if encoded is None else io.BytesIO(encoded)


def _bytes(path: Path, encoded: bytes | None) -> bytes:
    return path.read_bytes() if encoded is None else encoded


def _kind(path: Path, encoded: bytes | None) -> str:
    """`sndfile`, `ffmpeg`, or `unfinished` for a WAV whose header was not brought up to date."""
    with _opened(path, encoded) as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:] == b"WAVE" and _samples_behind(file) is not None:
            return "unfinished"
        if head[:4] == b"OggS" and _is_chained(file):
            return "ffmpeg"
        file.seek(0)
        if head[:4] not in (b"RIFF", b"RF64", b"FORM", b"OggS", b"NIST"):
            return "ffmpeg"
        try:
            info = soundfile.info(file)
        except soundfile.SoundFileError:
            return "ffmpeg"
    known = 0 < info.frames < MOST_SAMPLES and info.subtype not in _NO_SEEK
    return "sndfile" if known else "ffmpeg"


def _samples_behind(file: BinaryIO) -> int | None:
    """Where a WAV's samples begin when more lie there than its header says; None for one that is right.

    Recorders write the size when they stop; those that are killed leave zero, or what was true a while ago.
    Other chunks may follow the samples: their names are four printable characters.
    """
    end = file.seek(0, io.SEEK_END)
    place = 12
    while place + 8 <= end:
        file.seek(place)
        name, size = struct.unpack("<4sI", file.read(8))
        after = place + 8 + size + size % 2
        if name == b"data":
            file.seek(place + 8 + size)
            behind = file.read(10)[size % 2 :][:4]
            named = len(behind) < 4 or all(32 <= byte < 127 for byte in behind)
            unfinished = after < end and (size == 0 or not named)
            return place + 8 if unfinished else None
        place = after
    return None


def _finished(data: bytes) -> bytes:
    """A WAV whose header says how many bytes of samples there are."""
    begin = _samples_behind(io.BytesIO(data))
    if begin is None:
        return data
    sizes = (len(data) - 8).to_bytes(4, "little"), (len(data) - begin).to_bytes(4, "little")
    return data[:4] + sizes[0] + data[8 : begin - 4] + sizes[1] + data[begin:]


def _is_chained(file: BinaryIO) -> bool:
    """Whether an Ogg file is several, one after the other: a stream begins behind pages of another's."""
    place, begun = 0, False
    while True:
        file.seek(place)
        head = file.read(27)
        if len(head) < 27 or head[:4] != b"OggS":
            return False
        sizes = file.read(head[26])
        first = bool(head[5] & 2)
        if first and begun:
            return True
        begun = begun or not first
        place += 27 + len(sizes) + sum(sizes)


def _by_sndfile(file: BinaryIO, start: float, seconds: float | None) -> Iterator[Block]:
    with file, soundfile.SoundFile(file) as sound:
        rate = sound.samplerate
        first = round(start * rate)
        if first >= sound.frames:
            return
        sound.seek(first)
        left = MOST_SAMPLES if seconds is None else round(seconds * rate)
        while left > 0:
            samples = sound.read(min(left, BLOCK_SAMPLES), dtype="float32", always_2d=True)
            if not len(samples):
                return
            left -= len(samples)
            yield Block(rate, samples)


def _container(file: BinaryIO) -> Any:
    return av.open(file, options={"format_whitelist": _whitelist()}, metadata_errors="replace")


def _whitelist() -> str:
    """Names of demuxers, each with its aliases, as FFmpeg compares them."""
    wanted = set(FORMATS.split(","))
    names = (name for name in av.formats_available if wanted & set(name.split(",")))
    return ",".join(sorted(wanted | set(names)))


def _audio_stream(container: Any) -> Any:
    stream = container.streams.best("audio")
    if stream is None:
        raise ValueError("no audio found in it")
    return stream


def _by_ffmpeg(file: BinaryIO, start: float, seconds: float | None) -> Iterator[Block]:
    with file, _container(file) as container:
        stream = _audio_stream(container)
        frames = _frames(container, stream)
        base = next((frame for frame in frames), None)
        if base is None:
            return
        begin = base.pts
        if start > 2 * PREROLL_SECONDS and begin is not None:
            offset = round((start - PREROLL_SECONDS) / stream.time_base) + begin
            container.seek(offset, stream=stream)
            frames, base = _frames(container, stream), None
        heard = 0.0  # seconds up to the frame at hand, where frames have no times of their own
        stop = None if seconds is None else start + seconds
        for frame in frames if base is None else _again(base, frames):
            timed = frame.pts is not None and begin is not None and stop is not None
            at = float((frame.pts - begin) * frame.time_base) if timed else heard
            heard = at + frame.samples / frame.sample_rate
            if stop is not None and at >= stop:
                return
            first = max(0, round((start - at) * frame.sample_rate))
            last = frame.samples if stop is None else round((stop - at) * frame.sample_rate)
            if first < min(last, frame.samples):
                yield Block(frame.sample_rate, _samples(frame)[first:last])


def _again(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames; packets that can't be decoded are passed over, as FFmpeg's own program does."""
    packets = broken = given = 0
    try:
        for packet in container.demux(stream):
            packets += 1
            try:
                decoded = packet.decode()
            except av.InvalidDataError:
                broken += 1
                continue
            for frame in decoded:
                given += 1
                yield frame
    except av.FFmpegError:
        if not given:  # else the file was cut off
            raise
    if broken > max(2, MOST_BROKEN * packets) or (broken and not given):
        raise ValueError(
            f"{broken} of {packets} packets can't be decoded; fetch or record it again"
        )


def _samples(frame: Any) -> NDArray[np.float32]:
    """[samples, channels], float32."""
    values: NDArray[Any] = frame.to_ndarray()
    channels: int = frame.layout.nb_channels
    rows = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if rows.dtype.kind == "f":
        return np.ascontiguousarray(rows, dtype=np.float32)
    middle, scale = (128, 128) if rows.dtype == np.uint8 else (0, -int(np.iinfo(rows.dtype).min))
    return ((rows.astype(np.float64) - middle) / scale).astype(np.float32)
