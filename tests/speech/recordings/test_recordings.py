"""What phones, browsers and killed recorders leave is heard to its end, as FFmpeg hears it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.speech.audio import (
    SAMPLE_RATE,
    audio_files,
    audio_seconds,
    decode_audio,
    load_audio,
)
from tests.material.recordings import PHONES, by_ffmpeg, encode, talk

TALK = talk(5)


def alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of two waveforms of about the same length."""
    count = min(len(one), len(other))
    return float(np.corrcoef(one[:count], other[:count])[0, 1])


@pytest.mark.parametrize("name", PHONES)
def test_what_a_phone_records_is_heard(tmp_path: Path, name: str) -> None:
    container, codec, rate = PHONES[name]
    path = encode(tmp_path / name, TALK, container, codec, rate)
    heard, expected = load_audio(path), by_ffmpeg(path)
    assert audio_files(tmp_path) == (path,)
    assert abs(len(heard) - len(expected)) < 100
    assert alike(heard, expected) > 0.99
    assert audio_seconds(path) == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize("options", [{}, {"write_xing": "0"}])
def test_all_of_an_mp3_is_heard_also_one_without_a_length_and_two_joined(
    tmp_path: Path, options: dict[str, str]
) -> None:
    for seed, name in enumerate(("a.mp3", "b.mp3")):
        encode(tmp_path / name, talk(5, seed), "mp3", "libmp3lame", SAMPLE_RATE, options=options)
    joined = tmp_path / "both.mp3"
    joined.write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    for path, seconds in ((tmp_path / "a.mp3", 5), (joined, 10)):
        heard = load_audio(path)
        assert len(heard) == len(by_ffmpeg(path))
        assert len(heard) / SAMPLE_RATE == pytest.approx(seconds, abs=0.25)


@pytest.mark.parametrize("name", ["a.opus", "a.ogg"])
def test_joined_ogg_files_are_heard_to_the_end(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.opus":
        encode(path, TALK, "ogg", "libopus", 48_000)
    else:
        soundfile.write(path, TALK, SAMPLE_RATE)
    path.write_bytes(2 * path.read_bytes())
    assert len(load_audio(path)) / SAMPLE_RATE == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("total", [0, 16_000])
def test_a_flac_that_does_not_know_its_length_is_heard_to_the_end(
    tmp_path: Path, total: int
) -> None:
    path = encode(tmp_path / "a.flac", TALK, "flac", "flac")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = total.to_bytes(4, "big")
    path.write_bytes(data)
    np.testing.assert_allclose(load_audio(path), TALK, atol=1e-4)
    assert audio_seconds(path) == pytest.approx(5 if total == 0 else 1, abs=0.1)


@pytest.mark.parametrize("size", [0, 32_000, 0xFFFFFFFF])
def test_a_wav_whose_recorder_was_killed_is_heard_to_the_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, TALK, SAMPLE_RATE, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[40:44] = size.to_bytes(4, "little")
    path.write_bytes(data)
    np.testing.assert_allclose(load_audio(path), TALK, atol=1e-4)
    assert audio_seconds(path) == pytest.approx(5)


def test_what_follows_the_samples_of_a_wav_is_not_heard(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, TALK, SAMPLE_RATE, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + b"LIST" + (4_000).to_bytes(4, "little") + 4_000 * b"\x7f")
    assert len(load_audio(path)) == len(TALK)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a"])
def test_a_window_is_the_same_part_of_the_recording(tmp_path: Path, name: str) -> None:
    long = talk(40)
    path = tmp_path / name
    if name == "a.m4a":
        encode(path, long, "ipod", "aac", 48_000)
    elif name == "a.mp3":
        encode(path, long, "mp3", "libmp3lame", SAMPLE_RATE, options={"write_xing": "0"})
    else:
        soundfile.write(path, long, SAMPLE_RATE)
    whole = load_audio(path)
    for start, seconds in ((0.0, 2.0), (3.25, 1.5), (31.0, 2.5)):
        part = load_audio(path, window=(start, seconds))
        first = round(start * SAMPLE_RATE)
        expected = whole[first : first + round(seconds * SAMPLE_RATE)]
        assert len(part) == len(expected)
        np.testing.assert_allclose(part[200:-200], expected[200:-200], atol=1e-3)


def test_a_window_that_is_the_file_but_for_rounding_is_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", TALK[:-300], SAMPLE_RATE)
    whole = load_audio(tmp_path / "a.wav")
    for seconds in (4.98, 5.0):
        np.testing.assert_array_equal(load_audio(tmp_path / "a.wav", window=(0, seconds)), whole)
    assert len(load_audio(tmp_path / "a.wav", window=(0, 4.5))) == 4.5 * SAMPLE_RATE


@pytest.mark.parametrize("window", [(0.0, 5_000.0), (4.0, 2.0), (9.0, 1.0)])
def test_a_window_over_the_end_is_refused(tmp_path: Path, window: tuple[float, float]) -> None:
    soundfile.write(tmp_path / "a.wav", TALK, SAMPLE_RATE)
    with pytest.raises(UserError, match=r"a\.wav: .* s on are not in it"):
        load_audio(tmp_path / "a.wav", window=window)


@pytest.mark.parametrize("hiss", [0.0, 0.002])
def test_channels_that_cancel_out_are_heard_by_the_loudest_alone(
    tmp_path: Path, hiss: float
) -> None:
    noise = np.random.default_rng(1).standard_normal((len(TALK), 2)) * hiss
    both = np.stack([0.8 * TALK, -TALK], axis=1) + noise
    soundfile.write(tmp_path / "a.wav", both, SAMPLE_RATE, "FLOAT")
    encode(tmp_path / "a.opus", both.T.astype(np.float32), "ogg", "libopus", 48_000)
    for name in ("a.wav", "a.opus"):
        found = decode_audio(tmp_path / name)
        assert abs(alike(found.waveform, TALK)) > 0.95
        assert found.remark is not None
        assert "channel 2 of 2" in found.remark


def test_two_people_on_two_channels_are_both_heard(tmp_path: Path) -> None:
    other = talk(5, seed=3)
    soundfile.write(tmp_path / "a.wav", np.stack([TALK, other], axis=1), SAMPLE_RATE, "FLOAT")
    found = decode_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(found.waveform, (TALK + other) / 2, atol=1e-6)
    assert found.remark is None


def test_a_steady_voltage_is_silence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(SAMPLE_RATE, 0.3), SAMPLE_RATE, "FLOAT")
    with pytest.raises(UserError, match="silent"):
        load_audio(tmp_path / "a.wav")


def test_linked_folders_are_entered_hidden_ones_are_not_and_no_file_counts_twice(
    tmp_path: Path,
) -> None:
    elsewhere, folder = tmp_path / "disk", tmp_path / "set"
    for place in (elsewhere, folder / ".Trash-1000", folder / "a"):
        place.mkdir(parents=True)
        (place / "x.wav").touch()
    (folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    (folder / "again").symlink_to(elsewhere, target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    found = [path.relative_to(folder).as_posix() for path in audio_files(folder)]
    assert found == ["a/x.wav", "again/x.wav"]
