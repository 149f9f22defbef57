"""Tables as people and programs write them: read right, or refused with file, line and way out."""

import csv
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from myqasr.core.errors import UserError
from myqasr.speech.aside import left_aside
from myqasr.speech.datasets import (
    Clip,
    find_clips,
    read_clips,
)
from tests.speech.recordings.test_datasets import record
from tests.speech.recordings.test_layouts import arrow_table, encoded

NAN = float("nan")


def texts(source: Path) -> list[str | None]:
    return [clip.text for clip in find_clips(source)]


def windows(source: Path) -> list[tuple[float, float] | None]:
    return [clip.window for clip in find_clips(source)]


@pytest.mark.parametrize(
    ("name", "table", "refusal"),
    [
        (
            "m.csv",
            "path,text,speaker\na.wav,hello, world said ann,ann\n",
            r"m\.csv line 2 has 4 cells, its header names 3",
        ),
        ("m.csv", "path,text,speaker\nb.wav,hi,x\na.wav,hello\n", r"m\.csv line 3 has 2 cells"),
        ("m.csv", 'path,text\na.wav,"hello\nb.wav,there\n', r"m\.csv line 2: a quote that isn't"),
        ("m.csv", 'path,text\na.wav,"one" two\nb.wav,"x"\n', r"m\.csv line 2: a quote"),
        ("m.tsv", "path\ttext\na.wav\thello\tyou\n", r"m\.tsv line 2 has 3 cells"),
        ("m.csv", 'path,text\na.wav,"' + "x" * 200_000 + '"\n', r"m\.csv line 2: .*field limit"),
        ("m.csv", "path,text,text\na.wav,b,c\n", "two columns 'text'"),
        ("m.csv", "path,text,start_frame\na.wav,b,3\n", r"column 'start_frame' says which part"),
        ("m.csv", "path,text,start,end\na.wav,b,3,1\n", r"m\.csv line 2: -2 s from 3 s on is no"),
        (
            "m.csv",
            "wav,duration,start,stop,wrd\na.wav,3.0,0,16000,b\n",
            r"m\.csv line 2: 0 to 16000 is longer than the duration, 3 s; are start and end in samples",
        ),
        ("m.csv", "path,text,offset\na.wav,b,soon\n", r"line 2: 'offset' is 'soon', not a number"),
        ("m.csv", "path,text\na.wav,one\na.wav,two\n", r"gives a\.wav two texts, 'one' and 'two'"),
        ("m.csv", "", r"m\.csv is empty"),
    ],
)
def test_a_row_that_would_be_shifted_merged_or_dropped_is_refused(
    tmp_path: Path, name: str, table: str, refusal: str
) -> None:
    (tmp_path / name).write_text(table)
    with pytest.raises(UserError, match=refusal) as caught:
        find_clips(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("m.tsv", 'path\ttext\na.wav\t"so it goes\nb.wav\tand on\n'),
        ("m.tsv", 'path\ttext\tage\r\na.wav\t"so it goes\r\nb.wav\t"and on"\t\r\n'),
        ("m.csv", "sep=;\npath;text\na.wav;so it goes\nb.wav;and on\n"),
        ("m.csv", 'path;text\na.wav;"""so it goes"\nb.wav;and on\n'),
        ("m.csv", 'path, text\na.wav, """so it goes"\nb.wav, and on,\n'),
        ("m.csv", "Path,Transcript\na.wav,so it goes\nb.wav,and on\n"),
        ("m.csv", "Audio File|Sentence\na|so it goes\nb|and on\n"),
        ("m.csv", "wav,duration,wrd,spk_id\na.wav,0.5,so it goes,x\nb.wav,0.5,and on,y\n"),
        ("m.txt.csv", "filename\ttranscription\na.wav\tso it goes\nb.wav\tand on\n"),
        ("m.csv", "path,text\r\n.\\a.wav,so it goes\r\n.\\b.wav,and on"),
    ],
)
def test_columns_separators_and_quotes_are_read_as_they_are_written(
    tmp_path: Path, name: str, table: str
) -> None:
    for file in ("a.wav", "b.wav"):
        record(tmp_path / file)
    (tmp_path / name).write_text(table, newline="")
    found = find_clips(tmp_path / name)
    assert [clip.path.resolve() for clip in found] == [tmp_path / "a.wav", tmp_path / "b.wav"]
    assert [(clip.text or "").strip('"') for clip in found] == ["so it goes", "and on"]
    assert len(read_clips(found, need_text=True)[0]) == 2


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_whatever_the_csv_module_writes_is_read_back(tmp_path: Path, quoting: int) -> None:
    said = ['he said "go"', "a, b; c", "two\nlines", "Größe\u2028ende", " | ", "x\x0cy"]
    out = io.StringIO(newline="")
    rows = csv.writer(out, quoting=quoting)  # type: ignore[arg-type]
    rows.writerows([("path", "text"), *((f"{n}.wav", text) for n, text in enumerate(said))])
    (tmp_path / "m.csv").write_text(out.getvalue(), encoding="utf-8", newline="")
    assert texts(tmp_path / "m.csv") == [text.strip() for text in said]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("path,offset,duration,text\na.wav,0,0.5,x\na.wav,0.5,1,y\n", [(0, 0.5), (0.5, 1)]),
        ("path,start,end,text\na.wav,0,0.5,x\na.wav,0.5,1.5,y\n", [(0, 0.5), (0.5, 1)]),
        ("path,start_ms,end_ms,text\na.wav,0,500,x\na.wav,500,1500,y\n", [(0, 0.5), (0.5, 1)]),
        ("path,duration,text\na.wav,0.5,x\n", [(0, 0.5)]),
        ("path,start,end,duration,text\na.wav,0.5,1.5,2.0,x\n", [(0.5, 1)]),
        ("path,start,text\na.wav,,x\na.wav,1,y\n", [None, (1, float("inf"))]),
        ("path;begin;end;text\na.wav;0,5;1,5;x\n", [(0.5, 1)]),
        ("path,start,end,text\na.wav,00:00:00.5,0:01.5,x\n", [(0.5, 1)]),
    ],
)
def test_parts_of_files_in_a_table_are_heard_as_parts(
    tmp_path: Path, table: str, expected: list[tuple[float, float] | None]
) -> None:
    path = record(tmp_path / "a.wav", 2.0)
    whole = soundfile.read(path, dtype="float32")[0]
    (tmp_path / "m.csv").write_text(table)
    assert windows(tmp_path / "m.csv") == expected
    for recording in read_clips(find_clips(tmp_path / "m.csv"))[0]:
        start, length = recording.clip.window or (0, 2)
        last = 32_000 if length == float("inf") else round((start + length) * 16_000)
        np.testing.assert_array_equal(recording.waveform, whole[round(start * 16_000) : last])


def test_a_folder_whose_table_lists_parts_gives_the_parts(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 2.0)
    (tmp_path / "manifest.csv").write_text("path,start,end,text\na.wav,0,1,x\na.wav,1,2,y\n")
    assert [(clip.text, clip.window) for clip in find_clips(tmp_path)] == [
        ("x", (0, 1)),
        ("y", (1, 1)),
    ]


def test_nemo_reads_duration_seconds_from_the_beginning_without_an_offset(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 2.0)
    entries = [
        {"audio_filepath": "a.wav", "text": "one", "duration": 0.75},
        {"audio_filepath": "a.wav", "text": "two", "duration": 1.0, "offset": 0.75},
        {"audio_filepath": "a.wav", "text": "both", "duration": 2.0},
    ]
    for name, held in (
        ("lines.json", "\n".join(json.dumps(entry) for entry in entries)),
        ("array.json", json.dumps(entries, indent=1)),
    ):
        (tmp_path / name).write_text(held)
        recordings, _ = read_clips(find_clips(tmp_path / name))
        assert [recording.seconds for recording in recordings] == [0.75, 1.0, 2.0]


def test_a_window_costs_a_seek_not_a_decode_of_the_whole_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100 * 600)
    soundfile.write(tmp_path / "long.wav", noise, 44_100)
    lines = [
        {"audio_filepath": "long.wav", "text": f"t{n}", "duration": 3.0, "offset": 10.0 * n}
        for n in range(50)
    ]
    (tmp_path / "m.json").write_text("\n".join(json.dumps(line) for line in lines))
    clips = find_clips(tmp_path / "m.json")
    began = time.process_time()
    recordings, _ = read_clips(clips)
    assert len(recordings) == 50
    assert time.process_time() - began < 5  # the whole file takes more than a second each


@pytest.mark.parametrize("value", [NAN, None, "", "  "])
def test_what_is_no_text_is_not_a_word(tmp_path: Path, value: object) -> None:
    for name, key in (("nemo.json", "audio_filepath"), ("metadata.jsonl", "file_name")):
        (tmp_path / name).write_text(json.dumps({key: "a.wav", "text": value, "label": 3}))
    record(tmp_path / "a.wav")
    assert texts(tmp_path / "nemo.json") == [None]
    assert texts(tmp_path) == [None]
    pytest.importorskip("pyarrow")
    wave = encoded(tmp_path, "b", 0.2)
    arrow_table(
        tmp_path / "set", [{"audio": {"bytes": wave, "path": ""}, "text": value, "label": 3}], {}
    )
    assert texts(tmp_path / "set") == [None]


def test_a_number_is_a_text_and_a_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(
        '{"audio_filepath": "a.wav", "text": 0}\n{"audio_filepath": "b.wav", "text": 7.0}\n'
    )
    assert texts(tmp_path / "m.json") == ["0", "7"]
    (tmp_path / "m.json").write_text('{"audio_filepath": "a.wav", "text": ["so", "on"]}\n')
    with pytest.raises(
        UserError, match=r"m\.json line 1: 'text' is \[\"so\", \"on\"\], not a text"
    ):
        find_clips(tmp_path / "m.json")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis"])
def test_text_in_another_encoding_is_refused_by_line(tmp_path: Path, encoding: str) -> None:
    said = "日本" if encoding == "shift_jis" else "Grüße"
    table = f"path,text\na.wav,so\nb.wav,{said}\n".encode(encoding)
    (tmp_path / "m.csv").write_bytes(table)
    with pytest.raises(UserError, match=r"m\.csv line 3 isn't UTF-8; save the file as UTF-8"):
        find_clips(tmp_path / "m.csv")
    record(tmp_path / "set" / "a.wav")
    (tmp_path / "set" / "a.txt").write_bytes(said.encode(encoding))
    (clip,) = find_clips(tmp_path / "set")  # whoever needs no text isn't kept from the recording
    assert clip.text is None
    with pytest.raises(UserError, match=r"a\.txt line 1 isn't UTF-8"):
        read_clips([clip], need_text=True)


def test_utf_16_as_spreadsheets_save_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path\ttext\na.wav\tGrüße\n", encoding="utf-16")
    assert texts(tmp_path / "m.csv") == ["Grüße"]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_line_feeds_end_lines(tmp_path: Path, mark: str) -> None:
    entry = json.dumps({"audio_filepath": "a.wav", "text": f"one{mark}two"}, ensure_ascii=False)
    (tmp_path / "nemo.json").write_text(entry + "\n", encoding="utf-8")
    row = f"7\t1.wav\tx\tone{mark}two\tg\t8000\tFEMALE\n"
    folder = tmp_path / "de_de"
    record(folder / "audio" / "dev" / "1.wav")
    (folder / "dev.tsv").write_text(row, encoding="utf-8", newline="")
    assert texts(tmp_path / "nemo.json") == texts(folder) == [f"one{mark}two"]


def test_what_lies_there_and_is_not_taken_is_counted_and_named(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.m4a"):
        record(tmp_path / "x.wav").rename(tmp_path / name)
    (tmp_path / "notes.docx").touch()
    (tmp_path / "raw.pcm").touch()
    (tmp_path / "metadata.csv").write_text("file_name,text,age\na.wav,hi,9\n")
    found = left_aside([tmp_path], find_clips(tmp_path))
    assert [reason for _, reason in found] == [
        "files that aren't audio by their names: 1 .docx, 1 .pcm",
        "2 recordings that its tables don't list: b.wav, c.m4a",
    ]
    (tmp_path / "m.csv").write_text("path,text,age,channel\na.wav,hi,9,2\n")
    assert left_aside([tmp_path / "m.csv"], find_clips(tmp_path / "m.csv"))[0][1] == (
        "columns that aren't read: age, channel"
    )


def test_a_file_by_two_paths_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text("path,text\na.wav,hi\n")
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    monkeypatch.chdir(tmp_path)
    sources = [Path("a.wav"), tmp_path / "a.wav", tmp_path / "link.wav", Path("m.csv")]
    assert find_clips(sources) == (Clip(Path("a.wav"), text="hi"),)
