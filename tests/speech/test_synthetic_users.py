"""The embedded users are what their manifest says: the demo and the benchmarks rest on it."""

import csv
import random
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from tools.training.make_synthetic_users import HEADER, LONGEST_SECONDS, SHORTEST_SECONDS
from tools.training.sentence_grammar import ALL_WORDS
from tools.training.synthetic_speech import (
    USERS,
    check_engines,
    check_voices_are_apart,
    training_voice,
)

FOLDER = Path(__file__).parents[2] / "speech" / "default_users"
USER_COUNT_FLOOR = 6
SIZE_LIMIT_BYTES = 5_000_000


def manifest() -> list[dict[str, str]]:
    with (FOLDER / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_clip_of_the_manifest_plays_at_16_khz_mono_with_the_stated_length() -> None:
    for row in manifest():
        info = soundfile.info(FOLDER / row["path"])
        assert (info.samplerate, info.channels) == (16_000, 1), row["path"]
        assert info.frames / info.samplerate == pytest.approx(float(row["seconds"]), abs=0.002)
        assert SHORTEST_SECONDS <= float(row["seconds"]) <= LONGEST_SECONDS, row["path"]


def test_no_clip_lies_in_the_folder_without_a_line_in_the_manifest() -> None:
    listed = {row["path"] for row in manifest()}
    found = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.ogg")}
    assert found == listed


def test_manifest_has_exactly_the_columns_that_readers_of_it_expect() -> None:
    first_line = (FOLDER / "manifest.csv").read_text(encoding="utf-8").splitlines()[0]
    assert first_line == ",".join(HEADER) == "path,speaker,gender,age_group,split,seconds,text"


def test_tuning_never_sees_a_text_that_is_scored() -> None:
    texts = Counter(row["text"] for row in manifest())
    assert [text for text, count in texts.items() if count > 1] == []


def test_every_text_is_upper_case_words_of_our_own_vocabulary() -> None:
    strangers = {word for row in manifest() for word in row["text"].split()} - set(ALL_WORDS)
    assert strangers == set()


def test_there_are_six_users_or_more_of_both_genders_with_enough_clips() -> None:
    rows = manifest()
    speakers = {row["speaker"]: row["gender"] for row in rows}
    assert speakers == {user.speaker: user.gender for user in USERS}
    assert len(speakers) >= USER_COUNT_FLOOR
    assert min(Counter(speakers.values())[gender] for gender in "FM") >= 3
    clips = Counter((row["speaker"], row["split"]) for row in rows)
    for speaker in speakers:
        assert clips[speaker, "tune"] == 16, speaker
        assert clips[speaker, "test"] == 24, speaker


def test_the_users_fit_into_the_repository() -> None:
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) <= SIZE_LIMIT_BYTES


def test_no_user_speaks_with_a_voice_that_the_default_model_was_trained_on() -> None:
    check_voices_are_apart()
    rng = random.Random(0)
    heard = {training_voice(rng).name.rpartition("+")[2] for _ in range(2000)}
    assert heard.isdisjoint(user.voice.name.rpartition("+")[2] for user in USERS)


def test_a_missing_synthesiser_is_named_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="espeak-ng, flite; install with `apt-get install"):
        check_engines()
