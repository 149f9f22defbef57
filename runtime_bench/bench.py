"""Run systems over the same recordings: transcripts first, then timings in turns, then memory apart."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime_bench.exported import AudioInput
from runtime_bench.peak_memory import measure_startup
from runtime_bench.protocol import Latency, TimingOptions, interleaved_times, summarize
from runtime_bench.quality import agreement, errors_of
from runtime_bench.report import (
    SCHEMA_VERSION,
    BenchReport,
    Startup,
    SystemResult,
    Utterance,
    busy_cores_now,
    runtime_versions,
    this_device,
    timing_problems,
)
from runtime_bench.runners.base import Runner, System, open_system, own_seconds
from runtime_bench.transcription import model_inputs, transcribe
from speech.datasets import Recording, audio_hash
from speech.decoding import Tokens
from speech.errors import UserError

Inputs = list[list[NDArray[np.float32]]]  # [utterance][piece] -> features [samples]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """timed_clips: how many of the recordings are timed, spread evenly; all are transcribed.

    startup: also load each timed system in a process of its own for its load time and peak memory.
    """

    threads: int = 2
    timed_clips: int = 16
    timing: TimingOptions = field(default_factory=TimingOptions)
    startup: bool = True

    def __post_init__(self) -> None:
        if self.threads < 1 or self.timed_clips < 1:
            raise UserError(
                f"can't bench with {self.threads} threads and {self.timed_clips} timed clips; "
                "both must be at least 1"
            )


def no_progress(stage: str, done: int, total: int) -> None:
    """Default listener: silence."""


def bench(
    systems: Sequence[System],
    recordings: Sequence[Recording],
    audio: AudioInput,
    tokens: Tokens,
    options: BenchOptions,
    on_progress: Callable[[str, int, int], None] = no_progress,
    opener: Callable[[System, int], Runner] = open_system,
) -> BenchReport:
    """Measure systems that share input and tokens; the first is the baseline of agreement.

    audio: of the exported file; every system gets the same pieces. on_progress: called with stage,
    steps done, steps in all. A system whose own process fails is named in the report's problems.
    Raises UserError when there are no systems or recordings, or a system can't be loaded or run.
    """
    if not systems or not recordings:
        raise UserError(f"can't bench {len(systems)} systems on {len(recordings)} recordings")
    if len({system.name for system in systems}) != len(systems):
        raise UserError(f"systems need different names: {', '.join(s.name for s in systems)}")
    busy_cores = busy_cores_now()
    device = this_device()
    inputs = [model_inputs(recording.waveform, audio) for recording in recordings]
    startups, failures = _startups(systems, inputs, options, on_progress)
    runners = {}
    for step, system in enumerate(systems):
        on_progress("load", step, len(systems))
        runners[system.name] = opener(system, options.threads)
    transcripts = _transcripts(runners, inputs, tokens, on_progress)
    latencies = _latencies(systems, runners, recordings, inputs, options, on_progress)
    texts = [recording.clip.text for recording in recordings]
    results = []
    for system in systems:
        runner, heard = runners[system.name], transcripts[system.name]
        words, characters = errors_of(texts, heard)
        results.append(
            SystemResult(
                name=system.name,
                runner=system.runner,
                description=runner.description,
                sha256=system.sha256,
                size_bytes=system.size_bytes,
                threads=runner.threads,
                transcripts=tuple(heard),
                words=words,
                characters=characters,
                agreement=agreement(heard, transcripts[systems[0].name]),
                latency=latencies.get(system.name),
                startup=startups.get(system.name),
            )
        )
    problems = timing_problems(tuple(results), options.threads, busy_cores, device.usable_cores)
    return BenchReport(
        schema_version=SCHEMA_VERSION,
        task=tokens.task,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        device=device,
        versions=runtime_versions(),
        threads=options.threads,
        busy_cores=busy_cores,
        audio_hash=audio_hash(recordings),
        utterances=tuple(_utterance(recording) for recording in recordings),
        baseline=systems[0].name,
        systems=tuple(results),
        problems=(*problems, *failures),
    )


def _utterance(recording: Recording) -> Utterance:
    """Only the last parts of the path: a report doesn't tell where its author keeps things."""
    clip = "/".join(recording.clip.path.parts[-3:])
    return Utterance(clip, recording.seconds, recording.clip.text)


def _startups(
    systems: Sequence[System],
    inputs: Inputs,
    options: BenchOptions,
    on_progress: Callable[[str, int, int], None],
) -> tuple[dict[str, Startup], list[str]]:
    """Load time and memory by name, and what went wrong. Before anything is loaded here."""
    found: dict[str, Startup] = {}
    failures: list[str] = []
    if not options.startup:
        return found, failures
    longest = max((piece for pieces in inputs for piece in pieces), key=len)
    measured = [system for system in systems if system.timed]
    for step, system in enumerate(measured):
        on_progress("memory", step, len(measured))
        try:
            found[system.name] = measure_startup(system, longest, options.threads)
        except UserError as error:
            failures.append(str(error))
    return found, failures


def _transcripts(
    runners: dict[str, Runner],
    inputs: Inputs,
    tokens: Tokens,
    on_progress: Callable[[str, int, int], None],
) -> dict[str, list[str]]:
    """Text of every utterance by every system."""
    heard: dict[str, list[str]] = {name: [] for name in runners}
    for step, pieces in enumerate(inputs):
        on_progress("transcribe", step, len(inputs))
        for name, runner in runners.items():
            heard[name].append(transcribe(runner, pieces, tokens))
    return heard


def _latencies(
    systems: Sequence[System],
    runners: dict[str, Runner],
    recordings: Sequence[Recording],
    inputs: Inputs,
    options: BenchOptions,
    on_progress: Callable[[str, int, int], None],
) -> dict[str, Latency]:
    """Latency of the timed systems on a spread of the utterances: the model alone, no decoding."""
    count = min(options.timed_clips, len(inputs))
    chosen = [(2 * i + 1) * len(inputs) // (2 * count) for i in range(count)]

    def process(runner: Runner) -> Callable[[int], float | None]:
        return lambda utterance: own_seconds(runner, inputs[chosen[utterance]])

    on_progress("time", 0, count)
    times = interleaved_times(
        {system.name: process(runners[system.name]) for system in systems if system.timed},
        count,
        options.timing,
    )
    seconds = [recordings[index].seconds for index in chosen]
    return {name: summarize(found, seconds) for name, found in times.items()}
