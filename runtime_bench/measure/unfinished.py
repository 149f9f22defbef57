"""What a bench that may be killed has got so far, in the run's folder, where the same command finds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.core.storage import Sparing, load_record, record_hash
from myqasr.runtime_bench.results.protocol import Turns
from myqasr.runtime_bench.results.report import Startup


@dataclass(frozen=True, slots=True)
class Said:
    """What one system made of one utterance: its text, and the best tokens of each piece."""

    text: str
    tokens: tuple[tuple[int, ...], ...]


@dataclass(slots=True)
class PartialBench:
    """key: hash of all that decides what is measured.

    startups: by system. said: [utterance] -> system -> what. turns: by what is timed, see `Turns`.
    """

    key: str
    startups: dict[str, Startup] = field(default_factory=dict)
    said: list[dict[str, Said]] = field(default_factory=list)
    utterances: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)


class BenchKeeping:
    """Keeps it in memory, and in a file if there is a place for one.

    made_of: all that decides what is measured; what was measured of anything else counts as nothing.
    """

    def __init__(
        self, path: Path | None = None, made_of: Mapping[str, object] | None = None
    ) -> None:
        self._path = path
        key = record_hash(dict(made_of or {}))
        self.kept = PartialBench(key)
        self._sparing = Sparing()
        if path is None:
            return
        try:
            found = load_record(path, PartialBench)
        except UserError:
            return
        if found.key == key:
            self.kept = found

    @property
    def begun(self) -> str:
        """What an earlier bench has got, in words; empty when nothing."""
        kept = self.kept
        turns = sum(map(len, kept.utterances.values()))
        counts = (len(kept.startups), len(kept.said), turns)
        told = "{} systems started, {} recordings heard, {} turns timed"
        return told.format(*counts) if any(counts) else ""

    def keep_startup(self, system: str, startup: Startup) -> None:
        """One more system was started in a process of its own."""
        self.kept.startups[system] = startup
        self._save()

    def keep_said(self, said: dict[str, tuple[str, list[NDArray[np.int64]]]]) -> None:
        """All systems heard one more utterance. said: text and best tokens of each piece, by system."""
        self.kept.said.append(
            {
                name: Said(text, tuple(tuple(piece.tolist()) for piece in tokens))
                for name, (text, tokens) in said.items()
            }
        )
        self._save()

    def turns(self, timed: str) -> Turns:
        """What was timed so far."""
        seconds = self.kept.seconds.get(timed, {})
        return Turns(
            tuple(self.kept.utterances.get(timed, ())),
            {name: tuple(found) for name, found in seconds.items()},
        )

    def keeping_turns(self, timed: str) -> Callable[[int, dict[str, float]], None]:
        """What is told the utterance and the seconds of each system, turn for turn."""

        def keep(utterance: int, seconds: dict[str, float]) -> None:
            self.kept.utterances.setdefault(timed, []).append(utterance)
            for name, took in seconds.items():
                self.kept.seconds.setdefault(timed, {}).setdefault(name, []).append(took)
            self._save()

        return keep

    def discard(self) -> None:
        """It is finished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        if self._path is not None:
            self._sparing.save(self.kept, self._path)
