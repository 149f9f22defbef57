"""Benchmarks without a runtime: systems that hear one letter each, on recordings of noise."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core.storage import record_hash
from myqasr.runtime_bench.measure.bench import BenchOptions, bench
from myqasr.runtime_bench.results.protocol import TimingOptions
from myqasr.runtime_bench.results.report import BenchReport, MeasuredFile, Provenance
from myqasr.runtime_bench.runners.base import Runner, System
from myqasr.runtime_bench.runners.exported import AudioInput
from myqasr.speech.datasets import Clip, Recording, audio_hash
from myqasr.speech.decoding import Tokens

LETTERS = Tokens(("", " ", "a", "b"), blank=0)
QUICK = TimingOptions(warmup=1, runs=9, seconds=0.0)


@dataclass(frozen=True, slots=True)
class FakeRunner(Runner):
    """Hears one letter per piece."""

    letter: int
    seen: list[int]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen.append(len(features))
        return np.eye(4, dtype=np.float32)[[0, self.letter, self.letter]]


def noise_features(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def noise_recording(
    name: str, samples: int, text: str | None, speaker: str | None = "ann"
) -> Recording:
    waveform = noise_features(samples, sum(name.encode()))
    return Recording(Clip(Path("/home/ann/set/user/test") / name, speaker, text), waveform)


def provenance(
    recordings: list[Recording], created: str = "2026-11-21T12:00:00+00:00"
) -> Provenance:
    texts = record_hash(sorted(recording.clip.text or "" for recording in recordings))
    command = Path(sys.argv[0]).name
    versions = {"myqasr": "0"}
    return Provenance(command, created, versions, "tiny", "weights", audio_hash(recordings), texts)


def measured_file(file: str, sha256: str, target: str = "xnnpack") -> MeasuredFile:
    return MeasuredFile(file, target, sha256, 1_000, 4.5, "plan", "profile")


def fake_bench(
    recordings: list[Recording],
    threads: int = 1,
    systems: str = "ab",
    artifacts: dict[str, MeasuredFile] | None = None,
    created: str = "2026-11-21T12:00:00+00:00",
) -> tuple[BenchReport, dict[str, Runner]]:
    """Systems `a` and `b` hear those letters whatever is said; three utterances are timed, three times."""
    runners: dict[str, Runner] = {
        name: FakeRunner("fake", 1, 2 + "ab".index(name), []) for name in systems
    }
    stages: list[str] = []
    report = bench(
        [System(name, "torch-float", "nowhere", size_bytes=1_000) for name in systems],
        recordings,
        AudioInput(True, 400, 16_000),
        LETTERS,
        BenchOptions(threads, 3, QUICK, startup=False, end_to_end=False),
        provenance(recordings, created),
        artifacts or {},
        lambda stage, done, total: stages.append(stage),
        lambda system, threads: runners[system.name],
    )
    assert set(stages) == {"load", "transcribe", "time"}
    return report, runners
