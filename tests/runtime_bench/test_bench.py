"""A benchmark over systems that need no runtime: same pieces for all, right scores, whole results."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.measure.run_bench import short_path
from myqasr.runtime_bench.measure.transcription import transcribe
from myqasr.runtime_bench.results.quality import (
    agreement,
    errors_of,
    not_worse,
    speaker_errors,
    token_flips,
    wer_difference,
    worst_utterances,
)
from myqasr.runtime_bench.results.report import TokenFlips, add_report, load_report
from myqasr.speech.scoring import AlignedWord, ErrorCounts, aligned_words
from tests.material.bench_material import (
    LETTERS,
    FakeRunner,
    fake_bench,
    noise_features,
    noise_recording,
)


def test_agreement_needs_no_reference_text():
    assert agreement(["a", "b", "c", ""], ["a", "x", "c", ""]) == 0.75
    with pytest.raises(UserError):
        agreement([], [])


def test_only_labelled_utterances_are_scored():
    words, characters = errors_of(["one two", None], ["one", "noise"])
    assert words == ErrorCounts(0, 0, 1, 2)
    assert characters == ErrorCounts(0, 0, 4, 7)
    assert errors_of([None], ["noise"]) == (None, None)


def test_not_worse_counts_utterances_with_no_more_errors_than_the_baseline():
    texts = ["a b", "a b", "a b", None]
    assert not_worse(texts, ["a b", "a", "x y", "?"], ["a", "b", "a y", "!"]) == pytest.approx(
        2 / 3
    )
    assert not_worse([None], ["a"], ["b"]) is None


def test_flips_are_counted_token_by_token_and_missing_tokens_are_flipped():
    one = [np.array([1, 2, 3]), np.array([4])]
    assert token_flips(one, one) == TokenFlips(0, 4)
    assert token_flips([np.array([1, 9, 3]), np.array([4, 5])], one) == TokenFlips(2, 5)
    assert TokenFlips(0, 0).share == 0


def test_alignments_say_what_became_of_every_word():
    steps = aligned_words("The cat, sat down", "the bat sat right down")
    assert steps == (
        AlignedWord("equal", "the", "the"),
        AlignedWord("substitute", "cat", "bat"),
        AlignedWord("equal", "sat", "sat"),
        AlignedWord("insert", "", "right"),
        AlignedWord("equal", "down", "down"),
    )
    assert aligned_words("a b", "a") == (
        AlignedWord("equal", "a", "a"),
        AlignedWord("delete", "b", ""),
    )
    assert aligned_words("", "what") == (AlignedWord("insert", "", "what"),)
    assert aligned_words("what", "") == (AlignedWord("delete", "what", ""),)


def test_every_system_gets_the_same_pieces_and_is_scored_on_all_clips():
    recordings = [
        noise_recording("1.wav", 40_000, "A a, A"),
        noise_recording("2.wav", 100, "b", "bob"),
        noise_recording("3.wav", 16_000, None),
        *(noise_recording(f"{i}.wav", 8_000, "a") for i in range(4, 9)),
    ]
    report, runners = fake_bench(recordings)
    a, b = runners["a"], runners["b"]
    assert isinstance(a, FakeRunner)
    assert isinstance(b, FakeRunner)
    assert a.seen == b.seen
    assert max(a.seen) <= 16_000
    assert min(a.seen) == 400  # zero-padded
    heard = report.system("a").transcripts
    assert heard[0] == " ".join("a" * 3)
    assert heard[1:] == ("a",) * 7
    assert report.system("a").words == ErrorCounts(1, 0, 0, 9)
    assert report.system("b").words == ErrorCounts(8, 0, 0, 9)
    assert report.system("a").agreement == 1
    assert report.system("b").agreement == 0
    assert report.system("b").not_worse == pytest.approx(1 / 7)
    assert report.system("b").flips == TokenFlips(2 * 10, 3 * 10)
    assert speaker_errors(report, "b") == {
        "ann": ErrorCounts(8, 0, 0, 8),
        "bob": ErrorCounts(0, 0, 0, 1),
    }
    worst, *others = worst_utterances(report, "b", 3)
    assert (worst.number, worst.errors.errors) == (0, 3)
    assert len(others) == 2
    assert [step.hypothesis for step in worst.alignment] == ["b"] * 3
    (only,) = worst_utterances(report, "a", 3)
    assert only.clip == "user/test/2.wav"
    latency = report.system("b").latency
    assert latency is not None
    assert (latency.utterances, latency.runs, latency.repeats) == (3, 9, 3)
    assert report.turns == (1, 4, 6) * 3
    assert any(
        "too few utterances timed: a 3; b 3 (5 are" in problem for problem in report.problems
    )
    assert not report.valid


def test_the_same_words_on_the_same_utterances_are_compared():
    one = {0: ErrorCounts(1, 0, 0, 4), 2: ErrorCounts(0, 0, 0, 4)}
    difference = wer_difference(one, {0: ErrorCounts(0, 0, 0, 4), 2: ErrorCounts(0, 0, 0, 4)})
    assert difference is not None
    assert difference.value == 1 / 8
    with pytest.raises(UserError, match="aren't of the same"):
        wer_difference(one, {0: ErrorCounts(0, 0, 0, 4)})
    assert wer_difference({}, {}) is None


def test_unlabelled_clips_still_give_agreement_and_latency():
    report, _ = fake_bench([noise_recording("1.wav", 8_000, None)])
    assert report.system("a").words is None
    assert report.system("a").not_worse is None
    assert report.system("a").latency is not None


def test_a_system_that_computes_nan_is_an_error_not_an_empty_transcript():
    class Broken(FakeRunner):
        def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.full((3, 4), np.nan, np.float32)

    with pytest.raises(UserError, match="broken gives NaN"):
        transcribe(Broken("broken", 1, 2, []), [noise_features(400)], LETTERS)


def test_bench_of_nothing_is_refused():
    with pytest.raises(UserError, match="2 systems on 0 recordings"):
        fake_bench([])
    with pytest.raises(UserError, match="different names: a, a"):
        fake_bench([noise_recording("1.wav", 8_000, "a")], systems="aa")
    with pytest.raises(UserError, match="0 threads"):
        BenchOptions(threads=0)


# --- result files ---


@pytest.fixture
def result(tmp_path) -> Path:
    report, _ = fake_bench([noise_recording("1.wav", 8_000, "a")])
    return add_report(report, tmp_path / "bench")


def test_a_report_comes_back_whole_and_tells_nothing_of_its_authors_folders(tmp_path):
    report, _ = fake_bench([noise_recording("1.wav", 8_000, "a")])
    path = add_report(report, tmp_path)
    assert load_report(path) == report
    assert "/home/ann" not in path.read_text()
    assert str(Path.home()) not in path.read_text()


def test_results_are_added_never_replaced(tmp_path):
    report, _ = fake_bench([noise_recording("1.wav", 8_000, "a")])
    first = add_report(report, tmp_path)
    before = first.read_bytes()
    assert add_report(report, tmp_path) == first  # the very same one
    other = add_report(replace(report, problems=("other",)), tmp_path)  # in the same second
    assert other != first
    assert first.read_bytes() == before


def test_a_result_that_was_changed_is_refused_naming_both_hashes(result):
    stored = json.loads(result.read_text())
    written = stored["sha256"]
    stored["systems"][0]["words"]["substitutions"] = 0
    stored["systems"][1]["words"]["substitutions"] = 0
    result.write_text(json.dumps(stored))
    with pytest.raises(UserError, match=rf"sha256 {written}, its content has [0-9a-f]{{64}}"):
        load_report(result)


def test_a_result_of_another_version_is_refused_naming_both(result):
    stored = json.loads(result.read_text())
    stored["schema_version"] = 99
    stored["something_new"] = True
    result.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="of schema 99, this version reads 3"):
        load_report(result)


def test_a_file_that_is_no_result_is_named(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(UserError, match=r"x\.json does not exist"):
        load_report(path)
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"x\.json is not a bench report"):
        load_report(path)


def test_an_unknown_system_is_answered_with_those_there_are():
    report, _ = fake_bench([noise_recording("1.wav", 8_000, "a")])
    with pytest.raises(UserError, match="no system 'c' in this report; it has: a, b"):
        report.system("c")


def test_paths_in_the_command_are_shortened(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert short_path(str(tmp_path / "out" / "alice")) == "out/alice"
    assert short_path("/home/ann/private/clips/test") == "private/clips/test"
    assert short_path("--data") == "--data"
    assert short_path("out/alice") == "out/alice"
