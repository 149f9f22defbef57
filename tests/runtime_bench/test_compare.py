"""Comparing results: what is refused, which differences are called real, and times across runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from myqasr.core.errors import UserError
from myqasr.core.statistics import Interval
from myqasr.core.storage import sha256_of, sha256_of_file
from myqasr.runtime_bench.results.compare import (
    Measured,
    checked_report,
    compare,
    measured_systems,
    ratio_problem,
    result_file,
)
from myqasr.runtime_bench.results.report import BenchReport, add_report
from myqasr.speech.datasets import Recording
from tests.conftest import invoke
from tests.material.bench_material import fake_bench, measured_file, noise_recording


def recordings(count: int = 12, text: str = "a") -> list[Recording]:
    return [noise_recording(f"{i:02}.wav", 8_000, text) for i in range(count)]


def timed(report: BenchReport, quiet: bool = True, **seconds: float) -> BenchReport:
    """The same report with made-up timings around the given ones, 60 turns, noise of 1 %."""
    draw = np.random.default_rng(0)
    mood = np.exp(draw.normal(0, 0.2, 60))  # both meet the same
    systems = tuple(
        replace(
            system,
            seconds=tuple(seconds[system.name] * mood * np.exp(draw.normal(0, 0.01, 60))),
        )
        for system in report.systems
    )
    problems = () if quiet else ("too noisy",)
    return replace(report, systems=systems, turns=(0,) * 60, problems=problems)


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """A run with an exported file and a result about it."""
    return folder_of(tmp_path / "alice", b"first export")


def folder_of(run: Path, content: bytes) -> Path:
    (run / "exports").mkdir(parents=True)
    file = run / "exports" / f"{run.name}.pte"
    file.write_bytes(content)
    add_result(run, file)
    return run


def add_result(run: Path, file: Path) -> None:
    """A result about an exported file or folder."""
    report, _ = fake_bench(recordings(), artifacts={"b": measured_file(file.name, sha256_of(file))})
    add_report(timed(report, a=1.0, b=0.5), run / "bench")


def test_a_result_whose_file_was_exported_again_is_refused_naming_both_hashes(run_folder):
    file = run_folder / "exports" / "alice.pte"
    result = result_file(run_folder)
    assert checked_report(result).baseline == "a"
    was = sha256_of_file(file)
    file.write_bytes(b"second export")
    with pytest.raises(UserError, match=rf"sha256 was {was}; now it is {sha256_of_file(file)}"):
        checked_report(result)
    done = invoke("compare", run_folder)
    assert done.exit_code == 2
    assert was in done.stderr
    assert sha256_of_file(file) in done.stderr
    file.unlink()
    assert checked_report(result).baseline == "a"  # nothing there that could have changed


@pytest.mark.parametrize("change", ["content", "name", "new file"])
def test_a_result_whose_package_was_changed_is_refused_naming_both_hashes(tmp_path, change):
    """Core ML's packages are folders."""
    package = tmp_path / "exports" / "alice.mlpackage"
    weights = package / "Data" / "weights" / "weight.bin"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"first export")
    (package / "Manifest.json").write_text("{}")
    add_result(tmp_path, package)
    result = result_file(tmp_path)
    assert checked_report(result).baseline == "a"
    was = sha256_of(package)
    if change == "content":
        weights.write_bytes(b"other export")
    elif change == "name":
        weights.rename(weights.with_name("weights.bin"))
    else:
        (package / "Data" / "more.bin").touch()
    assert sha256_of(package) != was
    with pytest.raises(UserError, match=rf"sha256 was {was}; now it is {sha256_of(package)}"):
        checked_report(result)


def test_the_newest_result_of_a_run_is_taken(run_folder):
    report, _ = fake_bench(recordings(), created="2026-11-22T12:00:00+00:00")
    newest = add_report(report, run_folder / "bench")
    assert result_file(run_folder) == newest
    with pytest.raises(UserError, match="myqasr bench"):
        result_file(run_folder / "exports")


def test_results_on_other_clips_are_not_compared(run_folder):
    one = checked_report(result_file(run_folder))
    other, _ = fake_bench(recordings(11))
    with pytest.raises(UserError) as caught:
        measured_systems([("alice", one), ("bob", other)])
    assert one.provenance.audio_hash in str(caught.value)
    assert other.provenance.audio_hash in str(caught.value)
    relabelled, _ = fake_bench(recordings(text="b"))
    with pytest.raises(UserError, match="their text_hash is"):
        measured_systems([("alice", one), ("bob", relabelled)])


def test_differences_that_are_real_are_told_from_those_that_are_not():
    report = timed(fake_bench(recordings())[0], a=1.0, b=0.5)
    a, b = measured_systems([("run", report)])
    difference = compare(b, a)
    assert difference.wer == Interval(1.0, 1.0, 1.0)
    assert difference.wer_differs
    assert (difference.better_on, difference.worse_on) == (0, 12)
    assert difference.time is not None
    assert difference.time.value == pytest.approx(0.5, rel=0.02)
    assert difference.time_problem is None
    assert difference.time_differs
    same = compare(a, a)
    assert not same.wer_differs
    assert not same.time_differs


def test_times_of_a_noisy_run_are_shown_but_not_called_real():
    report = timed(fake_bench(recordings())[0], quiet=False, a=1.0, b=0.5)
    a, b = measured_systems([("run", report)])
    difference = compare(b, a)
    assert difference.time is not None
    assert difference.time_problem == "too noisy"
    assert not difference.time_differs


def test_ratios_that_are_not_known_to_ten_percent_are_invalid():
    assert ratio_problem(Interval(1.0, 0.95, 1.05), ()) is None
    assert ratio_problem(Interval(1.0, 0.95, 1.2), ()) == (
        "too noisy: the ratio is only known to 20%, 10% is the limit"
    )
    assert ratio_problem(Interval(1.0, 1.0, 1.0), ("hot", "busy")) == "hot (and 1 more)"


def test_times_of_two_runs_are_compared_through_the_model_that_both_timed(tmp_path):
    plain, _ = fake_bench(recordings())
    file = {"b": measured_file("x.pte", "0" * 64)}
    fast, _ = fake_bench(recordings(), artifacts=file, created="2026-11-22T12:00:00+00:00")
    slow_day = timed(plain, a=10.0, b=5.0)
    quick_day = timed(fast, a=1.0, b=0.25)
    systems = measured_systems([("alice", slow_day), ("bob", quick_day)])
    assert [system.label for system in systems] == ["a", "b", "b of bob"]
    difference = compare(systems[2], systems[1])
    assert difference.time is not None
    assert difference.time.value == pytest.approx(0.5, rel=0.02)  # 0.25 against 0.5 of `a`
    other_machine = replace(quick_day, device=replace(quick_day.device, cpu="Abacus"))
    moved = compare(Measured("b", other_machine, other_machine.system("b")), systems[1])
    assert moved.time_problem == "the two ran on another device"
    untimed = replace(quick_day.system("b"), seconds=())
    assert compare(Measured("b", quick_day, untimed), systems[1]).time is None


def test_clips_that_were_read_in_another_order_are_paired_by_name_and_text():
    clips = [noise_recording(f"{i}.wav", 8_000, "a" if i % 3 else "b") for i in range(9)]
    one, other = fake_bench(clips)[0], fake_bench(clips[::-1])[0]
    there, back = measured_systems([("one", one), ("other", other)])[:2]
    same_run = compare(there, back)
    other_run = compare(there, Measured(back.label, other, other.system("b")))
    assert same_run.wer == other_run.wer
    assert (same_run.better_on, same_run.worse_on) == (other_run.better_on, other_run.worse_on)
    assert (same_run.better_on, same_run.worse_on) == (6, 3)
    twins = [*clips, noise_recording("1.wav", 9_000, "a")]  # of two folders of one name
    one, other = fake_bench(twins)[0], fake_bench(twins[::-1])[0]
    assert (
        compare(Measured("a", one, one.system("a")), Measured("b", other, other.system("b"))).wer
        is None
    )
    assert (
        compare(Measured("a", one, one.system("a")), Measured("b", one, one.system("b"))).wer
        is not None
    )


def test_a_torch_model_that_several_results_have_is_listed_once():
    one, _ = fake_bench(recordings(), systems="a")
    both, _ = fake_bench(recordings())
    systems = measured_systems([("one", one), ("two", both), ("three", both)])
    assert [system.label for system in systems] == ["a", "b"]


def test_compare_says_in_words_and_in_json_what_is_real(run_folder, tmp_path):
    other = folder_of(tmp_path / "bob", b"another file")
    done = invoke("compare", run_folder, other, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert [row["system"] for row in answer["differences"]] == ["b", "b of bob"]
    assert answer["differences"][0]["wer"]["value"] == 1.0
    assert answer["differences"][0]["time"]["value"] == pytest.approx(0.5, rel=0.02)
    done = invoke("compare", run_folder, other)
    assert done.exit_code == 0, done.output
    assert "more errors" in done.stdout
    assert "+100.0" in done.stdout
    done = invoke("compare", run_folder, "--against", "b")
    assert "fewer errors" in done.stdout
    done = invoke("compare", run_folder, "--against", "c")
    assert done.exit_code == 2
    assert "there are: a, b" in done.stderr


def test_word_errors_after_different_normalizers_are_not_compared():
    report, _ = fake_bench(recordings())
    other = replace(report, normalizer="none")
    with pytest.raises(UserError, match=r"one and two can't be compared: .* default and none"):
        measured_systems([("one", report), ("two", other)])
    assert measured_systems([("one", report), ("two", replace(other, normalizer="default"))])
