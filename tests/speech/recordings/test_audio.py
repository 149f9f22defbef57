"""Audio in: what a user's files decode to, and what is refused with a reason."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from myqasr.core.errors import AudioError, UserError
from myqasr.speech.audio import SAMPLE_RATE, audio_files, audio_seconds, load_audio
from myqasr.speech.datasets import find_clips
from tests.material.recordings import talk


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def loudest_hertz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(waveform))


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 2), (16_000, 1), (44_100, 1), (48_000, 6)])
def test_pitch_and_length_survive_any_format_rate_and_channel_count(
    tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    if suffix == "mp3":
        channels = min(channels, 2)
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.repeat(tone(rate)[:, None], channels, axis=1), rate)
    waveform = load_audio(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert abs(len(waveform) - SAMPLE_RATE) <= 0.12 * SAMPLE_RATE  # mp3 pads whole frames
    assert abs(loudest_hertz(waveform) - 440) < 2
    assert 0.4 < np.abs(waveform).max() < 0.6


def test_samples_of_a_16_khz_float_file_are_not_touched(tmp_path: Path) -> None:
    samples = tone(SAMPLE_RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav"), samples)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone(SAMPLE_RATE)
    soundfile.write(tmp_path / "a.wav", np.stack([left, 0 * left], 1), SAMPLE_RATE, "FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), left / 2, atol=1e-6)


def test_tones_above_8_khz_do_not_fold_down(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(48_000, hertz=11_000), 48_000, "FLOAT")
    assert np.abs(load_audio(tmp_path / "a.wav")[500:-500]).max() < 1e-3


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.full(16_000, np.nan), "NaN or infinite"),
        (np.r_[tone(16_000), np.inf], "NaN or infinite"),
        (np.zeros(16_000), "silent"),
        (np.full(16_000, 5e-5), "silent"),
        (np.zeros(0), "no samples"),
        (tone(16_000, 0.05), "0.050 s"),
    ],
)
def test_unusable_samples_are_refused_by_name_and_reason(
    tmp_path: Path, samples: np.ndarray, reason: str
) -> None:
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match=reason) as caught:
        load_audio(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_file_that_is_not_audio_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes.{suffix}"
    path.write_bytes(b"this is no audio at all, " * 100)
    with pytest.raises(UserError, match=f"notes.{suffix}: "):
        load_audio(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=f"notes.{suffix}: "):
        load_audio(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    for read in (load_audio, audio_seconds):
        with pytest.raises(UserError, match=r"gone.wav: there is no such file"):
            read(tmp_path / "gone.wav")


def test_length_comes_from_the_header(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(8_000, 1.5), 8_000)
    assert audio_seconds(tmp_path / "a.flac") == pytest.approx(1.5)


def test_audio_files_are_found_in_subfolders_in_a_fixed_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.WAV", "b/1.mp3", "a.ogg", "._a.ogg", "notes.txt"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in audio_files(tmp_path)]
    assert found == ["a.ogg", "b/1.mp3", "b/2.WAV"]


@pytest.mark.parametrize(
    ("name", "container", "kind"), [("call.wav", "WAV", "GSM610"), ("ldc.sph", "NIST", "PCM_16")]
)
def test_what_telephony_and_corpora_store_is_heard_whole_and_in_parts(
    tmp_path: Path, name: str, container: str, kind: str
) -> None:
    wave = talk(6.0)
    soundfile.write(tmp_path / name, wave, 16_000, format=container, subtype=kind)
    found = load_audio(tmp_path / name)
    assert abs(len(found) - len(wave)) < 700  # GSM stores blocks of 640
    assert np.corrcoef(found[: len(wave)], wave)[0, 1] > 0.9
    part = load_audio(tmp_path / name, window=(4.5, 1.0))
    assert np.corrcoef(part, wave[72_000:88_000])[0, 1] > 0.9
    assert [clip.path.name for clip in find_clips(tmp_path)] == [name]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS.*git lfs pull"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page, not the recording; fetch the file itself"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".m4a"])
def test_what_lies_there_instead_of_a_recording_is_said(
    tmp_path: Path, suffix: str, held: bytes, said: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(held)
    with pytest.raises(AudioError, match=said):
        load_audio(path)
