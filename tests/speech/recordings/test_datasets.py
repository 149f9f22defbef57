"""Finding and reading a user's recordings, with their transcripts and speakers."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from myqasr.core.errors import UserError
from myqasr.speech.datasets import Clip, Selection, audio_hash, choose_clips, find_clips, read_clips


def record(path: Path, seconds: float = 0.5, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(16_000 * seconds))
    soundfile.write(path, noise, 16_000)
    return path


def test_a_folder_gives_its_audio_with_texts_beside_it(tmp_path: Path) -> None:
    record(tmp_path / "b" / "2.wav")
    record(tmp_path / "a.flac")
    (tmp_path / "a.txt").write_text(" hello there \n")
    assert find_clips(tmp_path) == (
        Clip(tmp_path / "a.flac", text="hello there"),
        Clip(tmp_path / "b" / "2.wav"),
    )


def test_one_file_is_one_clip(tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("hello")
    assert find_clips(path) == (Clip(path, text="hello"),)


def test_several_sources_are_joined_without_repeats(tmp_path: Path) -> None:
    first, second = record(tmp_path / "a" / "1.wav"), record(tmp_path / "b" / "1.wav")
    found = find_clips([second, tmp_path / "a", first])
    assert [clip.path for clip in found] == [second, first]


def test_a_zip_of_recordings_is_read_in_place(tmp_path: Path) -> None:
    names = ("recordings/recording-0002.wav", "recordings/recording-0001.wav")
    shared = tmp_path / "recordings.zip"
    with zipfile.ZipFile(shared, "w") as archive:
        for seed, name in enumerate(names):
            archive.write(record(tmp_path / f"{seed}.wav", seed=seed), name)
        archive.writestr("__MACOSX/recordings/._recording-0001.wav", b"not audio")
        archive.writestr("recordings/notes.txt", "nothing that anybody reads")
    recordings, skipped = choose_clips(find_clips(shared), 12)
    assert [recording.clip.path for recording in recordings] == [
        shared / names[1],
        shared / names[0],
    ]
    plain, _ = read_clips(find_clips([tmp_path / "1.wav", tmp_path / "0.wav"]))
    assert audio_hash(recordings) == audio_hash(plain)
    assert skipped == [] and [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_damaged_zip_is_named_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK and nothing more")
    with pytest.raises(UserError, match=r"broken\.zip can't be read as a zip file"):
        find_clips(broken)
    sound = record(tmp_path / "1.wav")
    with zipfile.ZipFile(broken, "w") as archive:
        archive.write(sound, "1.wav")
    data = bytearray(broken.read_bytes())
    data[500] ^= 255  # within the sound: its checksum is wrong
    broken.write_bytes(data)
    with pytest.raises(UserError, match=r"broken\.zip/1\.wav: can't be unpacked \(Bad CRC"):
        read_clips(find_clips(broken))


def test_a_list_file_keeps_its_order_and_comments_are_skipped(tmp_path: Path) -> None:
    absolute = record(tmp_path / "x" / "1.wav")
    record(tmp_path / "2.wav")
    listing = tmp_path / "clips.txt"
    listing.write_text(f"# mine\n2.wav\n\n{absolute}\n")
    assert [clip.path for clip in find_clips(listing)] == [tmp_path / "2.wav", absolute]
    listing.write_text("prose instead of paths\n")
    with pytest.raises(UserError, match=r"clips.txt lists 'prose instead of paths'"):
        find_clips(listing)


def test_a_librispeech_tree_gives_text_and_speaker(tmp_path: Path) -> None:
    for stem in ("84-121123-0000", "84-121123-0001"):
        record(tmp_path / "84" / "121123" / f"{stem}.flac")
    (tmp_path / "84" / "121123" / "84-121123.trans.txt").write_text(
        "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS\n"
    )
    clips = find_clips(tmp_path)
    assert [clip.text for clip in clips] == ["GO DO YOU HEAR", "BUT IN LESS"]
    assert {clip.speaker for clip in clips} == {"84"}


def manifest_of_two(folder: Path) -> Path:
    record(folder / "ann" / "test" / "1.wav")
    record(folder / "ann" / "tune" / "2.wav")
    manifest = folder / "manifest.csv"
    manifest.write_text(
        "\ufeffpath,speaker,age,split,text\n"
        'ann/test/1.wav,ann,9,test,"WELL, YES"\n'
        "ann/tune/2.wav,ann,9,tune,\n",
        encoding="utf-8",
    )
    return manifest


def test_a_csv_manifest_gives_text_speaker_and_split(tmp_path: Path) -> None:
    manifest = manifest_of_two(tmp_path)
    first = Clip(tmp_path / "ann/test/1.wav", "ann", "WELL, YES", "test")
    second = Clip(tmp_path / "ann/tune/2.wav", "ann", None, "tune")
    assert find_clips(manifest) == (first, second)
    assert find_clips(tmp_path) == (first, second)
    assert find_clips(tmp_path, Selection(split="tune")) == (second,)
    with pytest.raises(UserError, match=r"split dev .*splits: test, tune"):
        find_clips(tmp_path, Selection(split="dev"))


def test_a_manifest_further_up_labels_a_folder_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest_of_two(tmp_path)
    assert find_clips(tmp_path / "ann" / "test")[0].text == "WELL, YES"
    (tmp_path / "ann" / "manifest.csv").write_text("some,other,format\n1,2,3\n")
    monkeypatch.chdir(tmp_path / "ann" / "tune")
    assert find_clips(Path("../test"))[0].speaker == "ann"


def test_a_manifest_without_a_path_column_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("voice,sentence\na.wav,hello\n")
    with pytest.raises(UserError, match=r"m.csv has no column 'path' \(its header is: voice, sent"):
        find_clips(tmp_path / "m.csv")


def test_a_nemo_manifest_gives_text_and_cuts_at_offsets(tmp_path: Path) -> None:
    path = record(tmp_path / "long.wav", seconds=2.0)
    lines = [
        {"audio_filepath": "long.wav", "text": "all", "duration": 2.0, "speaker": 7},
        {"audio_filepath": str(path), "text": "part", "duration": 0.5, "offset": 1.0},
        {"audio_filepath": str(path), "text": "beyond", "duration": 0.5, "offset": 9.0},
    ]
    manifest = tmp_path / "nemo.json"
    manifest.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    clips = find_clips(manifest)
    assert [(clip.text, clip.speaker) for clip in clips[:2]] == [("all", "7"), ("part", None)]
    recordings, skipped = read_clips(clips)
    assert [recording.seconds for recording in recordings] == [2.0, 0.5]
    np.testing.assert_array_equal(recordings[1].waveform, recordings[0].waveform[16_000:24_000])
    assert [reason for _, reason in skipped] == [
        "0.5 s from 9 s on are not in it, 0.50 s lack; is its table of another recording, or in "
        "milliseconds?"
    ]


@pytest.mark.parametrize("line", ["{not json", '{"text": "no path"}', "[1]", '{"offset": 1}'])
def test_a_broken_nemo_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "nemo.jsonl").write_text(f'{{"audio_filepath": "a.wav"}}\n{line}\n')
    with pytest.raises(UserError, match=r"nemo.jsonl line 2"):
        find_clips(tmp_path / "nemo.jsonl")


def test_no_audio_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no recordings in .*; looked for audio files .*\.wav"):
        find_clips(tmp_path)
    with pytest.raises(UserError, match="gone does not exist"):
        find_clips(tmp_path / "gone")
    (tmp_path / "model.bin").touch()
    with pytest.raises(UserError, match=r"model.bin is none of: audio files"):
        find_clips(tmp_path / "model.bin")


def test_one_corrupt_file_among_good_ones_is_skipped_and_named(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", seconds=2.0)
    (tmp_path / "b.wav").write_bytes(b"RIFF broken")
    soundfile.write(tmp_path / "c.wav", np.zeros(32_000), 16_000)
    for read in (read_clips, lambda clips: choose_clips(clips, 3)):
        recordings, skipped = read(find_clips(tmp_path))
        assert [recording.clip.path.name for recording in recordings] == ["a.wav"]
        assert {path.name for path, _ in skipped} == {"b.wav", "c.wav"}
        assert "silent" in dict(skipped)[tmp_path / "c.wav"]


def test_only_corrupt_files_is_an_error_that_names_them(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF broken")
    for read in (read_clips, lambda clips: choose_clips(clips, 3)):
        with pytest.raises(UserError, match=r"none of 4 recordings.*a.wav.*and 1 more"):
            read(find_clips(tmp_path))


def test_scoring_without_transcripts_skips_and_says_so(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    record(tmp_path / "b.wav")
    (tmp_path / "b.txt").write_text("words")
    recordings, skipped = read_clips(find_clips(tmp_path), need_text=True)
    assert [recording.clip.text for recording in recordings] == ["words"]
    assert skipped == [(tmp_path / "a.wav", "no transcript in a manifest.csv, .trans.txt or .txt")]


def test_chosen_clips_spread_over_all_and_leave_out_extremes(tmp_path: Path) -> None:
    lengths = [0.5, 2, 2, 2, 13, 2, 2, 2, 0.5, 2]
    for index, seconds in enumerate(lengths):
        record(tmp_path / f"{index}.wav", seconds, seed=index)
    clips = find_clips(tmp_path)
    recordings, _ = choose_clips(clips, 3)
    names = [recording.clip.path.name for recording in recordings]
    assert names == ["2.wav", "5.wav", "7.wav"]
    assert len(choose_clips(clips, 8)[0]) == 8
    everything, _ = choose_clips(clips, 99)
    assert [recording.clip for recording in everything] == list(clips)


def test_a_corrupt_choice_is_replaced_by_another_clip(tmp_path: Path) -> None:
    for index in range(5):
        record(tmp_path / f"{index}.wav", 2.0)
    soundfile.write(tmp_path / "2.wav", np.full(32_000, np.nan), 16_000, subtype="FLOAT")
    recordings, skipped = choose_clips(find_clips(tmp_path), 3)
    assert len(recordings) == 3
    assert [path.name for path, _ in skipped] == ["2.wav"]


def test_asking_for_no_clips_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    with pytest.raises(UserError, match="can't choose 0 clips"):
        choose_clips(find_clips(tmp_path), 0)


def test_audio_hash_depends_on_samples_only(tmp_path: Path) -> None:
    for index in range(3):
        record(tmp_path / f"{index}.wav", seed=index)
    recordings, _ = read_clips(find_clips(tmp_path))
    samples, rate = soundfile.read(tmp_path / "0.wav", dtype="int16")
    (tmp_path / "copy").mkdir()
    soundfile.write(tmp_path / "copy" / "renamed.flac", samples, rate)
    renamed, _ = read_clips(find_clips(tmp_path / "copy"))
    assert audio_hash(recordings) == audio_hash(recordings[::-1])
    assert audio_hash(recordings[:1]) == audio_hash(renamed)
    assert audio_hash(recordings[:2]) != audio_hash(recordings)
