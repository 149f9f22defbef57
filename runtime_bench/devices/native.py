"""Our C++ runner, compiled when first needed from the headers and libraries of an ExecuTorch wheel."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from myqasr.core import children
from myqasr.core.errors import NotInstalledError, UserError
from myqasr.core.placing import replacing

SOURCE = Path(__file__).parents[1] / "cpp" / "runner.cpp"
HEADERS = sorted(SOURCE.parent.glob("*.h"))
LIBRARIES = (
    "executorch",
    "executorch_kernels_optimized",
    "executorch_kernels_quantized",
    "executorch_backend_xnnpack",
    "executorch_threadpool",
    "executorch_etdump",
)
FLAGS = (
    "-O2",
    "-std=c++17",
    "-w",  # the wheel's headers warn
    "-DC10_USING_CUSTOM_GENERATED_MACROS",
    "-DET_EVENT_TRACER_ENABLED",
)


@dataclass(frozen=True, slots=True)
class NativeRunner:
    """A compiled runner. libraries: files of the runtime that it loads. version: the runtime's."""

    path: Path
    libraries: tuple[Path, ...]
    version: str


def cache_folder() -> Path:
    """Where what is built or fetched is kept: MYQASR_CACHE, else myqasr in the user's cache folder."""
    given = os.environ.get("MYQASR_CACHE")
    if given:
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "myqasr"


def runtime_version() -> str:
    """Of the installed ExecuTorch; runners for other machines are of the same."""
    return importlib.metadata.version("executorch")


def host_runner() -> NativeRunner:
    """The runner for this machine, from the installed wheel; raises UserError when it can't be built."""
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalledError("runner executorch-cpp needs executorch", "pip install myqasr")
    compiler = os.environ.get("CXX", "g++")
    return build_runner(compiler, Path(spec.submodule_search_locations[0]), "apt-get install g++")


def build_runner(compiler: str, wheel: Path, mend: str) -> NativeRunner:
    """Compile the runner, unless the same source was compiled for the same wheel before.

    wheel: the package folder `executorch` of an unpacked wheel. mend: what installs the compiler.
    Raises UserError with the compiler's last words when it is missing or fails.
    """
    program = shutil.which(compiler)
    if program is None:
        raise NotInstalledError(f"no C++ compiler {compiler!r} to build the C++ runner with", mend)
    libraries = tuple(wheel / "lib" / f"lib{name}.so" for name in LIBRARIES)
    missing = [str(library) for library in libraries if not library.is_file()]
    if missing or not (wheel / "include").is_dir():
        raise UserError(
            f"{wheel} lacks {', '.join(missing) or 'include/'}, which the C++ runner is built from; "
            "install the wheel of executorch that myqasr pins"
        )
    version = runtime_version()
    texts = [path.read_text() for path in (SOURCE, *HEADERS)]
    made_of = "\0".join((*texts, program, version, str(wheel), *FLAGS))
    key = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    path = cache_folder() / "runners" / key / "myqasr-runner"
    if not path.is_file():
        with replacing(path, mode=0o755) as temporary:
            _compile(program, wheel, version, temporary)
    return NativeRunner(path, libraries, version)


def _compile(program: str, wheel: Path, version: str, out: Path) -> None:
    include = wheel / "include"
    call = [
        program,
        *FLAGS,
        f'-DMYQASR_RUNTIME="{version}"',
        f"-I{HEADERS[0].parent}",
        f"-I{include}",
        f"-I{include / 'executorch' / 'runtime' / 'core' / 'portable_type' / 'c10'}",
        str(SOURCE),
        f"-L{wheel / 'lib'}",
        "-Wl,--no-as-needed",  # kernels register themselves as their library is loaded
        *(f"-l{name}" for name in LIBRARIES),
        f"-Wl,-rpath,{wheel / 'lib'}",
        "-pthread",
        "-o",
        str(out),
    ]
    done = children.run(
        call,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise UserError(f"{program} can't build the C++ runner: {lines[0]}")


def main() -> int:
    """Build the runner for this machine and say where it is."""
    print(host_runner().path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
