"""Commands killed at random moments and at every point where a file changes its name, then run again."""

import os
import random
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.reliability.commands import (
    Material,
    copied,
    differing,
    run,
    run_killed,
    state,
    strays,
)
from myqasr.speech.datasets import evenly

TARGETS = ("xnnpack", "litert", "coreml")


@dataclass(frozen=True, slots=True)
class Job:
    """A command, the folder it starts from, and the state that it leaves when nobody kills it."""

    name: str
    arguments: tuple[object, ...]
    run: Path
    before: Path
    after: dict[str, str]
    seconds: float


def jobs(material: Material, folder: Path, targets: Sequence[str] = TARGETS) -> list[Job]:
    """Personalising anew and over another speaker's run, exports of every target, a report, a bench."""
    place = folder / "alice"
    found: list[Job] = []

    def add(name: str, *arguments: object) -> None:
        before = copied(place, folder / f"before {name}")
        done = run(arguments)
        assert done.code == 0, (name, done.text)
        found.append(Job(name, arguments, place, before, state(place), done.seconds))

    personalize = ("personalize", material.model)
    for target in targets:
        shutil.rmtree(place, ignore_errors=True)
        told = ("--budget", "0.5x", "--target", target, "--out", place)
        add(f"personalize {target}", *personalize, material.clips, *told)
        if target == targets[0]:
            add("personalize others", *personalize, material.others, *told)
        add(f"export {target}", "export", place, "--max-seconds", 4)
        if target == targets[0]:
            add(f"export {target} again", "export", place, "--max-seconds", 3)
            bench = ("--data", material.test, "--runs", 2, "--seconds", 0, "--threads", 1)
            add("bench", "bench", place, *bench)
            add("report", "report", place)
    return found


def random_kills(job: Job, count: int, draw: random.Random, number: int) -> dict[str, Any]:
    """Kill a command so often, each time at another moment, and run it again; what was seen, counted."""
    counts = ("kills", "ended", "again", "same", "strays", "processes")
    seen: dict[str, Any] = {"command": job.name, **dict.fromkeys(counts, 0)}
    times: list[float] = []
    while seen["kills"] < count and seen["ended"] < 3 * count:
        copied(job.before, job.run)
        if not job.before.exists():
            shutil.rmtree(job.run, ignore_errors=True)
        done = run_killed(job.arguments, draw.uniform(0.02, 0.95) * job.seconds, number)
        if done.code >= 0 and number == signal.SIGKILL:
            seen["ended"] += 1
            continue
        seen["kills"] += 1
        seen["processes"] += len(children_left())
        again = run(job.arguments)
        seen["again"] += again.code == 0
        seen["same"] += state(job.run) == job.after
        seen["strays"] += len(strays(job.run))
        times.append(again.seconds / job.seconds)
        if state(job.run) != job.after:
            print(job.name, differing(state(job.run), job.after), again.text[-300:])
    seen["time"] = [round(min(times), 2), round(max(times), 2)] if times else []
    return seen


def children_left() -> list[int]:
    """Processes of ours that work on a bench and have lost their parent."""
    found = []
    for process in psutil.process_iter(["pid", "ppid", "cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if "peak_memory" in words and process.info["ppid"] in (0, 1):
            found.append(process.info["pid"])
    return found


def crash_points(job: Job, folder: Path, most: int) -> dict[str, Any]:
    """What the disk holds before every rename, removal and sync, and the command run again on each.

    A process that is killed there leaves just that: locks end with it. Equal contents are tried once,
    and no more than `most`, evenly chosen.
    """
    copied(job.before, job.run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    def watch() -> None:
        count, busy = 0, False
        for name in ("replace", "rename", "unlink", "chmod", "fsync", "rmdir"):
            real = getattr(os, name)

            def watched(*words: Any, real: Any = real, **more: Any) -> Any:
                nonlocal count, busy
                if job.run.exists() and not busy:
                    busy = True
                    shutil.copytree(job.run, folder / f"{count:04}", symlinks=True)
                    count, busy = count + 1, False
                return real(*words, **more)

            setattr(os, name, watched)

    done = run(job.arguments, watch)
    assert done.code == 0, done.text
    points = sorted(folder.iterdir())
    distinct = {tuple(sorted(state(point, ()).items())): point for point in points}
    seen: dict[str, Any] = {
        "command": job.name,
        "points": len(points),
        "states": len(distinct),
        "tried": min(most, len(distinct)),
        **dict.fromkeys(("again", "same", "strays"), 0),
    }
    tried = evenly(list(distinct.values()), most)
    for point in tried:
        copied(point, job.run)
        again = run(job.arguments)
        seen["again"] += again.code == 0
        now = state(job.run)
        seen["same"] += now == job.after
        seen["strays"] += len(strays(job.run))
        if now != job.after or again.code:
            print(job.name, point.name, differing(now, job.after), again.text[-400:])
    shutil.rmtree(folder)
    return seen
