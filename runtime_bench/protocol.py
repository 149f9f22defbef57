"""How latency is timed: all systems in turn on each utterance, many times over. No torch in here.

A machine's speed drifts with heat and other work. Systems that take turns on every utterance meet the
same drift, so their ratios hold even where the milliseconds don't.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speech.errors import UserError


@dataclass(frozen=True, slots=True)
class TimingOptions:
    """warmup: untimed rounds on the first utterance. repeats: timed rounds over all utterances.

    max_seconds: no further utterance is begun after this; one always is.
    """

    warmup: int = 1
    repeats: int = 5
    max_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.repeats < 1 or not self.max_seconds > 0:
            raise UserError(
                f"can't time with warmup {self.warmup}, repeats {self.repeats}, "
                f"max_seconds {self.max_seconds}; needs at least 0, 1 and more than 0"
            )


@dataclass(frozen=True, slots=True)
class Latency:
    """Processing time of one system. An utterance's latency is the median of its repeats.

    repeats: of the utterance that was timed least often. audio_seconds: of the timed utterances.
    rtf: processing seconds per second of audio, over all; rtf_median: the median utterance's.
    spread: 90 % of single timings lie below this multiple of their utterance's latency.
    """

    utterances: int
    repeats: int
    audio_seconds: float
    median_ms: float
    p90_ms: float
    rtf: float
    rtf_median: float
    spread: float


def interleaved_times(
    systems: Mapping[str, Callable[[int], float | None]],
    utterances: int,
    options: TimingOptions,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[list[float]]]:
    """Seconds that each system took, [utterance][repeat]; utterances past the time limit have none.

    systems: name -> function that processes utterance number 0, 1, ... and returns None, or the seconds by
    a clock of its own. The order of the systems
    rotates, so that none always follows the same one. On each utterance all are timed equally often.
    """
    times: dict[str, list[list[float]]] = {
        name: [[] for _ in range(utterances)] for name in systems
    }
    if not systems or utterances == 0:
        return times
    begin = clock()
    for _ in range(options.warmup):
        for process in systems.values():
            process(0)
    names = list(systems)
    turn = 0
    for _ in range(options.repeats):
        for utterance in range(utterances):
            if turn > 0 and clock() - begin >= options.max_seconds:
                return times
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                start = clock()
                own = systems[name](utterance)
                times[name][utterance].append(clock() - start if own is None else own)
            turn += 1
    return times


def summarize(times: Sequence[Sequence[float]], audio_seconds: Sequence[float]) -> Latency:
    """Figures of one system from its seconds [utterance][repeat] and the utterances' lengths.

    Utterances without a timing don't count. Raises UserError when none has any.
    """
    timed = [
        (np.asarray(seconds, np.float64), length)
        for seconds, length in zip(times, audio_seconds, strict=True)
        if len(seconds) > 0
    ]
    if not timed:
        raise UserError("nothing was timed; give at least one utterance")
    latencies = np.array([float(np.median(seconds)) for seconds, _ in timed])
    lengths = np.array([length for _, length in timed])
    ratios = np.concatenate(
        [seconds / latency for (seconds, _), latency in zip(timed, latencies, strict=True)]
    )
    return Latency(
        utterances=len(timed),
        repeats=min(len(seconds) for seconds, _ in timed),
        audio_seconds=float(lengths.sum()),
        median_ms=1e3 * float(np.median(latencies)),
        p90_ms=1e3 * float(np.quantile(latencies, 0.9)),
        rtf=float(latencies.sum() / lengths.sum()),
        rtf_median=float(np.median(latencies / lengths)),
        spread=float(np.quantile(ratios, 0.9)),
    )
