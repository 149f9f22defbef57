"""Disks that fill up, and two commands at once."""

import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability.commands import (
    Material,
    copied,
    differing,
    finish,
    logged,
    run,
    start,
    state,
)
from benchmarks.reliability.kills import Job


def full_disks(job: Job, count: int, draw: random.Random, folder: Path) -> dict[str, Any]:
    """The command on file systems too small for what it writes; needs root, to mount them.

    Counts those after which every file is as it was before, or whole and new.
    """
    counts = ("disks", "refused", "fitted", "unchanged", "tracebacks")
    seen: dict[str, Any] = {"command": job.name, **dict.fromkeys(counts, 0)}
    files = job.before.rglob("*") if job.before.exists() else ()
    held = sum(path.stat().st_size for path in files if path.is_file())
    place = folder / "disk"
    place.mkdir(exist_ok=True)
    for _ in range(count):
        room = held + draw.randrange(4_096, 900_000)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={room}", "none", str(place)], check=True
        )
        try:
            target = place / job.run.name
            if job.before.exists():
                try:
                    shutil.copytree(job.before, target)
                except shutil.Error:
                    continue
            before = state(target, ()) if target.exists() else {}
            done = run([target if word == job.run else word for word in job.arguments])
            after = state(target, ()) if target.exists() else {}
            after = {name: each for name, each in after.items() if ".partial" not in name}
            seen["disks"] += 1
            seen["tracebacks"] += done.traceback
            if done.code == 0:
                seen["fitted"] += 1
            else:
                seen["refused"] += done.code == 2
                seen["unchanged"] += after == before
                if done.traceback or after != before:
                    print(job.name, room, differing(before, after), done.text[-500:])
        finally:
            subprocess.run(["umount", str(place)], check=True)
    return seen


def races(
    material: Material, base: Path, folder: Path, count: int, draw: random.Random
) -> dict[str, Any]:
    """Two commands on one run, the second a random while after the first.

    Counts those where one was refused, naming the other, and those whose end is that of one order.
    """
    place = folder / "race"
    told = ("--out", place, "--target", "xnnpack")
    commands = {
        "personalize 0.4x": (
            "personalize",
            material.model,
            material.clips,
            "--budget",
            "0.4x",
            *told,
        ),
        "personalize others": (
            "personalize",
            material.model,
            material.others,
            "--budget",
            "0.6x",
            *told,
        ),
        "export": ("export", place, "--max-seconds", 4),
        "curve": ("curve", place),
    }
    names = list(commands)
    seen: dict[str, Any] = {"races": 0, "refused": 0, "one order": 0, "tracebacks": 0}
    ends: dict[tuple[str, ...], dict[str, str]] = {}

    def end_of(*order: str) -> dict[str, str]:
        if order not in ends:
            copied(base, place)
            for name in order:
                run(commands[name])
            ends[order] = state(place)
        return ends[order]

    for _ in range(count):
        first, second = draw.choice(names[:3]), draw.choice(names)
        wait = draw.uniform(0.0, 3.0)
        allowed = [end_of(first), end_of(second), end_of(first, second), end_of(second, first)]
        copied(base, place)
        with logged() as one, logged() as other:
            begin = time.monotonic()
            left = start(commands[first], one)
            time.sleep(wait)
            right = start(commands[second], other)
            done = finish(left, one, begin), finish(right, other, begin)
        refused = [each for each in done if each.code == 2]
        seen["races"] += 1
        seen["tracebacks"] += any(each.traceback for each in done)
        seen["refused"] += len(refused) == 1 and "in use by process" in refused[0].text
        seen["one order"] += state(place) in allowed
        if state(place) not in allowed or any(each.traceback for each in done):
            print(first, second, wait, [each.text[-300:] for each in done])
    return seen
