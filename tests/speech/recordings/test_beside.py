"""Transcripts that lie beside recordings: read, or it is said what lies there and isn't read."""

import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pytest
import soundfile
from pyarrow import parquet

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


def test_a_zip_has_its_texts_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(save(tmp_path / "a.wav"), "f/a.wav")
        archive.write(tmp_path / "a.wav", "f/b.wav")
        archive.writestr("f/a.txt", "grüße\n")
    assert texts(path) == {"a.wav": "grüße", "b.wav": None}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("f/b.txt", "grüße".encode("cp1252"))
    with pytest.raises(UserError, match=r"b\.txt isn't UTF-8; save the file as UTF-8"):
        find_clips(path)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar", "a.7z"])
def test_an_archive_that_is_not_read_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
        archive.add(save(tmp_path / "a.wav"), "a.wav")
    with pytest.raises(UserError, match="is an archive; unpack it"):
        find_clips(path)


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "x.parquet"])
def test_a_pointer_in_place_of_a_table_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match=r"is a pointer of Git LFS, not .*git lfs pull"):
        find_clips(tmp_path / name)


def test_parquet_of_plain_bytes_and_of_files_beside_it_is_heard(tmp_path: Path) -> None:
    data = save(tmp_path / "a.wav").read_bytes()
    beside = [{"bytes": None, "path": "a.wav"}, {"bytes": None, "path": "gone.wav"}]
    for audio in ([data, data], beside):
        table = pyarrow.table({"audio": audio, "text": ["hi", "there"]})
        parquet.write_table(table, tmp_path / "x.parquet")
        recordings, skipped = read_clips(find_clips(tmp_path / "x.parquet"))
        assert recordings[0].seconds == 1
        assert len(recordings) + len(skipped) == 2
    assert "row 1 holds no recording: its file gone.wav isn't beside the table" in skipped[0][1]
