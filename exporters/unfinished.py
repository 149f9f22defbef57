"""What an export that may be killed has got so far, in the run's folder, where the same command finds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.core.storage import load_record, record_hash, save_record, sha256_of
from myqasr.personalize.planning.plan import Plan


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
