"""Systems take turns on a speaker's clips, each in a process of its own, all on the same core.

What each has done is kept after every clip: a run that was killed goes on with the clips that are missing.
"""

import datetime
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.peers.clips import TestClip
from benchmarks.peers.systems import System
from benchmarks.results import ROOT
from myqasr.core.errors import UserError
from myqasr.core.storage import converter, record_hash, to_json, write_bytes
from myqasr.runtime_bench.devices.machine import core_times, idle_cores, load_between, pinned


@dataclass(frozen=True, slots=True)
class Heard:
    """One clip by one system. seconds, cpu_seconds: of each run. session: runs of one took turns."""

    text: str
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    session: str


@dataclass(slots=True)
class Kept:
    """What one system did with one speaker. key: of system, clips and options.

    clips: by name. peak_rss_bytes: None until all clips are done. others_share: of the core, taken by other
    programs, the worst of all sessions.
    """

    key: str
    size_bytes: int | None
    version: str = ""
    clips: dict[str, Heard] = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    baseline_rss_bytes: int | None = None
    load_seconds: float | None = None
    others_share: float = 0.0


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """repeats: timed runs of each clip, besides the one whose text counts. threads: of each system."""

    repeats: int = 3
    threads: int = 1


class Process:
    """A system's process; raises UserError with its last words when it ends before it should."""

    def __init__(self, system: System, threads: int) -> None:
        self.name = system.name
        self.words = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        settings = json.dumps(system.settings)
        self.process = subprocess.Popen(
            [system.python or sys.executable, "-m", system.worker, settings],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            text=True,
        )
        self.loaded = self._answer()

    def ask(self, do: str, clip: TestClip | None = None) -> dict[str, Any]:
        """One request and its answer."""
        assert self.process.stdin is not None
        request = {"do": do} if clip is None else {"do": do, "clip": str(clip.path.absolute())}
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words come with the answer that is missing
        return self._answer()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        if self.process.poll() is None and self.process.stdin is not None:
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.words.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.words.seek(0)
            said = self.words.read().decode(errors="replace").strip().splitlines()
            last = said[-1] if said else "without a word"
            if "No module named" in last:
                last += "; pip install 'myqasr[peers]', or name a --python that has it"
            raise UserError(f"{self.name} ended: {last}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def take_turns(
    systems: Sequence[System],
    clips: Sequence[TestClip],
    folder: Path,
    options: TurnOptions,
    say: Callable[[str], None],
) -> dict[str, Kept]:
    """Every system on every clip of one speaker, by name; what is in `folder` already isn't done again."""
    kept = {system.name: _kept(system, clips, folder, options) for system in systems}
    todo = [system for system in systems if kept[system.name].peak_rss_bytes is None]
    if not todo:
        return kept
    session = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    longest = max(clips, key=lambda clip: clip.seconds)
    idle, busy = idle_cores(options.threads)
    processes: dict[str, Process] = {}
    with pinned(idle) as cores:
        begin = core_times(cores)
        try:
            for system in todo:
                process = processes[system.name] = Process(system, options.threads)
                process.ask("text", longest)  # warms up, and needs the most memory
                kept[system.name].version = process.loaded["version"]
                kept[system.name].load_seconds = process.loaded["load_seconds"]
            for number, clip in enumerate(clips):
                say(f"clip {number + 1} of {len(clips)}")
                missing = [
                    system.name for system in todo if clip.name not in kept[system.name].clips
                ]
                _one_clip(clip, {name: processes[name] for name in missing}, kept, options, session)
                for system in todo:
                    _keep(kept[system.name], system, folder)
            memory = {system.name: processes[system.name].ask("memory") for system in todo}
        finally:
            for process in processes.values():
                process.close()
        # What the processes took counts as ours only now that they have ended.
        load = load_between(begin, core_times(cores), cores, busy)
    for system in todo:
        done = kept[system.name]
        done.peak_rss_bytes = memory[system.name]["peak_rss_bytes"]
        done.baseline_rss_bytes = memory[system.name]["baseline_rss_bytes"]
        done.others_share = max(load.others_share + load.stolen_share, done.others_share)
        _keep(done, system, folder)
    return kept


def _one_clip(
    clip: TestClip,
    processes: dict[str, Process],
    kept: dict[str, Kept],
    options: TurnOptions,
    session: str,
) -> None:
    """Text once, then timed runs, in an order drawn anew for each."""
    draw = random.Random(clip.name)
    texts: dict[str, str] = {}
    timed: dict[str, list[dict[str, float]]] = {name: [] for name in processes}
    for turn in range(options.repeats + 1):
        for name in draw.sample(sorted(processes), len(processes)):
            answer = processes[name].ask("time" if turn else "text", clip)
            if turn:
                timed[name].append(answer)
            else:
                texts[name] = answer["text"]
    for name, answers in timed.items():
        seconds, cpu = (
            tuple(answer[what] for answer in answers) for what in ("seconds", "cpu_seconds")
        )
        kept[name].clips[clip.name] = Heard(texts[name], seconds, cpu, session)


def _kept(system: System, clips: Sequence[TestClip], folder: Path, options: TurnOptions) -> Kept:
    key = record_hash(
        {
            "record": [each.name for each in fields(Heard)],
            "system": system.fingerprint(),
            "clips": [clip.name for clip in clips],
            "options": converter.unstructure(options),
        }
    )
    path = _path(system, folder)
    if path.is_file():
        held = json.loads(path.read_text())
        if held["key"] == key:
            return converter.structure(held, Kept)
    return Kept(key, system.size_bytes)


def _keep(done: Kept, system: System, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(_path(system, folder), to_json(done).encode())


def _path(system: System, folder: Path) -> Path:
    return folder / f"{system.name.replace(' ', '_').replace('/', '_')}.json"
