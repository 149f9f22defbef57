"""Packages that can't live beside the others, installed once in folders of their own for subprocesses."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def installed(name: str, packages: Sequence[str], without: str | None = None) -> Path:
    """A folder for PYTHONPATH that holds `packages` and nothing they depend on.

    without: glob of files to remove. Safe when several workers ask at once.
    """
    place = ROOT / "build" / name
    if place.is_dir():
        return place
    draft = place.with_name(f"{name}.{os.getpid()}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(draft)]
    subprocess.run([*pip, *packages], check=True)
    for path in draft.glob(without) if without is not None else ():
        path.unlink()
    try:
        draft.rename(place)
    except OSError:  # another worker was faster
        shutil.rmtree(draft)
    return place
