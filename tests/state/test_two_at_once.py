"""Two commands on one run, and files that change while they are measured."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from myqasr.core import storage
from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.locking import folder_lock
from myqasr.runtime_bench.measure.bench import BenchOptions, bench
from myqasr.runtime_bench.measure.unfinished import BenchKeeping
from myqasr.runtime_bench.results.protocol import TimingOptions, Turns, take_turns
from myqasr.runtime_bench.runners.base import System, held
from tests.cli.test_bad_input import fails, personalize_arguments
from tests.material.bench_material import (
    LETTERS,
    QUICK,
    AudioInput,
    FakeRunner,
    noise_recording,
    provenance,
)

HOLDER = (
    "import sys, time\nfrom pathlib import Path\nfrom myqasr.core.locking import folder_lock\n"
    "with folder_lock(Path(sys.argv[1]), '`myqasr personalize`', alone=sys.argv[2] == 'alone'):\n"
    "    print('held', flush=True)\n    time.sleep(100)\n"
)


def holder(folder: Path, how: str = "alone") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), how], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_who_comes_second_is_told_who_is_at_it_and_nothing_changes(
    run_copy, tiny_model, tune_clips, test_clips
):
    process = holder(run_copy)
    try:
        before = {path: path.read_bytes() for path in run_copy.rglob("*.*") if path.is_file()}
        for arguments in (
            ("export", run_copy),
            ("curve", run_copy),
            ("report", run_copy),
            personalize_arguments(tiny_model, tune_clips, run_copy),
        ):
            message = fails(*arguments)
            assert f"in use by process {process.pid}, `myqasr personalize`, since " in message
        after = {path: path.read_bytes() for path in run_copy.rglob("*.*") if path.is_file()}
        assert after == before
    finally:
        process.kill()
        process.communicate()


def test_a_lock_of_a_process_that_is_no_more_holds_nobody_up(tmp_path):
    process = holder(tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / ".lock").exists()
    with folder_lock(tmp_path, "a"):
        assert f"process {os.getpid()}, a" in (tmp_path / ".lock").read_text()
    assert not list(tmp_path.iterdir())


def test_readers_share_a_lock_and_keep_writers_out(tmp_path):
    process = holder(tmp_path, "shared")
    try:
        with folder_lock(tmp_path, "reading", alone=False):
            pass
        with pytest.raises(UserError, match="in use by process"), folder_lock(tmp_path, "writing"):
            pass
    finally:
        process.kill()
        process.communicate()
    with folder_lock(tmp_path, "writing"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_thread_may_take_its_own_lock_again_and_no_other_thread_may(tmp_path):
    seen: list[str] = []

    def other() -> None:
        try:
            with folder_lock(tmp_path, "b"):
                seen.append("got it")
        except UserError as error:
            seen.append(str(error))

    tmp_path = tmp_path / "new"
    with folder_lock(tmp_path, "a"), folder_lock(tmp_path, "a", alone=False):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "this one" in seen[0]
    assert not tmp_path.exists()  # nothing was written: the folder goes again


def test_what_is_measured_is_what_was_hashed_whatever_lies_there_later(run_copy):
    from myqasr.runtime_bench.runners.exported import exported_file

    file = run_copy / "exports" / "alice.pte"
    whole = file.read_bytes()
    system = exported_file(file).system
    with held([system]) as (opened,):
        file.write_bytes(b"another file")
        assert opened.file.read_bytes() == whole
        assert opened.source == system.source
        kept = opened.file
    assert not kept.exists()
    with pytest.raises(BrokenFileError, match="is not the file that was exported"), held([system]):
        pass


def test_a_killed_bench_goes_on_with_what_it_had(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MOST_OF_THE_TIME", 1e9)
    recordings = [noise_recording(f"{index}.wav", 2_000, "a") for index in range(4)]
    systems = [System(name, "torch-float", "nowhere", size_bytes=1_000) for name in "ab"]
    heard: list[int] = []

    class KilledError(Exception):
        pass

    def run(stop: str = "", at: int = 0):
        def progress(stage: str, done: int, total: int) -> None:
            if (stage, done) == (stop, at):
                raise KilledError

        runners = {name: FakeRunner("fake", 1, 2 + "ab".index(name), heard) for name in "ab"}
        keeping = BenchKeeping(tmp_path / "bench.partial.json", {"of": "these"})
        report = bench(
            systems, recordings, AudioInput(True, 400, 16_000), LETTERS,
            BenchOptions(1, 3, QUICK, startup=False, end_to_end=False), provenance(recordings), {},
            progress, lambda system, threads: runners[system.name], keeping,
        )  # fmt: skip
        keeping.discard()
        return report

    whole = run()
    needed = len(heard)
    for stop, at in (("transcribe", 3), ("time", 6)):
        heard.clear()
        with pytest.raises(KilledError):
            run(stop, at)
        first = len(heard)
        heard.clear()
        again = run()
        warm_ups = 2 * QUICK.warmup
        assert len(heard) + first <= needed + warm_ups
        assert len(heard) < needed
        assert [each.transcripts for each in again.systems] == [
            each.transcripts for each in whole.systems
        ]
        assert [each.flips for each in again.systems] == [each.flips for each in whole.systems]
        assert again.turns == whole.turns
        assert not list(tmp_path.iterdir())


def test_turns_that_were_taken_count_and_the_round_goes_on_where_it_stopped():
    seen: list[int] = []
    before = Turns((0, 1, 2, 0), {"a": (1.0, 1.0, 1.0, 1.0)})
    turns = take_turns(
        {"a": lambda utterance: float(seen.append(utterance) is None)}, 3,
        TimingOptions(0, 6, 0.0), before=before,
    )  # fmt: skip
    assert turns.utterances == (0, 1, 2, 0, 1, 2)
    assert seen == [1, 2]
    assert np.array_equal(turns.seconds["a"], [1.0] * 6)
