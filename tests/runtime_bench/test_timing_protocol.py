"""Fair timing: turns, enough runs, the defined figures, pinning, and the reasons not to believe them."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from myqasr.core.errors import UserError
from myqasr.runtime_bench.devices.android import Conditions, RemoteDevice
from myqasr.runtime_bench.devices.machine import (
    CoreTimes,
    Load,
    core_times,
    idle_cores,
    load_between,
    pinned,
    usable_cores,
)
from myqasr.runtime_bench.results.protocol import (
    Latency,
    TimingOptions,
    Turns,
    summarize,
    take_turns,
)
from myqasr.runtime_bench.results.validity import timing_problems
from tests.material.bench_material import fake_bench, noise_recording


class Bench:
    """Systems on a clock that only moves when they work; remembers who worked on what."""

    def __init__(self, **seconds: float) -> None:
        self.now = 0.0
        self.log: list[tuple[str, int]] = []
        self.systems = {name: self.work(name, cost) for name, cost in seconds.items()}

    def work(self, name: str, cost: float) -> Callable[[int], None]:
        def process(utterance: int) -> None:
            self.log.append((name, utterance))
            self.now += cost * (utterance + 1)

        return process

    def turns(self, utterances: int, options: TimingOptions) -> Turns:
        return take_turns(self.systems, utterances, options, lambda: self.now)


def test_on_every_turn_each_system_runs_the_same_utterance_once():
    clocked = Bench(a=1.0, b=2.0, c=3.0)
    turns = clocked.turns(3, TimingOptions(warmup=2, runs=30, seconds=0))
    assert turns.utterances == (0, 1, 2) * 10
    assert turns.seconds["b"] == (2.0, 4.0, 6.0) * 10
    timed = clocked.log[2 * 3 :]
    rounds = [timed[i : i + 3] for i in range(0, len(timed), 3)]
    assert all({name for name, _ in both} == {"a", "b", "c"} for both in rounds)
    assert [{utterance for _, utterance in both} for both in rounds] == [{0}, {1}, {2}] * 10


def test_no_system_always_follows_the_same_one():
    clocked = Bench(a=1.0, b=1.0, c=1.0)
    clocked.turns(1, TimingOptions(warmup=0, runs=60, seconds=0))
    names = [name for name, _ in clocked.log]
    before_b = [names[i - 1] for i in range(1, len(names)) if names[i] == "b"]
    assert min(before_b.count("a"), before_b.count("c")) > 15
    assert {names[i] for i in range(0, len(names), 3)} == {"a", "b", "c"}


def test_warm_up_goes_through_the_utterances_and_is_not_timed():
    clocked = Bench(a=1.0)
    turns = clocked.turns(4, TimingOptions(warmup=10, runs=1, seconds=0))
    assert [utterance for _, utterance in clocked.log[:10]] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert len(turns.utterances) == len(clocked.log) - 10 == 4


def test_rounds_go_on_until_the_fastest_system_has_its_runs_and_seconds():
    options = TimingOptions(warmup=0, runs=4, seconds=9.0)
    turns = Bench(a=1.0, b=5.0).turns(2, options)
    assert sum(turns.seconds["a"]) == 9
    assert len(turns.utterances) == 6
    assert len(Bench(a=50.0).turns(3, options).utterances) == 6  # whole rounds


def test_the_time_limit_stops_between_turns_and_one_is_always_taken():
    options = TimingOptions(warmup=0, runs=50, seconds=0, max_seconds=0.5)
    assert Bench(a=1.0, b=1.0).turns(4, options) == Turns((0,), {"a": (1.0,), "b": (1.0,)})
    clocked = Bench(a=1.0)
    clocked.turns(1, TimingOptions(warmup=10, runs=50, seconds=0, max_seconds=8))
    assert len(clocked.log) == 8  # two to warm up: a quarter of the time


def test_nothing_to_time_gives_nothing():
    assert take_turns({}, 3, TimingOptions()) == Turns((), {})
    assert Bench(a=1.0).turns(0, TimingOptions()) == Turns((), {"a": ()})


@pytest.mark.parametrize(
    "bad", [{"warmup": -1}, {"runs": 0}, {"seconds": -1.0}, {"max_seconds": 0.0}]
)
def test_senseless_timing_options_are_refused(bad):
    with pytest.raises(UserError, match="can't time"):
        TimingOptions(**bad)


def test_latency_figures_are_those_of_the_definition():
    utterances = [0, 1, 2, 0, 1, 0, 1]
    seconds = [0.1, 0.2, 1.0, 0.1, 0.2, 0.4, 0.2]
    latency = summarize(utterances, seconds, [1.0, 4.0, 5.0, 100.0])
    assert (latency.utterances, latency.runs, latency.repeats) == (3, 7, 1)
    assert latency.audio_seconds == 10
    assert latency.median_ms == pytest.approx(200)
    assert latency.p90_ms == pytest.approx(400 + 0.4 * 600)
    assert latency.p99_ms == pytest.approx(400 + 0.94 * 600)
    assert latency.trimmed_mean_ms == pytest.approx(1e3 * (0.1 + 0.2 * 3 + 0.4) / 5)
    assert latency.rtf == pytest.approx(1.3 / 10)
    assert latency.speed == pytest.approx(10 / 1.3)
    assert latency.rtf_median == pytest.approx(0.1)
    assert latency.spread == pytest.approx(np.quantile([1, 1, 4, 1, 1, 1, 1], 0.9))
    with pytest.raises(UserError, match="at least one utterance"):
        summarize([], [], [1.0])


def test_drift_compares_the_end_with_the_start_whatever_the_utterances():
    steady = summarize([0, 1] * 9, [1.0, 9.0] * 9, [1.0, 1.0])
    assert steady.drift == 1
    slowing = [1.0, 9.0] * 6 + [1.5, 13.5] * 3
    assert summarize([0, 1] * 9, slowing, [1.0, 1.0]).drift == pytest.approx(1.5)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system can't pin")
def test_threads_that_run_already_are_pinned_too_and_let_go_again():
    before = usable_cores()
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (ready.set(), stop.wait()))
    thread.start()
    ready.wait()
    try:
        with pinned(before[:1]) as cores:
            assert cores == before[:1] == usable_cores()
            assert thread.native_id is not None
            assert os.sched_getaffinity(thread.native_id) == set(cores)
        assert usable_cores() == before
        assert os.sched_getaffinity(thread.native_id) == set(before)
    finally:
        stop.set()
        thread.join()


def test_pinning_keeps_to_the_cores_this_process_may_use():
    cores, busy = idle_cores(10_000, interval=0.05)
    assert set(cores) == set(usable_cores())
    assert len(idle_cores(1, interval=0.05)[0]) == 1
    assert busy >= 0


def test_what_other_programs_took_is_the_cores_work_without_our_own():
    begin = CoreTimes(clock=10.0, own=5.0, busy=100.0, stolen=3.0)
    end = CoreTimes(clock=20.0, own=11.0, busy=110.0, stolen=4.0)
    load = load_between(begin, end, (0, 3), busy_cores=1.5)
    assert load == Load(1.5, others_share=pytest.approx(0.2), stolen_share=pytest.approx(0.05))


def test_our_own_work_is_not_taken_for_others():
    cores = usable_cores()[:1]
    with pinned(cores):
        begin = core_times(cores)
        while core_times(cores).clock - begin.clock < 0.3:
            pass
        end = core_times(cores)
    assert end.own - begin.own > 0
    assert end.busy - begin.busy >= 0.5 * (end.own - begin.own)


def test_a_runner_in_a_process_of_its_own_is_not_taken_for_others():
    begin = core_times(())
    work = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    with subprocess.Popen(
        [sys.executable, "-c", work + "\ninput()"], stdin=subprocess.PIPE
    ) as busy:
        while core_times(()).own - begin.own < 0.25:
            assert busy.poll() is None
        busy.communicate(b"\n")
    assert core_times(()).own - begin.own >= 0.25  # when it has ended, too


def test_timings_that_can_not_be_relied_on_say_why():
    report, _ = fake_bench([noise_recording("1.wav", 8_000, "a")])
    quiet, timing = Load(0.0, 0.0, 0.0), TimingOptions()
    good = Latency(9, 60, 5, 30.0, 10.0, 12.0, 14.0, 10.0, 0.1, 10.0, 0.1, 1.1, 1.0)
    system = replace(report.system("a"), latency=good, threads=2)
    assert timing_problems([system], 2, 4, quiet, timing) == ()
    for bad, reason in [
        (replace(system, threads=4), "not on 2 threads: a 4 ("),
        (replace(system, latency=replace(good, spread=1.8)), "too noisy: a 1.80-fold (90 %"),
        (replace(system, latency=replace(good, drift=1.3)), "throttled or disturbed: a 1.30-fold"),
        (replace(system, latency=replace(good, drift=0.7)), "disturbed: a 0.70-fold"),
        (
            replace(system, latency=replace(good, repeats=2)),
            "too few runs: a 60, 2 of one utterance (50 and 3",
        ),
        (replace(system, latency=replace(good, runs=20)), "too few runs: a 20, 5 of"),
        (replace(system, latency=replace(good, utterances=4)), "too few utterances timed: a 4"),
    ]:
        (problem,) = timing_problems([bad], 2, 4, quiet, timing)
        assert reason in problem
    for load, reason in [
        (Load(3.2, 0.4, 0.0), r"other programs took 40% .* \(3.2 cores were busy before\)"),
        (Load(0.0, 0.0, 0.2), "host took 20%"),
    ]:
        (problem,) = timing_problems([system], 2, 4, load, timing)
        assert re.search(reason, problem)
    assert "2 threads on 1 usable cores" in timing_problems([system], 2, 1, quiet, timing)[0]
    assert timing_problems([replace(system, latency=None)], 9, 1, Load(4, 1, 1), timing) == ()


def test_a_phone_that_was_slowed_down_for_heat_says_so():
    report, _ = fake_bench([noise_recording("1.wav", 8_000, "a")])
    latency = Latency(9, 60, 5, 30.0, 10.0, 12.0, 14.0, 10.0, 0.1, 10.0, 0.1, 1.1, 1.0)
    cool = Conditions(80, True, 31.0, 0, ("schedutil",), (1.0, 0.5))
    for after, reason in [
        (cool, None),
        (replace(cool, thermal_status=2), "device too hot: a status 2"),
        (replace(cool, frequency_caps=(0.85, 0.5)), "slowed down: a core 0 from 100% to 85% (of"),
        (replace(cool, frequency_caps=()), None),  # it doesn't say
    ]:
        phone = RemoteDevice("Phone", "arm64-v8a", False, {}, 2, cool, after)
        system = replace(report.system("a"), latency=latency, threads=2, device=phone)
        problems = timing_problems([system], 2, 4, Load(0.0, 0.0, 0.0), TimingOptions())
        assert len(problems) == (reason is not None)
        assert reason is None or reason in problems[0]
