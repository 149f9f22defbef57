"""Our files: personalised for each speaker at each budget, or whatever lies where a pattern says."""

import glob
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.peers.clips import Speaker
from benchmarks.peers.systems import System, our_file
from myqasr.api import Listener, export, personalize_model
from myqasr.core.errors import UserError
from myqasr.speech.datasets import Recording
from myqasr.speech.models.base import Source

TARGET = "xnnpack"


def files_for(
    speaker: Speaker,
    clips: Sequence[Recording],
    budgets: Sequence[str],
    model: str,
    folder: Path,
    listener: Listener,
) -> dict[str, Path]:
    """One exported file for each budget, by budget: measured once on `clips`, planned for each.

    budgets: `31MB`, or `31MB@10` for a file that listens to 10 s at a time. model: as myqasr names it.
    folder: the speaker's run goes there, and the files of each budget into a folder of its own; those that
    are there aren't made again, so delete them when they would be others now.
    """
    found: dict[str, Path] = {}
    for budget in budgets:
        place = folder / "files" / f"{speaker.name} {budget}"
        if not (place / "manifest.json").is_file():
            size, _, window = budget.partition("@")
            run = personalize_model(
                str(replace(Source.parse(model), window=float(window))) if window else model,
                list(clips),
                budget=size,
                out=folder / (f"{speaker.name}@{window}" if window else speaker.name),
                target=TARGET,
                listener=listener,
            )
            (written,) = export(run, target=TARGET, listener=listener)
            beside = place.with_name(f"{place.name}.unfinished")
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(written.path.parent, beside)
            beside.rename(place)
        (found[budget],) = place.glob("*.pte")
    return found


def our_systems(
    speaker: Speaker,
    budgets: Sequence[str],
    pattern: str | None,
    model: str,
    folder: Path,
    runner: str,
    threads: int,
    listener: Listener,
) -> list[System]:
    """Files at budgets, then those of a pattern, in which {speaker} stands for the speaker's name."""
    made = files_for(speaker, speaker.fit, budgets, model, folder, listener)
    systems = [our_file(f"myqasr {budget}", path, runner, threads) for budget, path in made.items()]
    if pattern is None:
        return systems
    named = pattern.replace("{speaker}", speaker.name)
    paths = [Path(path).absolute() for path in sorted(glob.glob(named, recursive=True))]
    if not paths:
        raise UserError(f"no files for {named}")
    return systems + [our_file(_label(path, paths), path, runner, threads) for path in paths]


def _label(path: Path, paths: Sequence[Path]) -> str:
    """What sets a file apart from the others: its name, or its folder's where names are the same."""
    same = [other for other in paths if other.name == path.name]
    return f"myqasr {path.stem if len(same) == 1 else path.parent.name}"
