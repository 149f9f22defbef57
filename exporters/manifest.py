"""`manifest.json`: what lies in an export folder, hashed, with all a runner needs to use it.

And what an export that may be killed has got so far, in the run's folder, where the same command finds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.storage import load_record, record_hash, save_record, sha256_of
from myqasr.personalize.planning.plan import Plan, QuantSpec
from myqasr.speech.decoding import Tokens

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How audio becomes the model's input.

    normalize: shift and scale each utterance to zero mean, unit variance (epsilon 1e-7) first.
    stride_samples: samples per output frame.
    """

    sample_rate: int
    normalize: bool
    stride_samples: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """One exported file. `layers` is in the order the stored program runs them, as read back.

    min_samples, max_samples: lengths the file takes; shorter input is padded with zeros, longer input
    is cut at pauses. lengths: all that it takes, where they are listed; see `speech.lengths`.
    """

    target: str
    file: str
    sha256: str
    size_bytes: int
    predicted_bytes: int
    budget_bytes: int
    mean_bits: float
    min_samples: int
    max_samples: int
    plan_hash: str
    profile_hash: str
    layers: dict[str, QuantSpec]
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """All artifacts of one folder, and what they have in common."""

    schema_version: int
    model: str
    weights_hash: str
    tokens: Tokens
    input: InputSpec
    versions: dict[str, str]
    artifacts: tuple[Artifact, ...]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise UserError(
                f"manifest of schema {self.schema_version}, this version reads {SCHEMA_VERSION}; "
                "run `myqasr export` again"
            )


def load_manifest(folder: Path) -> Manifest:
    """The manifest of an export folder; raises UserError when missing or of another version."""
    return load_record(folder / MANIFEST_NAME, Manifest, "run `myqasr export` again")


def load_artifact(path: Path) -> tuple[Manifest, Artifact]:
    """The manifest beside an exported file and its entry, after checking the file's sha256.

    Raises UserError naming both hashes when the file isn't the one that was exported.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    manifest = load_manifest(path.parent)
    for artifact in manifest.artifacts:
        if artifact.file == path.name:
            found = sha256_of(path)
            if found != artifact.sha256:
                raise BrokenFileError(
                    f"{path} is not the file that was exported: manifest.json says sha256 "
                    f"{artifact.sha256}, the file has {found}; run `myqasr export` again"
                )
            return manifest, artifact
    known = ", ".join(artifact.file for artifact in manifest.artifacts)
    raise UserError(f"{path.parent / MANIFEST_NAME} does not list {path.name}; it lists: {known}")


def _as_foretold(artifact: Artifact, previous: Manifest) -> Artifact:
    """With the bytes that were foretold when this very file was written first."""
    for old in previous.artifacts:
        if replace(old, predicted_bytes=artifact.predicted_bytes) == artifact:
            return old
    return artifact


def save_artifact(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, keeping the entries of other files of the same model."""
    path = folder / MANIFEST_NAME
    kept: tuple[Artifact, ...] = ()
    if path.is_file():
        try:
            previous = load_manifest(folder)
        except UserError:
            previous = None
        if previous is not None and previous.weights_hash == manifest.weights_hash:
            manifest = replace(
                manifest,
                artifacts=tuple(_as_foretold(each, previous) for each in manifest.artifacts),
            )
            written = {artifact.file for artifact in manifest.artifacts}
            kept = tuple(old for old in previous.artifacts if old.file not in written)
    merged = Manifest(
        manifest.schema_version,
        manifest.model,
        manifest.weights_hash,
        manifest.tokens,
        manifest.input,
        manifest.versions,
        (*kept, *manifest.artifacts),
    )
    save_record(merged, path)


@dataclass(frozen=True, slots=True)
class PartialExport:
    """key: hash of all that decides the files but their plans.

    written: target -> hash of the plan that its file holds, and the file's. tried: hash of a target's
    precisions -> bytes of the file that had them.
    """

    key: str
    written: dict[str, tuple[str, str]] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)


class Progress:
    """Keeps a `PartialExport`; one of other files, or damaged, counts as none."""

    def __init__(self, path: Path, made_of: Mapping[str, object]) -> None:
        self._path = path
        key = record_hash(dict(made_of))
        self._kept = PartialExport(key)
        try:
            found = load_record(path, PartialExport)
        except UserError:
            return
        if found.key == key:
            self._kept = found

    def is_written(self, plan: Plan, path: Path) -> bool:
        """Whether the target's file is there and was proven to hold this plan."""
        held = self._kept.written.get(plan.target)
        return held is not None and path.exists() and held == (record_hash(plan), sha256_of(path))

    def size_of(self, plan: Plan) -> int | None:
        """Bytes of the file with these precisions, if it was ever written."""
        return self._kept.tried.get(_precisions(plan))

    def keep_size(self, plan: Plan, size_bytes: int) -> None:
        """A file was written and weighed."""
        tried = {**self._kept.tried, _precisions(plan): size_bytes}
        self._keep(replace(self._kept, tried=tried))

    def keep_written(self, plan: Plan, path: Path) -> None:
        """A target is finished."""
        held = (record_hash(plan), sha256_of(path))
        self._keep(replace(self._kept, written={**self._kept.written, plan.target: held}))

    def discard(self) -> None:
        """All is finished."""
        self._path.unlink(missing_ok=True)

    def _keep(self, kept: PartialExport) -> None:
        self._kept = kept
        save_record(kept, self._path)


def _precisions(plan: Plan) -> str:
    return f"{plan.target} {record_hash(plan.layers)}"
