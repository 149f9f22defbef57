"""Exported files as systems to run, checked against their manifest. No torch in here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.exporters.manifest import Artifact, load_artifact
from myqasr.exporters.target import all_targets
from myqasr.runtime_bench.runners.base import System
from myqasr.runtime_bench.runners.records import kind_of, others_running, timed_here
from myqasr.speech.decoding import Tokens

TARGET_RUNNERS = {target.name: target.runner for target in all_targets()}
"""Export target -> runner of its files."""


def runners_of(target: str) -> tuple[str, ...]:
    """Runners of a target's files, its own first; raises UserError when there are none."""
    own = TARGET_RUNNERS.get(target)
    if own is None:
        raise UserError(
            f"no runner here for target {target}; there are runners for: {', '.join(TARGET_RUNNERS)}"
        )
    return own, *others_running(own)


@dataclass(frozen=True, slots=True)
class AudioInput:
    """What a model takes. normalize: zero mean and unit variance first. Lengths in 16 kHz samples:

    shorter input is padded with zeros, longer input is cut at pauses.
    """

    normalize: bool
    min_samples: int
    max_samples: int


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that is what its manifest says, and what is needed to run it."""

    system: System
    audio: AudioInput
    tokens: Tokens
    artifact: Artifact


def exported_file(path: Path, name: str | None = None, runner: str | None = None) -> Exported:
    """A file as a system called `name` (its target, if not given) on a runner (the target's own).

    Raises UserError when the manifest.json beside it is missing, doesn't list it, or names another
    sha256 than the file has (both are given), or when its target has no such runner.
    """
    manifest, artifact = load_artifact(path)
    known = runners_of(artifact.target)
    runner = known[0] if runner is None else runner
    if kind_of(runner) not in known:
        raise UserError(
            f"runner {runner!r} doesn't run {artifact.target} files; these do: {', '.join(known)}"
        )
    label = artifact.target if name is None else name
    return Exported(
        System(
            label,
            runner,
            str(path),
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            timed=timed_here(runner),
            autoregression=manifest.tokens.autoregression,
        ),
        AudioInput(manifest.input.normalize, artifact.min_samples, artifact.max_samples),
        manifest.tokens,
        artifact,
    )


def common_input(exported: Sequence[Exported]) -> tuple[AudioInput, Tokens]:
    """Input limits that all files keep, and their tokens.

    Raises UserError when the files are of different models.
    """
    if not exported:
        raise UserError("no exported file given")
    first = exported[0]
    for other in exported[1:]:
        if (other.tokens, other.audio.normalize) != (first.tokens, first.audio.normalize):
            raise UserError(
                f"{other.system.source} and {first.system.source} are of different models: "
                "their tokens or their input differ"
            )
    audio = AudioInput(
        first.audio.normalize,
        max(one.audio.min_samples for one in exported),
        min(one.audio.max_samples for one in exported),
    )
    return audio, first.tokens
