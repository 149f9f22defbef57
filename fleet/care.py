"""Looking after a store: is all that is in it what it says, and what does nobody need any more."""

from collections import Counter
from dataclasses import dataclass

from myqasr.core.errors import UserError
from myqasr.fleet.objects import MARKER, ObjectRef, Objects, object_named, object_path
from myqasr.fleet.people import Person, Version, load_person, versions

SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A person's version. size_bytes: of all its objects; own_bytes: of those that no other version names."""

    name: str
    version: int
    model: str
    targets: tuple[str, ...]
    file_bytes: dict[str, int]
    size_bytes: int
    own_bytes: int


@dataclass(frozen=True, slots=True)
class Check:
    """What a look at every byte found. problems: each in a line; none: the store is whole."""

    people: int
    objects: int
    size_bytes: int
    unused: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """What garbage collection removed and kept. young: unused, but written too lately to be sure."""

    removed: int
    removed_bytes: int
    young: int
    kept: int


def list_people(store: Objects) -> list[Listed]:
    """Every version of everybody."""
    found = [(version, load_person(store, version)) for version in versions(store)]
    named = Counter(sha256 for _, person in found for sha256 in person.objects())
    return [
        Listed(
            version.name, version.number, person.model, tuple(sorted(person.layers)),
            {target: file.size_bytes for target, file in person.files.items()},
            sum(ref.size_bytes for ref in person.objects().values()),
            sum(ref.size_bytes for ref in person.objects().values() if named[ref.sha256] == 1),
        )
        for version, person in found
    ]  # fmt: skip


def check_store(store: Objects) -> Check:
    """Read all of a store and hold it against its hashes: damaged, missing and foreign files are named."""
    problems: list[str] = []
    needed: dict[str, tuple[ObjectRef, str]] = {}
    people = 0
    for version in versions(store):
        try:
            person = load_person(store, version)
        except UserError as error:
            problems.append(str(error))
            continue
        people += 1
        for ref, what in _named(person, version):
            needed.setdefault(ref.sha256, (ref, what))
    objects = size_bytes = 0
    there = set()
    for file in store.files():
        sha256 = object_named(file.path)
        if sha256 is None:
            if file.path != MARKER and Version.at(file.path) is None:
                problems.append(f"{file.path} is foreign: no file of a store is called so")
            continue
        there.add(sha256)
        objects, size_bytes = objects + 1, size_bytes + file.size_bytes
        found = ObjectRef.of(store.read(file.path, file.path))
        if found.sha256 != sha256:
            what = needed[sha256][1] if sha256 in needed else "nobody's"
            problems.append(f"{file.path} ({what}) is damaged: its sha256 is {found.sha256}")
    problems += [
        f"{object_path(sha256)} ({what}) is missing"
        for sha256, (_, what) in needed.items()
        if sha256 not in there
    ]
    return Check(people, objects, size_bytes, len(there - set(needed)), tuple(problems))


def collect_garbage(store: Objects, keep_versions: int | None, hours: float) -> Collected:
    """Remove objects that no version names, and versions beyond the newest `keep_versions` of each person.

    hours: what was written since isn't touched, for a run that is being put names its objects last. Raises
    UserError, before anything is removed, when a version can't be read: what it names isn't known.
    """
    by_name: dict[str, list[Version]] = {}
    for version in versions(store):
        by_name.setdefault(version.name, []).append(version)
    old: set[Version] = set()
    if keep_versions is not None:
        old = {each for theirs in by_name.values() for each in theirs[:-keep_versions]}
    kept = [each for theirs in by_name.values() for each in theirs if each not in old]
    needed = {sha256 for version in kept for sha256 in load_person(store, version).objects()}
    for version in sorted(old, key=lambda each: each.path):
        store.remove(version.path)
    removed = removed_bytes = young = 0
    for file in list(store.files("objects")):
        sha256 = object_named(file.path)
        if sha256 is None or sha256 in needed:
            continue
        if file.age_seconds < hours * SECONDS_AN_HOUR:
            young += 1
            continue
        store.remove(file.path)
        removed, removed_bytes = removed + 1, removed_bytes + file.size_bytes
    return Collected(removed, removed_bytes, young, len(needed))


def _named(person: Person, version: Version) -> list[tuple[ObjectRef, str]]:
    """All objects that a version names, each with what it is."""
    whose = f"{person.name}, version {version.number}"
    groups = {"": {**person.documents, **person.rest}}
    groups |= {f"{target} layer ": layers for target, layers in person.layers.items()}
    return [
        (ref, f"{prefix}{what} of {whose}")
        for prefix, group in groups.items()
        for what, ref in group.items()
    ]
