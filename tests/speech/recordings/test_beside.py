"""Transcripts that lie beside recordings: read, or it is said what lies there and isn't read."""

import json
from pathlib import Path

import pytest
import soundfile

from myqasr.core.errors import UserError
from myqasr.speech.aside import left_aside
from myqasr.speech.datasets import find_clips, read_clips
from tests.material.recordings import talk


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, talk(1.0), 16_000)
    return path


def texts(folder: Path) -> dict[str, str | None]:
    return {clip.path.name: clip.text for clip in find_clips(folder)}


@pytest.mark.parametrize("name", ["A.txt", "A.TXT", "A.Lab", "A.normalized.TXT"])
def test_a_suffix_in_capitals_is_a_suffix(tmp_path: Path, name: str) -> None:
    save(tmp_path / "A.WAV")
    (tmp_path / name).write_text("hello there")
    assert texts(tmp_path) == {"A.WAV": "hello there"}


def test_timits_sample_numbers_are_no_words(tmp_path: Path) -> None:
    folder = tmp_path / "TRAIN" / "DR1" / "FCJF0"
    save(folder / "SA1.WAV")
    (folder / "SA1.TXT").write_text("0 46797 She had your dark suit.\n")
    assert texts(tmp_path) == {"SA1.WAV": "0 46797 She had your dark suit."}  # who would know?
    (folder / "SA1.PHN").write_text("0 3050 h#\n")
    assert texts(tmp_path) == {"SA1.WAV": "She had your dark suit."}


def test_multilingual_librispeech_is_read_as_it_unpacks(tmp_path: Path) -> None:
    split = tmp_path / "mls_german" / "test"
    save(split / "audio" / "12" / "345" / "12_345_000001.flac")
    (split / "transcripts.txt").write_text(
        "12_345_000001\tguten tag\n12_345_000002\tist nicht da\n"
    )
    for asked in (split, split.parent):
        found = find_clips(asked)
        assert [(each.speaker, each.text, each.split) for each in found] == [
            ("12", "guten tag", "test"), ("12", "ist nicht da", "test"),
        ]  # fmt: skip
        recordings, skipped = read_clips(found, need_text=True)
        assert len(recordings) == 1
        assert "there is no such file" in skipped[0][1]
    (split / "transcripts.txt").write_text("12_345_000001 guten tag\n")
    with pytest.raises(UserError, match=r"transcripts\.txt line 1 has no tab"):
        find_clips(split)


UNREAD = {
    "subtitles": ("a.srt", "1\n00:00 --> 00:01\nhi\n", r"a\.srt isn't read; write its text to a\.txt"),
    "Praat": ("a.TextGrid", "File type", r"a\.TextGrid isn't read; write its text to a\.txt"),
    "of another machine": (
        "m.csv", "path,text\n/data/1/a.wav,hi\n", r"m\.csv lists other files \(/data/1/a\.wav, \.\.\.\)",
    ),
    "without its text": (
        "m.jsonl", json.dumps({"audio": {"path": "a.wav"}, "sentences": []}), r"m\.jsonl has no text for it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREAD)
def test_what_lies_there_and_is_not_read_is_named(tmp_path: Path, kind: str) -> None:
    name, content, said = UNREAD[kind]
    save(tmp_path / "a.wav")
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        read_clips(find_clips(tmp_path), need_text=True)


def test_kaldis_own_tables_are_not_among_what_was_left(tmp_path: Path) -> None:
    save(tmp_path / "a.wav")
    for name, content in {"wav.scp": "u1 a.wav", "text": "u1 hi", "utt2spk": "u1 ann"}.items():
        (tmp_path / name).write_text(content + "\n")
    assert texts(tmp_path) == {"a.wav": "hi"}
    assert left_aside([tmp_path], find_clips(tmp_path)) == []
