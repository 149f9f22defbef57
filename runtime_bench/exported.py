"""Exported files as systems to run, checked against their manifest. No torch in here."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporters.manifest import Artifact, load_artifact
from runtime_bench.runners.base import UNTIMED_RUNNERS, System
from speech.decoding import Tokens
from speech.errors import UserError

TARGET_RUNNERS = {
    "xnnpack": "executorch",
    "executorch": "executorch",
    "litert": "litert",
    "tflite-runtime": "tflite-runtime",
    "coreml": "coreml",
    "coreml-ios16": "coreml",
    "coreml-pte": "coreml",
}
"""Export target -> runner of its files."""
OTHER_RUNNERS = {"executorch": ("executorch-cpp", "arm64", "adb")}
"""Runner -> others that run the same files; see `RUNNERS`."""

ON_MACOS = ("coreml",)
"""Runners that are the runtime itself on macOS only; elsewhere their timings say nothing."""


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
    own = TARGET_RUNNERS.get(artifact.target)
    if own is None:
        raise UserError(
            f"no runner here for target {artifact.target}; there are runners for: "
            f"{', '.join(TARGET_RUNNERS)}"
        )
    runner = own if runner is None else runner
    kind = runner.partition(":")[0]
    if kind not in (own, *OTHER_RUNNERS.get(own, ())):
        known = ", ".join((own, *OTHER_RUNNERS.get(own, ())))
        raise UserError(f"runner {runner!r} doesn't run {artifact.target} files; these do: {known}")
    label = artifact.target if name is None else name
    return Exported(
        System(
            label,
            runner,
            str(path),
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            timed=kind not in UNTIMED_RUNNERS
            and (kind not in ON_MACOS or sys.platform == "darwin"),
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
