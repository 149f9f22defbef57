"""Taking turns, going on after a kill, and the table: what the comparison with rivals rests on."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers.clips import Speaker
from benchmarks.peers.clips import TestClip as Clip
from benchmarks.peers.files import files_for, our_systems
from benchmarks.peers.summary import rows
from benchmarks.peers.systems import CTRANSLATE2, FLOAT, System, our_file, rival_systems
from benchmarks.peers.turns import Heard, Kept, TurnOptions, take_turns
from myqasr.api import NOBODY
from myqasr.core.errors import UserError
from myqasr.speech.datasets import find_clips, read_clips

OPTIONS = TurnOptions(repeats=2)


@pytest.fixture
def clips(tmp_path):
    found = []
    for number, samples in enumerate((100, 300, 200)):
        path = tmp_path / f"{number}.npy"
        np.save(path, np.zeros(samples, np.float32))
        found.append(Clip(str(number), path, samples / 16_000, "six samples"))
    return found


def recording(name: str, tmp_path, **settings: object) -> System:
    log = {"log": str(tmp_path / f"{name}.log"), **settings}
    return System(name, "tests.material.recording_worker", log)


def asked(name: str, tmp_path) -> list[int]:
    return [int(line) for line in (tmp_path / f"{name}.log").read_text().split()]


def test_every_system_runs_every_clip_and_nothing_is_done_twice(clips, tmp_path):
    both = [recording("a", tmp_path), recording("b", tmp_path)]
    found = take_turns(both, clips, tmp_path / "heard", OPTIONS, lambda text: None)
    assert [found["a"].clips[clip.name].text for clip in clips] == [
        "100 samples",
        "300 samples",
        "200 samples",
    ]
    assert all(len(heard.seconds) == 2 for heard in found["b"].clips.values())
    assert (found["a"].version, found["a"].peak_rss_bytes > 0) == ("recording 1", True)
    assert asked("a", tmp_path) == asked("b", tmp_path) == [300] + [100] * 3 + [300] * 3 + [200] * 3
    again = take_turns(both, clips, tmp_path / "heard", OPTIONS, lambda text: None)
    assert again == found
    assert len(asked("a", tmp_path)) == 10
    take_turns(both, clips, tmp_path / "heard", replace(OPTIONS, repeats=0), lambda text: None)
    assert len(asked("a", tmp_path)) == 14  # other options: measured anew


def test_after_a_crash_only_what_is_missing_is_done(clips, tmp_path):
    ending = recording("a", tmp_path, ends_at=200)
    with pytest.raises(UserError, match="a ended: out of memory, say"):
        take_turns([ending], clips, tmp_path / "heard", OPTIONS, lambda text: None)
    before = len(asked("a", tmp_path))
    found = take_turns(
        [recording("a", tmp_path)], clips, tmp_path / "heard", OPTIONS, lambda text: None
    )
    assert asked("a", tmp_path)[before:] == [300, 200, 200, 200]  # the longest warms up
    sessions = [found["a"].clips[clip.name].session for clip in clips]
    assert sessions[0] == sessions[1] != ""


def test_a_rival_that_is_not_installed_says_how_to_install_it(clips, tmp_path):
    absent = System("a", "tests.material.nothing_here", {})
    with pytest.raises(UserError, match=r"No module named .*; pip install 'myqasr\[peers\]'"):
        take_turns([absent], clips, tmp_path / "heard", OPTIONS, lambda text: None)


def kept(texts: list[str], seconds: float, session: str = "one", size: int | None = None) -> Kept:
    heard = {
        str(place): Heard(text, (seconds,) * 2, (seconds / 2,) * 2, session)
        for place, text in enumerate(texts)
    }
    return Kept("key", size, "1", heard, 50, 20, 0.1)


def test_the_table_counts_words_after_normalising_and_pairs_times_of_one_session_only(clips):
    texts = ["Six samples.", "six samples", "Six samples"]
    done = {
        FLOAT: kept(texts, 0.4),
        CTRANSLATE2: kept(["six samples"] * 2 + ["sick samples"], 0.2, size=100),
        "myqasr 0.2x": kept(texts, 0.1, session="two", size=80),
    }
    found = {
        row.system: row for row in rows({"ann": (clips, done), "bob": (clips, done)}, "default")
    }
    assert found[FLOAT].wer == (0.0, 0.0, 0.0)
    rival = found[CTRANSLATE2]
    assert (rival.word_errors, rival.words, rival.same_text) == (2, 12, 2 / 3)
    assert rival.wer[0] == pytest.approx(1 / 6)
    assert rival.wer[1] < rival.wer[0] < rival.wer[2]
    assert rival.size_bytes == 100
    assert rival.rtf == pytest.approx(0.6 / (600 / 16_000))
    assert rival.cpu_rtf == pytest.approx(rival.rtf / 2)
    assert found[FLOAT].time_over[CTRANSLATE2][0] == pytest.approx(2)
    assert found["myqasr 0.2x"].time_over == {}
    assert found["myqasr 0.2x"].same_text == 1.0


def test_what_is_asked_for_and_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"unknown rivals vosk; known: whisper\.cpp f16"):
        rival_systems("tiny.en", ["vosk"], tmp_path, "python", 1)
    with pytest.raises(UserError, match="no files for nowhere/ann/"):
        our_systems(
            speaker=Speaker("ann", (), ()),
            budgets=[],
            pattern="nowhere/{speaker}/*.pte",
            model="whisper-tiny.en",
            folder=tmp_path,
            runner="executorch-cpp",
            threads=1,
            listener=NOBODY,
        )


def test_our_files_are_made_once_for_each_budget_and_take_part(tiny_model, tune_clips, tmp_path):
    recordings, _ = read_clips(find_clips(tune_clips))
    speaker, model = Speaker("ann", tuple(recordings[:2]), ()), str(tiny_model)
    said: list[str] = []
    listener = replace(NOBODY, say=said.append)
    made = files_for(speaker, speaker.fit, ["0.3x", "0.5x"], model, tmp_path, listener)
    assert made["0.3x"].stat().st_size < made["0.5x"].stat().st_size
    assert {path.name for path in made.values()} == {"ann.pte"}
    writing = len(said)
    assert files_for(speaker, speaker.fit, ["0.3x"], model, tmp_path, listener) == {
        "0.3x": made["0.3x"]
    }
    assert len(said) == writing
    clip = Clip("0", tmp_path / "0.npy", recordings[2].seconds, "")
    np.save(clip.path, recordings[2].waveform)
    system = our_file("myqasr 0.3x", made["0.3x"], "executorch", 1)
    found = take_turns([system], [clip], tmp_path / "heard", OPTIONS, lambda text: None)
    assert found["myqasr 0.3x"].size_bytes == made["0.3x"].stat().st_size
    assert len(found["myqasr 0.3x"].clips["0"].seconds) == 2
