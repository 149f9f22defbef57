"""How latency is timed: all systems in turn on each utterance, many times over. No torch in here.

A machine's speed drifts with heat and other work. Systems that take turns on every utterance meet the
same drift, so their ratios hold even where the milliseconds don't.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.core.statistics import quantile, trimmed_mean


@dataclass(frozen=True, slots=True)
class TimingOptions:
    """When timing is enough.

    warmup: untimed runs of each system, over the utterances in turn. runs, seconds: timed runs and their sum,
    of each system, at least; rounds over all utterances are completed. max_seconds: no further turn is begun
    after this; one always is.
    """

    warmup: int = 10
    runs: int = 50
    seconds: float = 5.0
    max_seconds: float = 600.0

    def __post_init__(self) -> None:
        finite = math.isfinite(self.seconds + self.max_seconds)
        fitting = self.warmup >= 0 and self.runs >= 1 and self.seconds >= 0 and self.max_seconds > 0
        if not (finite and fitting):
            raise UserError(
                f"can't time with warmup {self.warmup}, runs {self.runs}, seconds {self.seconds}, "
                f"max_seconds {self.max_seconds}; needs numbers of at least 0, 1, 0 and more than 0"
            )


@dataclass(frozen=True, slots=True)
class Turns:
    """What was timed: on each turn every system ran the same utterance once.

    utterances: [turn] -> number of the utterance. seconds: system -> [turn].
    """

    utterances: tuple[int, ...]
    seconds: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Latency:
    """Processing time of one system.

    runs: timed ones; repeats: of the utterance that was timed least often. audio_seconds: of the timed
    utterances. median_ms, p90_ms, p99_ms, trimmed_mean_ms (a fifth dropped at either end): over all runs.
    An utterance's own latency is the median of its repeats: rtf: processing seconds per second of audio, over
    all utterances; speed: its inverse; rtf_median: the median utterance's.
    spread: 90 % of single timings lie below this multiple of their utterance's latency. drift: how much
    slower the last third of the runs was than the first, as a ratio, utterance for utterance.
    """

    utterances: int
    runs: int
    repeats: int
    audio_seconds: float
    median_ms: float
    p90_ms: float
    p99_ms: float
    trimmed_mean_ms: float
    rtf: float
    speed: float
    rtf_median: float
    spread: float
    drift: float


def no_steps(done: int, total: int) -> None:
    """Default listener: silence."""


def no_turn(utterance: int, seconds: dict[str, float]) -> None:
    """Default listener: silence."""


def take_turns(
    systems: Mapping[str, Callable[[int], float | None]],
    utterances: int,
    options: TimingOptions,
    clock: Callable[[], float] = time.perf_counter,
    on_progress: Callable[[int, int], None] = no_steps,
    before: Turns = Turns((), {}),
    on_turn: Callable[[int, dict[str, float]], None] = no_turn,
) -> Turns:
    """Time all systems on all utterances, round after round, until `options` are content.

    systems: name -> function that processes utterance number 0, 1, ... and returns None, or the seconds by
    a clock of its own. Their order is drawn anew for every turn, so that none always follows the same one.
    on_progress: runs done and wanted, of each. before: turns that were taken already, as those of a bench
    that was killed; they count. on_turn: told the utterance and every system's seconds of each further turn.
    """
    names = list(systems)
    if not names or utterances == 0:
        return Turns((), dict.fromkeys(names, ()))
    draw = np.random.default_rng(0)
    begin = clock()
    for run in range(options.warmup):
        if clock() - begin >= options.max_seconds / 4:
            break
        for process in systems.values():
            process(run % utterances)
    turns = list(before.utterances)
    seconds = {name: list(before.seconds.get(name, ())) for name in names}
    sums = {name: sum(found) for name, found in seconds.items()}
    fresh = 0

    def enough() -> bool:
        return len(turns) >= options.runs and min(sums.values()) >= options.seconds

    while not enough():
        for utterance in range(len(turns) % utterances, utterances):
            if fresh and clock() - begin >= options.max_seconds:
                return _turns(turns, seconds)
            on_progress(min(len(turns), options.runs), options.runs)
            for place in draw.permutation(len(names)):
                name = names[place]
                start = clock()
                own = systems[name](utterance)
                took = clock() - start if own is None else own
                seconds[name].append(took)
                sums[name] += took
            turns.append(utterance)
            fresh += 1
            on_turn(utterance, {name: found[-1] for name, found in seconds.items()})
    return _turns(turns, seconds)


def summarize(
    utterances: Sequence[int], seconds: Sequence[float], audio_seconds: Sequence[float]
) -> Latency:
    """Figures of one system from its turns: utterance and seconds of each, and the utterances' lengths.

    Utterances without a turn don't count. Raises UserError when there is no turn.
    """
    if len(utterances) != len(seconds) or not utterances:
        raise UserError(
            f"{len(seconds)} timings of {len(utterances)} turns; give at least one utterance to time"
        )
    timings = np.asarray(seconds, np.float64)
    which = np.asarray(utterances)
    timed = sorted(set(utterances))
    latency = {index: float(np.median(timings[which == index])) for index in timed}
    own = np.array([latency[index] for index in utterances])
    lengths = np.array([audio_seconds[index] for index in timed])
    latencies = np.array([latency[index] for index in timed])
    relative = timings / own
    rtf = float(latencies.sum() / lengths.sum())
    return Latency(
        utterances=len(timed),
        runs=len(timings),
        repeats=int(min((which == index).sum() for index in timed)),
        audio_seconds=float(lengths.sum()),
        median_ms=1e3 * quantile(timings, 0.5),
        p90_ms=1e3 * quantile(timings, 0.9),
        p99_ms=1e3 * quantile(timings, 0.99),
        trimmed_mean_ms=1e3 * trimmed_mean(timings),
        rtf=rtf,
        speed=1 / rtf,
        rtf_median=float(np.median(latencies / lengths)),
        spread=quantile(relative, 0.9),
        drift=_drift(relative),
    )


def _drift(relative: NDArray[np.float64]) -> float:
    """Median of the last third over that of the first, of multiples of the utterance's latency."""
    third = max(len(relative) // 3, 1)
    return float(np.median(relative[-third:]) / np.median(relative[:third]))


def _turns(turns: list[int], seconds: dict[str, list[float]]) -> Turns:
    return Turns(tuple(turns), {name: tuple(found) for name, found in seconds.items()})
