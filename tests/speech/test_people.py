"""The embedded people are what their manifest says: the demo and the README's claims rest on them."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import soundfile

from myqasr.speech.models import PEOPLE, embedded_users
from tools.people import HEADER, LONGEST_SECONDS, make_people

MOST_BYTES = 3_000_000
LEAST_TEST_WORDS = 150


def manifest() -> list[dict[str, str]]:
    with (PEOPLE / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_clip_plays_with_the_length_that_the_manifest_says_and_none_lies_beside_it():
    rows = manifest()
    assert tuple(rows[0]) == HEADER
    for row in rows:
        info = soundfile.info(PEOPLE / row["path"])
        assert info.duration == pytest.approx(float(row["seconds"]), abs=0.1), row["path"]
        assert info.duration <= LONGEST_SECONDS + 0.1
    found = {path.relative_to(PEOPLE).as_posix() for path in PEOPLE.rglob("*.mp3")}
    assert found == {row["path"] for row in rows}
    assert sum(path.stat().st_size for path in PEOPLE.rglob("*") if path.is_file()) <= MOST_BYTES


def test_each_person_has_enough_words_to_score_and_none_that_was_tuned_on():
    words: dict[str, int] = defaultdict(int)
    texts = Counter(row["text"] for row in manifest())
    for row in manifest():
        assert texts[row["text"]] == 1, row["path"]
        words[row["speaker"]] += len(row["text"].split()) if row["split"] == "test" else 0
    assert len(words) == 4
    assert min(words.values()) >= LEAST_TEST_WORDS


def test_there_are_two_women_and_two_men_and_the_demo_finds_them_all():
    genders = {row["speaker"]: row["gender"] for row in manifest()}
    assert Counter(genders.values()) == {"F": 2, "M": 2}
    assert set(genders) <= set(embedded_users())


def test_a_speech_folder_with_too_few_clips_of_a_person_is_refused(tmp_path: Path):
    for name in ("manifest.csv", "manifest_more.csv"):
        (tmp_path / name).write_text("path,speaker,gender,age_group,split,seconds,text\n")
    with pytest.raises(SystemExit, match="only 0 short clips of libri-1272"):
        make_people(tmp_path, tmp_path / "people")
