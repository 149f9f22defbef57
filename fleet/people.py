"""What a person's model is made of: a list of hashes, one a version, never changed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.reading import reading
from myqasr.core.storage import converter, sealed, to_json, unsealed
from myqasr.fleet.objects import ObjectRef, Objects

SCHEMA_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PATH = re.compile(r"people/([^/]+)/([0-9]{6})\.json")


@dataclass(frozen=True, slots=True)
class FileRef:
    """An exported file, which the store doesn't hold: it can be written again.

    max_samples, lengths: as of `Artifact`, to write it for the same input.
    """

    name: str
    sha256: str
    size_bytes: int
    budget_bytes: int
    max_samples: int
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """One version of one person's model.

    model, weights_hash: as in run.json. documents: name of a JSON file of the run -> the same, compressed
    (xz). rest: what learning changed of the float weights, by name of file; empty where they are the model's
    own. layers: target -> layer -> codes and scales at its planned precision; float ones are left out.
    files: target -> its exported file. made_from: hash of all that decided them, where a fleet made them.
    """

    schema_version: int
    name: str
    model: str
    weights_hash: str
    documents: dict[str, ObjectRef]
    rest: dict[str, ObjectRef]
    layers: dict[str, dict[str, ObjectRef]]
    files: dict[str, FileRef] = field(default_factory=dict)
    made_from: str = ""

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise UserError(
                f"{self.name} was stored as schema {self.schema_version}, this version reads "
                f"{SCHEMA_VERSION}; put the run again"
            )

    def objects(self) -> dict[str, ObjectRef]:
        """All that it names, each once, by sha256."""
        groups = [self.documents, self.rest, *self.layers.values()]
        return {ref.sha256: ref for group in groups for ref in group.values()}


@dataclass(frozen=True, slots=True)
class Version:
    """Where a person's version lies. number: from 1."""

    name: str
    number: int

    @property
    def path(self) -> str:
        """Within the store."""
        return f"people/{self.name}/{self.number:06d}.json"

    @classmethod
    def at(cls, path: str) -> "Version | None":
        """Inverse of `path`; None where no version belongs."""
        match = _PATH.fullmatch(path)
        return None if match is None else cls(match.group(1), int(match.group(2)))


def check_name(name: str) -> str:
    """The name; raises UserError when it can't name a person in a store."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} can't name a person in a store: up to 100 letters, digits, dots, dashes and "
            "underscores, a letter or digit first"
        )
    return name


def versions(store: Objects, name: str | None = None) -> Iterator[Version]:
    """All versions, or one person's, oldest first."""
    for file in store.files("people" if name is None else f"people/{check_name(name)}"):
        found = Version.at(file.path)
        if found is not None:
            yield found


def newest(store: Objects) -> list[Version]:
    """The last version of everybody, by name."""
    found = {version.name: version for version in versions(store)}
    return [found[name] for name in sorted(found)]


def load_person(store: Objects, version: Version) -> Person:
    """Raises BrokenFileError when it isn't what was stored, or of somebody else."""
    data = store.read(version.path, f"{version.name} in version {version.number}")
    mend = "delete it there and put the run again"
    place = f"{store.url}/{version.path}"
    with reading(place, "is not a person of this version", mend):
        person = converter.structure(unsealed(json.loads(data), Path(place), mend), Person)
    if person.name != version.name:
        raise BrokenFileError(f"{place} is {person.name!r}'s, not {version.name!r}'s; {mend}")
    return person


def find_person(store: Objects, name: str, number: int | None = None) -> tuple[Version, Person]:
    """A person's version, or the last; raises UserError naming what there is when it isn't there."""
    found = [version for version in versions(store, name) if number in (None, version.number)]
    if not found:
        there = [str(version.number) for version in versions(store, name)]
        if there:
            raise UserError(f"{name} has versions {', '.join(there)} in {store.url}, not {number}")
        known = [version.name for version in newest(store)]
        shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        raise UserError(f"{store.url} holds nobody called {name}; it holds {shown or 'nobody'}")
    return found[-1], load_person(store, found[-1])


def save_person(store: Objects, person: Person) -> tuple[Version, bool]:
    """Add a version, unless the last says the same. Returns it, and whether it is new.

    A last one that can't be read stays where it is; the next number is taken.
    """
    known = list(versions(store, person.name))
    if known:
        try:
            if load_person(store, known[-1]) == person:
                return known[-1], False
        except UserError:
            pass
    version = Version(person.name, known[-1].number + 1 if known else 1)
    store.write(version.path, (to_json(sealed(person)) + "\n").encode())
    return version, True
