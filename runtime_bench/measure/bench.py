"""Run systems over the same recordings: memory apart, then transcripts, then timings in turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.runtime_bench.devices.machine import (
    core_times,
    idle_cores,
    load_between,
    pinned,
    this_device,
)
from myqasr.runtime_bench.devices.machine import usable_cores as usable
from myqasr.runtime_bench.measure.peak_memory import measure_startup
from myqasr.runtime_bench.measure.transcription import (
    checked_logits,
    joined,
    model_inputs,
    transcribe,
)
from myqasr.runtime_bench.measure.unfinished import BenchKeeping
from myqasr.runtime_bench.results.protocol import (
    Latency,
    TimingOptions,
    Turns,
    summarize,
    take_turns,
)
from myqasr.runtime_bench.results.quality import (
    agreement,
    errors_of,
    not_worse,
    token_flips,
    written_tokens,
)
from myqasr.runtime_bench.results.report import (
    SCHEMA_VERSION,
    BenchReport,
    MeasuredFile,
    Provenance,
    Startup,
    SystemResult,
    Utterance,
)
from myqasr.runtime_bench.results.validity import timing_problems
from myqasr.runtime_bench.runners.base import Runner, System, open_system, own_seconds
from myqasr.runtime_bench.runners.exported import AudioInput
from myqasr.runtime_bench.runners.records import record_of
from myqasr.speech.datasets import Recording, evenly, read_clips
from myqasr.speech.decoding import Tokens, greedy_text
from myqasr.speech.normalizers import DEFAULT_NORMALIZER, normalizer
from myqasr.speech.scoring import Normalize

Inputs = list[list[NDArray[np.float32]]]  # [utterance][piece] -> features [samples]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """timed_clips: how many of the recordings are timed, spread evenly; all are transcribed.

    startup: also load each timed system in a process of its own for its load time and peak memory.
    end_to_end: also time from audio file to text, with a fifth of the runs; recordings must be files.
    operations: also time each kernel of XNNPACK files, in the C++ runner. normalizer: what words are compared
    after, of `speech.normalizers`.
    """

    threads: int = 2
    timed_clips: int = 16
    timing: TimingOptions = field(default_factory=TimingOptions)
    startup: bool = True
    end_to_end: bool = True
    operations: bool = False
    normalizer: str = DEFAULT_NORMALIZER

    def __post_init__(self) -> None:
        normalizer(self.normalizer)  # that it can be had is known before anything runs
        if self.threads < 1 or self.timed_clips < 1:
            raise UserError(
                f"can't bench with {self.threads} threads and {self.timed_clips} timed clips; "
                "both must be at least 1"
            )


@dataclass(frozen=True, slots=True)
class _Material:
    """What every system gets. timed: which utterances are timed."""

    recordings: Sequence[Recording]
    inputs: Inputs
    audio: AudioInput
    tokens: Tokens
    timed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Heard:
    """One system's texts and best tokens, [utterance] and [piece of any utterance]."""

    texts: list[str]
    tokens: list[NDArray[np.int64]]


def no_progress(stage: str, done: int, total: int) -> None:
    """Default listener: silence."""


def bench(
    systems: Sequence[System],
    recordings: Sequence[Recording],
    audio: AudioInput,
    tokens: Tokens,
    options: BenchOptions,
    provenance: Provenance,
    artifacts: Mapping[str, MeasuredFile],
    on_progress: Progress = no_progress,
    opener: Callable[[System, int], Runner] = open_system,
    keeping: BenchKeeping | None = None,
) -> BenchReport:
    """Measure systems that share input and tokens; the first is the baseline of all comparisons.

    audio: of the exported file; every system gets the same pieces. artifacts: by the name of the
    system that runs it. on_progress: called with stage, steps done, steps in all. A system whose own
    process fails is named in the report's problems. keeping: what an earlier, killed bench has got, and
    where what is measured now is kept.
    Raises UserError when there are no systems or recordings, or a system can't be loaded or run.
    """
    if not systems or not recordings:
        raise UserError(f"can't bench {len(systems)} systems on {len(recordings)} recordings")
    if len({system.name for system in systems}) != len(systems):
        raise UserError(f"systems need different names: {', '.join(s.name for s in systems)}")
    keeping = BenchKeeping() if keeping is None else keeping
    idle, busy_cores = idle_cores(options.threads)
    inputs = [model_inputs(recording.waveform, audio) for recording in recordings]
    timed = tuple(evenly(range(len(inputs)), options.timed_clips))
    material = _Material(recordings, inputs, audio, tokens, timed)
    device, cores_there = this_device(), len(usable())
    with pinned(idle) as cores:
        startups, failures = _startups(systems, inputs, options, on_progress, keeping)
        runners = {}
        for step, system in enumerate(systems):
            on_progress("load", step, len(systems))
            runners[system.name] = opener(system, options.threads)
        heard = _transcripts(runners, material, on_progress, keeping)
        measured = {system.name: runners[system.name] for system in systems if system.timed}
        before = core_times(cores)
        turns = _model_turns(measured, material, options.timing, on_progress, keeping)
        load = load_between(before, core_times(cores), cores, busy_cores)
        here = {
            system.name: runners[system.name]
            for system in systems
            if system.timed and not record_of(system.runner).remote
        }
        whole = _whole_turns(here, material, options, on_progress, keeping)
    lengths = [recordings[index].seconds for index in timed]
    normalize, baseline = normalizer(options.normalizer), heard[systems[0].name]
    results = tuple(
        _result(system, runners[system.name], heard[system.name], baseline, recordings, normalize)
        for system in systems
    )
    results = tuple(
        replace(
            result,
            artifact=artifacts.get(result.name),
            latency=_latency(turns, result.name, lengths),
            end_to_end=_latency(whole, result.name, lengths),
            seconds=turns.seconds.get(result.name, ()),
            startup=startups.get(result.name),
            device=runners[result.name].device(),
        )
        for result in results
    )
    problems = timing_problems(results, options.threads, cores_there, load, options.timing)
    return BenchReport(
        schema_version=SCHEMA_VERSION,
        task=tokens.task,
        provenance=provenance,
        device=device,
        threads=options.threads,
        cores=cores,
        load=load,
        timing=options.timing,
        utterances=tuple(_utterance(recording) for recording in recordings),
        turns=tuple(timed[place] for place in turns.utterances),
        baseline=systems[0].name,
        systems=results,
        problems=(*problems, *failures),
        normalizer=options.normalizer,
    )


def _result(
    system: System,
    runner: Runner,
    heard: _Heard,
    baseline: _Heard,
    recordings: Sequence[Recording],
    normalize: Normalize,
) -> SystemResult:
    """What a system wrote, scored; nothing timed yet."""
    texts = [recording.clip.text for recording in recordings]
    words, characters = errors_of(texts, heard.texts, normalize)
    return SystemResult(
        name=system.name,
        runner=system.runner,
        description=runner.description,
        artifact=None,
        sha256=system.sha256,
        size_bytes=system.size_bytes,
        threads=runner.threads,
        transcripts=tuple(heard.texts),
        words=words,
        characters=characters,
        agreement=agreement(heard.texts, baseline.texts),
        not_worse=not_worse(texts, heard.texts, baseline.texts, normalize),
        flips=token_flips(heard.tokens, baseline.tokens),
        latency=None,
        end_to_end=None,
        seconds=(),
        startup=None,
    )


def _utterance(recording: Recording) -> Utterance:
    """Only the last parts of the path: a report doesn't tell where its author keeps things."""
    clip = "/".join(recording.clip.path.parts[-3:])
    return Utterance(clip, recording.seconds, recording.clip.text, recording.clip.speaker)


def _latency(turns: Turns, name: str, lengths: Sequence[float]) -> Latency | None:
    """Figures of one system; None when it wasn't timed."""
    seconds = turns.seconds.get(name)
    return summarize(turns.utterances, seconds, lengths) if seconds else None


def _startups(
    systems: Sequence[System],
    inputs: Inputs,
    options: BenchOptions,
    on_progress: Progress,
    keeping: BenchKeeping,
) -> tuple[dict[str, Startup], list[str]]:
    """Load time and memory by name, and what went wrong. Before anything is loaded here."""
    found = dict(keeping.kept.startups)
    failures: list[str] = []
    if not options.startup:
        return found, failures
    longest = max((piece for pieces in inputs for piece in pieces), key=len)
    measured = [system for system in systems if system.timed]
    for step, system in enumerate(measured):
        on_progress("memory", step, len(measured))
        if system.name in found:
            continue
        try:
            found[system.name] = measure_startup(system, longest, options.threads)
            keeping.keep_startup(system.name, found[system.name])
        except UserError as error:
            failures.append(str(error))
    return found, failures


def _transcripts(
    runners: dict[str, Runner],
    material: _Material,
    on_progress: Progress,
    keeping: BenchKeeping,
) -> dict[str, _Heard]:
    """Text and best tokens of every utterance by every system."""
    how = material.tokens.autoregression
    for step in range(len(keeping.kept.said), len(material.inputs)):
        on_progress("transcribe", step, len(material.inputs))
        said = {}
        for name, runner in runners.items():
            texts, tokens = [], []
            for logits in checked_logits(runner, material.inputs[step]):
                texts.append(greedy_text(logits, material.tokens))
                tokens.append(written_tokens(logits, how))
            said[name] = joined(texts), tokens
        keeping.keep_said(said)
    return {
        name: _Heard(
            [said[name].text for said in keeping.kept.said],
            [
                np.array(piece, np.int64)
                for said in keeping.kept.said
                for piece in said[name].tokens
            ],
        )
        for name in runners
    }


def _model_turns(
    runners: Mapping[str, Runner],
    material: _Material,
    timing: TimingOptions,
    on_progress: Progress,
    keeping: BenchKeeping,
) -> Turns:
    """Time the model alone, no decoding of audio or tokens."""

    def process(runner: Runner) -> Callable[[int], float | None]:
        return lambda place: own_seconds(runner, material.inputs[material.timed[place]])

    return take_turns(
        {name: process(runner) for name, runner in runners.items()},
        len(material.timed),
        timing,
        on_progress=lambda done, total: on_progress("time", done, total),
        before=keeping.turns("model"),
        on_turn=keeping.keeping_turns("model"),
    )


def _whole_turns(
    runners: Mapping[str, Runner],
    material: _Material,
    options: BenchOptions,
    on_progress: Progress,
    keeping: BenchKeeping,
) -> Turns:
    """Time the way from audio file to text: decode, resample, normalise, model, decode the tokens."""
    if not options.end_to_end:
        return Turns((), {})

    def process(runner: Runner) -> Callable[[int], None]:
        def from_file(place: int) -> None:
            clip = material.recordings[material.timed[place]].clip
            (recording,), _ = read_clips([clip])
            inputs = model_inputs(recording.waveform, material.audio)
            transcribe(runner, inputs, material.tokens)

        return from_file

    timing = options.timing
    return take_turns(
        {name: process(runner) for name, runner in runners.items()},
        len(material.timed),
        TimingOptions(1, max(timing.runs // 5, 1), timing.seconds / 5, timing.max_seconds / 5),
        on_progress=lambda done, total: on_progress("end to end", done, total),
        before=keeping.turns("whole"),
        on_turn=keeping.keeping_turns("whole"),
    )
