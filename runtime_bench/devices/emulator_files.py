"""What running ARM64 programs takes and is fetched once: wheels of the runtimes, and a Python to run them in.

The runtimes are of the versions that are installed here; TFLite's two have only Python interfaces in their
wheels. Debian's bookworm has the Python that tflite-runtime was built for.
"""

import contextlib
import importlib.metadata
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from myqasr.core import children
from myqasr.core.errors import NotInstalledError, UserError
from myqasr.core.placing import drafting
from myqasr.core.storage import sha256_of_text
from myqasr.runtime_bench.devices.debian import unpack_packages
from myqasr.runtime_bench.devices.environments import ENVIRONMENTS
from myqasr.runtime_bench.devices.native import cache_folder, runtime_version

SUITE = "bookworm"
PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6")
PLATFORMS = tuple(
    f"manylinux{tag}_aarch64" for tag in ("_2_34", "_2_28", "_2_27", "2014")
)  # what the wheels wanted here are tagged with; bookworm's C library is 2.36
LITERT, OLD_TFLITE = "ai-edge-litert", "tflite-runtime"


def arm64_wheel() -> Path:
    """Package folder of the ARM64 wheel of the installed ExecuTorch version, fetched when first needed.

    Raises UserError when the package registry can't be reached.
    """

    def fill(temporary: Path) -> None:
        wanted = f"executorch=={runtime_version()}"
        _pip("download", "--no-deps", "--dest", str(temporary), wanted)
        (found,) = temporary.glob("*.whl")
        with zipfile.ZipFile(found) as wheel:
            for name in wheel.namelist():
                if name.startswith("executorch/include/") or re.fullmatch(
                    r"executorch/lib/[\w.]+\.so", name
                ):
                    wheel.extract(name, temporary)
        found.unlink()

    return _made_once(_wheel_folder(), fill) / "executorch"


def arm64_system() -> Path:
    """A folder that is the root of an ARM64 Linux with Python 3.11, fetched when first needed.

    Raises UserError when it can't be had.
    """
    return _made_once(
        _system_folder(), lambda folder: unpack_packages(PACKAGES, SUITE, folder, "arm64")
    )


def arm64_python(runtime: str) -> Path:
    """ARM64 Python that has a TFLite runtime, fetched when first needed. runtime: its name in the registry.

    Raises NotInstalledError when LiteRT isn't installed here, UserError when a package can't be had.
    """
    home = arm64_system() / "usr" / "bin"

    def fill(temporary: Path) -> None:
        """A virtual environment, made without running its interpreter."""
        (temporary / "bin").mkdir()
        (temporary / "bin" / "python3.11").symlink_to(home / "python3.11")
        (temporary / "pyvenv.cfg").write_text(f"home = {home}\n")
        site = temporary / "lib" / "python3.11" / "site-packages"
        _pip("install", "--no-deps", "--target", str(site), *_packages(runtime))

    return _made_once(_python_folder(runtime), fill) / "bin" / "python3.11"


def need_all() -> None:
    """Raise NotInstalledError when something isn't fetched yet."""
    folders = (_wheel_folder(), _python_folder(LITERT), _python_folder(OLD_TFLITE))
    if not all(folder.is_dir() for folder in folders):
        raise NotInstalledError(
            "the runtimes for ARM64 aren't fetched yet",
            "python -m myqasr.runtime_bench.devices.emulator_files",
        )


def _wheel_folder() -> Path:
    return cache_folder() / "arm64" / f"executorch-{runtime_version()}"


def _system_folder() -> Path:
    return cache_folder() / "arm64" / f"{SUITE}-{sha256_of_text(' '.join(PACKAGES))[:8]}"


def _python_folder(runtime: str) -> Path:
    """It points to the system's folder."""
    key = sha256_of_text(" ".join((*_packages(runtime), str(_system_folder()))))[:8]
    return cache_folder() / "arm64" / f"{runtime}-{key}"


def _packages(runtime: str) -> tuple[str, ...]:
    """What a TFLite runtime needs, with versions."""
    if runtime in ENVIRONMENTS:
        return ENVIRONMENTS[runtime]
    try:
        return tuple(f"{name}=={importlib.metadata.version(name)}" for name in (runtime, "numpy"))
    except importlib.metadata.PackageNotFoundError as error:
        what = f"TFLite files on arm64 need {runtime}"
        raise NotInstalledError(what, "pip install 'myqasr[tflite]'") from error


class _MadeError(Exception):
    """Another process was faster."""


def _made_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A folder that is there whole or not at all, also when several processes want it."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(_MadeError), drafting(folder) as draft:
            draft.mkdir()
            fill(draft)
            if folder.is_dir():
                raise _MadeError
    return folder


def _pip(command: str, *words: str) -> None:
    """Call pip for ARM64 Linux and Python 3.11; raises UserError with its last error."""
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    done = children.run(
        [
            *(sys.executable, "-P", "-m", "pip", command, "--quiet", "--disable-pip-version-check"),
            *("--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"),
            *(*platforms, *words),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or [
            "no reason given"
        ]
        wanted = " ".join(word for word in words if "==" in word)
        raise UserError(f"can't fetch the ARM64 wheels of {wanted}: {lines[-1]}")


def main() -> int:
    """Fetch all of it and say where it is."""
    try:
        for path in (arm64_wheel(), arm64_python(LITERT), arm64_python(OLD_TFLITE)):
            print(path)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
