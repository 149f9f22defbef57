"""Data sets as people have them on their disks, and as the hub serves them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from myqasr.core.errors import UserError
from myqasr.speech.datasets import choose_clips, find_clips, read_clips
from tests.speech.recordings.test_datasets import record
from tests.speech.recordings.test_layouts import encoded
from tests.speech.recordings.test_tables import texts


@pytest.mark.parametrize(
    "metadata", ["a|Hello, there|hello there\nb|So|so\n", "name,where\n1,2\n", "x;y\n1;2\n"]
)
def test_a_folder_with_a_foreign_metadata_csv_can_be_listened_to(
    tmp_path: Path, metadata: str
) -> None:
    record(tmp_path / "wavs" / "a.wav", 2.0)
    record(tmp_path / "wavs" / "b.wav", 2.0)
    (tmp_path / "metadata.csv").write_text(metadata)
    assert len(choose_clips(find_clips(tmp_path), 5)[0]) == 2
    if "Hello" in metadata:
        assert texts(tmp_path) == ["hello there", "so"]
        return
    with pytest.raises(UserError, match=r"metadata\.csv has no column 'path' \(its header is"):
        read_clips(find_clips(tmp_path), need_text=True)


def test_libritts_texts_lie_beside(tmp_path: Path) -> None:
    record(tmp_path / "84" / "1" / "84_1_0.wav")
    (tmp_path / "84" / "1" / "84_1_0.normalized.txt").write_text("Go!")
    assert texts(tmp_path) == ["Go!"]


@pytest.mark.parametrize("above", [True, False])
def test_old_common_voice_names_no_suffix_and_may_lie_below(tmp_path: Path, above: bool) -> None:
    folder = tmp_path / "cv" / "en"
    record(tmp_path / "x.wav").rename(record(folder / "clips" / "a1.wav").with_suffix(".mp3"))
    (folder / "clips" / "a1.wav").unlink()
    (folder / "train.tsv").write_text("client_id\tpath\tsentence\nann\ta1\tHi there\n")
    (clip,) = find_clips(tmp_path if above else folder)
    assert (clip.path.name, clip.text, clip.language) == ("a1.mp3", "Hi there", "en")


@pytest.mark.parametrize("split", ["train", "test"])
def test_metadata_two_levels_down_and_splits_in_paths(tmp_path: Path, split: str) -> None:
    record(tmp_path / "deep" / "data" / split / "a.wav")
    (tmp_path / "deep" / "data" / split / "metadata.csv").write_text(
        "file_name,transcript\na.wav,hi\n"
    )
    record(tmp_path / "top" / "data" / split / "a.wav")
    (tmp_path / "top" / "metadata.csv").write_text(f"file_name,transcript\ndata/{split}/a.wav,hi\n")
    for name in ("deep", "top"):
        (clip,) = find_clips(tmp_path / name)
        assert (clip.text, clip.split) == ("hi", split)


def kaldi(folder: Path, place: str) -> None:
    for name, line in (
        ("wav.scp", f"rec1 {place}"),
        ("text", "u1 hello there\nu2 so on"),
        ("segments", "u1 rec1 0.0 0.5\nu2 rec1 0.5 1.5"),
        ("utt2spk", "u1 ann\nu2 ann"),
        ("spk2gender", "ann f"),
    ):
        (folder / name).write_text(line + "\n")


def test_a_kaldi_folder_gives_its_segments_and_pipes_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "audio" / "1.wav", 2.0)
    data = tmp_path / "data" / "train"
    data.mkdir(parents=True)
    kaldi(data, "audio/1.wav")
    found = find_clips(data)
    assert [(c.text, c.speaker, c.gender, c.window) for c in found] == [
        ("hello there", "ann", "F", (0.0, 0.5)),
        ("so on", "ann", "F", (0.5, 1.0)),
    ]
    assert [each.seconds for each in read_clips(found)[0]] == [0.5, 1.0]
    kaldi(data, "sph2pipe -f wav x.sph |")
    with pytest.raises(UserError, match=r"wav\.scp: rec1 is a program's output"):
        find_clips(data)


def test_stm_segments_are_read_and_those_that_are_not_scored_left_out(tmp_path: Path) -> None:
    record(tmp_path / "talk.wav", 3.0)
    (tmp_path / "talk.stm").write_text(
        ";; a comment\n"
        "talk 1 ann 0.00 1.00 <o,f0,female> hello there\n"
        "talk 1 ann 1.00 1.50 <o,f0,female> ignore_time_segment_in_scoring\n"
        "talk 1 ann 1.5 2.5 so on\n"
    )
    for source in (tmp_path, tmp_path / "talk.stm"):
        found = find_clips(source)
        assert [(c.text, c.window) for c in found] == [
            ("hello there", (0, 1)),
            ("so on", (1.5, 1)),
        ]
        assert len(read_clips(found)[0]) == 2


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_lhotse_cuts_give_text_and_window(tmp_path: Path, name: str) -> None:
    record(tmp_path / "a.wav", 2.0)
    sources = [{"type": "file", "channels": [0], "source": "a.wav"}]
    cuts = [
        {
            "id": f"c{start}",
            "start": start,
            "duration": 1.0,
            "supervisions": [{"text": text, "speaker": "ann", "gender": "F"}],
            "recording": {"id": "a", "sources": sources, "duration": 2.0},
        }
        for start, text in ((0.0, "hello"), (1.0, "there"))
    ]
    data = "\n".join(json.dumps(cut) for cut in cuts).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = find_clips(tmp_path / name)
    assert [(c.text, c.speaker, c.gender, c.window) for c in found] == [
        ("hello", "ann", "F", (0.0, 1.0)),
        ("there", "ann", "F", (1.0, 1.0)),
    ]


@pytest.mark.parametrize("place", ["data", "."])
def test_parquet_as_the_hub_serves_it_is_heard(tmp_path: Path, place: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {
            "audio": {"bytes": encoded(tmp_path, str(n), 0.1 + 0.1 * n), "path": f"{n}.wav"},
            "sentence": f"t{n}",
        }
        for n in range(5)
    ]
    (tmp_path / "set" / place).mkdir(parents=True, exist_ok=True)
    file = tmp_path / "set" / place / "test-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=2)
    for source in (tmp_path / "set", file):
        clips = find_clips(source)
        assert [(c.text, c.split) for c in clips] == [(f"t{n}", "test") for n in range(5)]
        for n, recording in enumerate(read_clips(clips)[0]):
            expected = 0.3 * np.sin(np.arange(16_000) * (0.1 + 0.1 * n))
            np.testing.assert_allclose(recording.waveform, expected, atol=1e-4)
    for content, reason in (
        (b"<!DOCTYPE html>", r"parquet is a web page"),
        (b"PAR1 and no more", r"parquet can't be read as a parquet table"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            find_clips(tmp_path / "set")
