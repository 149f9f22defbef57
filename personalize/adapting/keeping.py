"""Labels and epochs that are done, in files, so that a killed run goes on after the last of them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from myqasr.core.errors import UserError
from myqasr.core.storage import Sparing, load_record, save_record
from myqasr.core.tensors import load_tensors, save_tensors
from myqasr.personalize.adapting.labelling import Label
from myqasr.personalize.adapting.learning import Learning

_PARTS = ("weights", "first", "second", "best")


class KeptLabels:
    """A teacher's labels by the hash of the audio; this one forgets them with the process."""

    def __init__(self) -> None:
        self.labels: dict[str, Label] = {}

    def keep(self, label: Label) -> None:
        """One more clip was labelled."""
        self.labels[label.sha256] = label

    def finish(self) -> None:
        """All are labelled."""


class KeptLearning:
    """Training after its last epoch; this one forgets it with the process."""

    def load(self) -> Learning | None:
        """What an earlier run got; None when nothing."""
        return None

    def keep(self, learning: Learning) -> None:
        """One more epoch is done."""


@dataclass(frozen=True, slots=True)
class StoredLabels:
    """key: hash of the two models whose texts these are, and of what a second hearing is asked for."""

    key: str
    labels: dict[str, Label]


class LabelsFile(KeptLabels):
    """In a file; one of other models, or damaged, counts as none."""

    def __init__(self, path: Path, key: str) -> None:
        super().__init__()
        self._path, self._key, self._sparing = path, key, Sparing()
        try:
            found = load_record(path, StoredLabels)
        except UserError:
            return
        if found.key == key:
            self.labels = dict(found.labels)

    def keep(self, label: Label) -> None:
        """Written down, unless that would take much of the time."""
        super().keep(label)
        self._sparing.save(StoredLabels(self._key, self.labels), self._path)

    def finish(self) -> None:
        """Written down in any case."""
        save_record(StoredLabels(self._key, self.labels), self._path)


class LearningFile(KeptLearning):
    """In a file; one of other lessons, or damaged, counts as none."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key

    def load(self) -> Learning | None:
        """Read back what `keep` wrote last."""
        if not self._path.is_file():
            return None
        try:
            arrays, about = load_tensors(self._path, "")
        except UserError:
            return None
        if about.get("key") != self._key:
            return None
        parts = {
            part: {
                name.removeprefix(f"{part}."): torch.from_numpy(array.copy())
                for name, array in arrays.items()
                if name.startswith(f"{part}.")
            }
            for part in _PARTS
        }
        return Learning(**parts, history=tuple(json.loads(about["history"])))

    def keep(self, learning: Learning) -> None:
        """Written whole or not at all."""
        arrays = {
            f"{part}.{name}": weight.numpy().astype(np.float32)
            for part in _PARTS
            for name, weight in getattr(learning, part).items()
        }
        about = {"key": self._key, "history": json.dumps(learning.history)}
        save_tensors(arrays, about, self._path)
