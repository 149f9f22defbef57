"""Public data sets as they unpack: who speaks, what, and which part of the set it is."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from myqasr.core.errors import UserError
from myqasr.speech.datasets import Clip, Selection, choose_clips, find_clips, read_clips
from myqasr.speech.manifests import gender_of
from tests.speech.recordings.test_datasets import record


def speech_commands(folder: Path) -> None:
    for word, name in (("yes", "0a_nohash_0"), ("yes", "0b_nohash_0"), ("no", "0a_nohash_1")):
        record(folder / word / f"{name}.wav")
    record(folder / "_background_noise_" / "pink_nohash_0.wav")
    (folder / "testing_list.txt").write_text("no/0a_nohash_1.wav\r\n")
    (folder / "validation_list.txt").write_text("yes/0b_nohash_0.wav\n")


def test_speech_commands_take_the_word_from_the_folder_and_the_split_from_the_lists(
    tmp_path: Path,
) -> None:
    speech_commands(tmp_path)
    clips = find_clips(tmp_path)
    assert [(c.text, c.speaker, c.split) for c in clips] == [
        ("no", "0a", "test"),
        ("yes", "0a", "train"),
        ("yes", "0b", "dev"),
    ]


def common_voice(folder: Path) -> None:
    header = "client_id\tpath\tsentence\tup_votes\tage\tgender\tlocale\n"
    record(folder / "clips" / "a.wav")
    record(folder / "clips" / "b.wav")
    (folder / "train.tsv").write_text(
        f'\ufeff{header}ann\ta.wav\tShe said "go\t2\t\tfemale_feminine\ten\n', encoding="utf-8"
    )
    (folder / "test.tsv").write_text(
        f"{header}bob\tb.wav\t\t2\t\tmale_masculine\ten\r\nbob\tgone.wav\tHi\t2\t\t\t\r\n"
    )
    (folder / "validated.tsv").write_text(f"{header}eve\te.wav\tNo\t2\t\t\ten\n")


def test_common_voice_gives_speaker_gender_language_and_split(tmp_path: Path) -> None:
    folder = tmp_path / "en"
    common_voice(folder)
    first, second, missing = find_clips(folder)
    assert first == Clip(
        folder / "clips" / "a.wav", "ann", 'She said "go', "train", None, "F", "en"
    )
    assert (second.text, second.gender, second.split) == (None, "M", "test")
    assert missing.language == "en"  # from the folder
    recordings, skipped = read_clips([first, second, missing])
    assert len(recordings) == 2
    assert skipped[0][0].name == "gone.wav"


def test_common_voice_without_splits_takes_what_was_validated(tmp_path: Path) -> None:
    common_voice(tmp_path / "cy")
    (tmp_path / "cy" / "train.tsv").unlink()
    (tmp_path / "cy" / "test.tsv").unlink()
    (clip,) = find_clips(tmp_path / "cy")
    assert (clip.speaker, clip.split) == ("eve", None)


def test_common_voice_table_of_another_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "train.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(UserError, match=r"train\.tsv has no column 'client_id'"):
        find_clips(tmp_path)


def test_fleurs_gives_the_normalised_text_of_every_split(tmp_path: Path) -> None:
    folder = tmp_path / "de_de"
    record(folder / "audio" / "dev" / "1.wav")
    (folder / "dev.tsv").write_text("7\t1.wav\tGuten Tag!\tguten tag\tg u\t8000\tFEMALE\n")
    assert find_clips(folder) == (
        Clip(folder / "audio" / "dev" / "1.wav", None, "guten tag", "dev", None, "F", "de"),
    )
    (folder / "dev.tsv").write_text("7\t1.wav\n")
    with pytest.raises(UserError, match=r"dev\.tsv line 1 has 2 columns"):
        find_clips(folder)


def test_vctk_takes_one_microphone_and_the_text_from_beside(tmp_path: Path) -> None:
    for name in ("p225/p225_001_mic1", "p225/p225_001_mic2", "p226/p226_001_mic1"):
        record(tmp_path / "wav48_silence_trimmed" / f"{name}.flac")
    (tmp_path / "txt" / "p225").mkdir(parents=True)
    (tmp_path / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.\n")
    (tmp_path / "speaker-info.txt").write_text(
        "ID  AGE  GENDER  ACCENTS\np225  23  F    English\n226  22  M    English\n"
    )
    first, second = find_clips(tmp_path)
    assert (first.speaker, first.gender, first.text) == ("p225", "F", "Please call Stella.")
    assert (second.speaker, second.gender, second.text) == ("p226", "M", None)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_hugging_face_audiofolder_is_read_with_its_metadata(kind: str, tmp_path: Path) -> None:
    record(tmp_path / "train" / "1.wav")
    if kind == "csv":
        text = 'file_name,transcription,speaker_id,gender\n1.wav,"yes, go",9,male\n'
    else:
        entry = {"file_name": "1.wav", "text": "yes, go", "speaker": 9, "gender": "m"}
        text = json.dumps(entry) + "\n\n"
    (tmp_path / "train" / f"metadata.{kind}").write_text(text)
    assert find_clips(tmp_path) == (
        Clip(tmp_path / "train" / "1.wav", "9", "yes, go", "train", None, "M"),
    )


def test_librispeech_genders_come_from_its_speaker_table(tmp_path: Path) -> None:
    for speaker in ("84", "174"):
        folder = tmp_path / "dev-clean" / speaker / "1"
        record(folder / f"{speaker}-1-0000.flac")
        (folder / f"{speaker}-1.trans.txt").write_text(f"{speaker}-1-0000 GO\n")
    (tmp_path / "SPEAKERS.TXT").write_text(
        ";ID  |SEX| SUBSET\n84   | F | dev-clean | 8.02 | Christie\n174 | M | dev-clean | 8 | X\n"
    )
    clips = find_clips(tmp_path / "dev-clean", Selection(gender="F"))
    assert [(clip.speaker, clip.text, clip.gender) for clip in clips] == [("84", "GO", "F")]


def test_a_csv_manifest_may_say_gender_and_language(tmp_path: Path) -> None:
    record(tmp_path / "1.wav")
    record(tmp_path / "2.wav")
    (tmp_path / "manifest.csv").write_text(
        "path,speaker,gender,language\n1.wav,ann,female,en\n2.wav,bob,,\n"
    )
    assert [clip.path.name for clip in find_clips(tmp_path, Selection(gender="F"))] == ["1.wav"]
    # Who doesn't say isn't taken.
    with pytest.raises(
        UserError, match=r"no recordings of gender M .*speakers: ann, bob; genders: F"
    ):
        find_clips(tmp_path, Selection(gender="M"))
    assert len(find_clips(tmp_path, Selection(("ann", "bob")))) == 2
    assert len(find_clips(tmp_path, Selection(("ann", "bob"), language="en"))) == 1


def test_what_data_sets_write_for_gender() -> None:
    female = ("F", "f", "female", "FEMALE", "female_feminine", " Female ")
    assert [gender_of(text) for text in female] == ["F"] * 6
    assert [gender_of(text) for text in ("M", "male_masculine", "MALE")] == ["M"] * 3
    assert [gender_of(text) for text in ("", None, "other", "do_not_wish_to_say")] == [None] * 4


def arrow_table(folder: Path, rows: list[dict], features: dict) -> None:
    """A folder as `datasets.Dataset.save_to_disk` leaves it."""
    pyarrow = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(rows)
    name = "data-00000-of-00001.arrow"
    with (
        pyarrow.OSFile(str(folder / name), "wb") as file,
        pyarrow.ipc.new_stream(file, table.schema) as writer,
    ):
        writer.write_table(table)
    state = {"_data_files": [{"filename": name}], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


def encoded(folder: Path, name: str, frequency: float) -> bytes:
    path = folder / f"{name}.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(16_000) * frequency), 16_000)
    data = path.read_bytes()
    path.unlink()
    return data


def test_recordings_inside_arrow_tables_are_heard_with_their_speaker_and_label(
    tmp_path: Path,
) -> None:
    waves = [encoded(tmp_path, str(index), 0.1 + 0.1 * index) for index in range(3)]
    rows = [
        {
            "audio": {"bytes": wave, "path": None},
            "speaker_id": f"s{index}",
            "gender": "female",
            "label": index % 2,
        }
        for index, wave in enumerate(waves)
    ]
    labels = {"label": {"names": ["yes", "no"], "_type": "ClassLabel"}}
    arrow_table(tmp_path / "set" / "train", rows[:2], labels)
    arrow_table(tmp_path / "set" / "test", rows[2:], labels)
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    clips = find_clips(tmp_path / "set")
    assert [(c.speaker, c.text, c.split, c.gender) for c in clips] == [
        ("s0", "yes", "train", "F"),
        ("s1", "no", "train", "F"),
        ("s2", "yes", "test", "F"),
    ]
    recordings, skipped = read_clips(clips)
    assert not skipped
    for index, recording in enumerate(recordings):
        expected = 0.3 * np.sin(np.arange(16_000) * (0.1 + 0.1 * index))
        np.testing.assert_allclose(recording.waveform, expected, atol=1e-4)
    chosen, _ = choose_clips(find_clips(tmp_path / "set" / "test"), 4)
    assert len(chosen) == 1


def test_a_row_without_a_recording_is_skipped_and_named(tmp_path: Path) -> None:
    wave = encoded(tmp_path, "a", 0.1)
    rows = [{"audio": {"bytes": data, "path": "x.wav"}, "text": "a"} for data in (wave, None)]
    arrow_table(tmp_path / "set", rows, {})
    recordings, skipped = read_clips(find_clips(tmp_path / "set"))
    assert len(recordings) == 1
    assert "row 1 holds no recording" in skipped[0][1]


def test_a_table_cut_short_by_a_full_disk_is_named(tmp_path: Path) -> None:
    arrow_table(tmp_path / "set", [{"audio": {"bytes": b"x", "path": ""}, "text": "a"}], {})
    path = tmp_path / "set" / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"data-00000-of-00001\.arrow can't be read"):
        find_clips(tmp_path / "set")
