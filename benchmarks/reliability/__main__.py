"""`python -m benchmarks.reliability`: count what goes wrong, and write docs/reliability.md.

Needs root for full disks. All is drawn from --seed; --scale 0.1 runs a tenth of the counts. Parts that aren't
asked for keep their last figures.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reliability import commands, damage, disks, kills, odd
from benchmarks.reliability.page import write_page
from benchmarks.results import RESULTS, load_result, save_result

NAME = "reliability"
PARTS = ("damage", "odd", "disks", "races", "kills", "signals", "points")


def main() -> None:
    """Run the parts that are asked for, and keep each as it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--targets", default=",".join(kills.TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        parts = asked.parts.split(",")
        for part, figures in measured(
            Path(name), parts, asked.targets.split(","), asked.seed, asked.scale
        ):
            kept = (RESULTS / f"{NAME}.json").is_file()
            found = {**(load_result(NAME)["figures"] if kept else {}), part: figures}
            print(part, figures, flush=True)
            save_result(NAME, f"python -m benchmarks.reliability {' '.join(sys.argv[1:])}", found)
            write_page(found)


def growing(
    part: str, rows: Iterable[dict[str, Any]]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """All rows so far, after each."""
    found: list[dict[str, Any]] = []
    for row in rows:
        found.append(row)
        yield part, list(found)


def measured(
    folder: Path, parts: Sequence[str], targets: Sequence[str], seed: int, scale: float
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The figures of the parts, one after the other."""
    commands.preload()
    material = commands.material(folder)
    all_jobs = kills.jobs(material, folder, targets)
    jobs = {job.name: job for job in all_jobs}
    first = targets[0]

    def counted(count: int) -> int:
        return max(1, round(scale * count))

    for part in parts:
        draw = random.Random(f"{seed} {part}")
        run = commands.copied(jobs["report"].before, folder / "run")
        match part:
            case "damage":
                other = commands.copied(jobs["personalize others"].before, folder / "other")
                yield part, [damage.damaged_states(run, other, folder, counted(2_400), draw)]
            case "odd":
                yield part, odd.odd_inputs(material, run, folder, counted(12_000), draw)
            case "disks":
                chosen = [each for each in all_jobs if first in each.name or "others" in each.name]
                counts = zip(chosen, (14, 10, 6, 6), strict=False)
                yield from growing(
                    part,
                    (disks.full_disks(job, counted(most), draw, folder) for job, most in counts),
                )
            case "races":
                base = jobs[f"export {first}"].before
                yield part, [disks.races(material, base, folder, counted(24), draw)]
            case "kills":
                most = {"personalize": 24, "export": 14, "bench": 10, "report": 6}
                yield from growing(
                    part,
                    (
                        kills.random_kills(
                            job, counted(most[job.name.split()[0]]), draw, signal.SIGKILL
                        )
                        for job in all_jobs
                    ),
                )
            case "signals":
                chosen = [each for each in all_jobs if first in each.name or each.name == "bench"]
                yield from growing(
                    part,
                    (
                        {**kills.random_kills(job, counted(4), draw, each), "signal": each.name}
                        for job in chosen
                        for each in (signal.SIGTERM, signal.SIGINT)
                    ),
                )
            case "points":
                chosen = [each for each in all_jobs if each.name != "bench"]
                yield from growing(
                    part,
                    (kills.crash_points(job, folder / "points", counted(200)) for job in chosen),
                )
            case _:
                raise ValueError(f"no part {part!r}; there are {', '.join(PARTS)}")


if __name__ == "__main__":
    main()
