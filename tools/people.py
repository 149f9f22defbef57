"""Make `speech/people`: four real readers, so that the demo runs on a person.

    python -m tools.people SPEECH speech/people

SPEECH holds LibriSpeech and Common Voice clips with `manifest.csv` and `manifest_more.csv`. None of the four
was in any training of ours. Files are taken as they are.
"""

import argparse
import csv
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

HEADER = ("path", "speaker", "gender", "age_group", "split", "seconds", "text")
MANIFESTS = ("manifest.csv", "manifest_more.csv")
LONGEST_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Person:
    """name: of the folder. speaker: in the manifest. tune, test: so many clips."""

    name: str
    speaker: str
    tune: int
    test: int


PEOPLE = (
    Person("libri-1272", "libri-1272", 16, 24),
    Person("libri-84", "libri-84", 12, 16),
    Person("cv-3f8c", "cv-3f8c120d55b1", 12, 18),
    Person("cv-acb1", "cv-acb1b5d5f47e", 12, 20),
)


def make_people(source: Path, folder: Path) -> int:
    """Copy every person's clips and write `manifest.csv` under `folder`; returns bytes copied."""
    clips = [row for name in MANIFESTS for row in _rows(source / name)]
    written, size_bytes = [], 0
    for person in PEOPLE:
        own = sorted(
            (row for row in clips if row["speaker"] == person.speaker), key=lambda row: row["path"]
        )
        short = [row for row in own if float(row["seconds"]) <= LONGEST_SECONDS]
        if len(short) < person.tune + person.test:
            raise SystemExit(f"{source} has only {len(short)} short clips of {person.speaker}")
        for index, row in enumerate(short[: person.tune + person.test]):
            split = "tune" if index < person.tune else "test"
            number = index if split == "tune" else index - person.tune
            path = Path(person.name, split, f"{number:03}{Path(row['path']).suffix}")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / row["path"], folder / path)
            size_bytes += (folder / path).stat().st_size
            written.append({**row, "path": str(path), "speaker": person.name, "split": split})
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, HEADER, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(written)
    return size_bytes


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    print(f"{make_people(options.source, options.folder):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
