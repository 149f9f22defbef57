"""Environments of runtimes that can't live in ours: where they are, how they are made. No torch here."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from myqasr.core import children
from myqasr.core.errors import NotInstalledError, UserError

ENVIRONMENTS = {
    "tflite-runtime": ("tflite-runtime==2.14.0", "numpy==1.26.4"),
}
"""Runtime -> what is installed for it. tflite-runtime was built for numpy 1 and Python up to 3.11."""

WORKER = Path(__file__).with_name("tflite_worker.py")
INSTALL_SECONDS = 900


def environment_folder(name: str) -> Path:
    """Where a runtime's environment is; MYQASR_ENVIRONMENTS moves all of them."""
    chosen = os.environ.get("MYQASR_ENVIRONMENTS")
    if chosen:
        return Path(chosen) / name
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "myqasr" / name


def environment_python(name: str) -> Path:
    """Its interpreter; raises NotInstalledError saying how to install it where it is missing."""
    python = _python(environment_folder(name))
    if not python.is_file():
        raise NotInstalledError(f"{name} is not installed", f"myqasr doctor --install {name}")
    return python


def install_environment(name: str) -> Path:
    """Make a runtime's environment anew from the package registry; returns its folder.

    Raises UserError listing the known names, or with pip's last words.
    """
    packages = ENVIRONMENTS.get(name)
    if packages is None:
        raise UserError(f"nothing to install for {name!r}; known: {', '.join(ENVIRONMENTS)}")
    folder = environment_folder(name)
    draft = folder.with_name(f".{name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        venv.create(draft, with_pip=True)
        done = children.run(
            [
                str(_python(draft)),
                "-P",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--only-binary=:all:",
                *packages,
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UserError(f"pip can't install {' '.join(packages)}: {lines[-1]}")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"can't install {name} in {folder}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _python(folder: Path) -> Path:
    if sys.platform == "win32":
        return folder / "Scripts" / "python.exe"
    return folder / "bin" / "python"


def worker_command(python: Path, runtime: str) -> tuple[str, ...]:
    """What serves .tflite files: a Python that has a TFLite runtime, by its name in the registry."""
    return (str(python), "-I", str(WORKER), runtime)
