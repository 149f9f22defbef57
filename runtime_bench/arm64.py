"""The C++ runner for ARM64 phones, and an emulator to run it in: a phone's kernels, not its speed.

Results of kernels differ between CPU models, not between chips of a model, so a model is always named: with
QEMU 7.2's catch-all `max` int8 kernels compute something else. Kernels are chosen by /proc/cpuinfo,
so the emulated root has one that fits.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime_bench.native import NativeRunner, build_runner, cache_folder, runtime_version
from speech.errors import UserError
from speech.storage import replacing, sha256_of_text

COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64"
SYSTEM_LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")  # those of Debian's cross compiler
MEND = "install what tools/arm64_packages.sh lists (Debian: `make arm64`)"
COUNTER_SOURCE = Path(__file__).with_name("cpp") / "instructions.c"


@dataclass(frozen=True, slots=True)
class Cpu:
    """part: ARM's number of the core. features: instruction sets, as Linux names them."""

    part: str
    features: str


CPUS = {
    "cortex-a53": Cpu("0xd03", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"),
    "cortex-a76": Cpu(
        "0xd0b",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
        "asimddp ssbs",
    ),
}
"""CPU models to emulate: one with plain NEON, one with half-precision arithmetic and dot products."""
DEFAULT_CPU = "cortex-a76"


def arm64_wheel() -> Path:
    """Package folder of the ARM64 wheel of the installed ExecuTorch version, fetched when first needed.

    Raises UserError when the package registry can't be reached.
    """
    version = runtime_version()
    folder = cache_folder() / "arm64" / f"executorch-{version}"
    if folder.is_dir():
        return folder / "executorch"
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".wheel-", dir=folder.parent))
    try:
        _unpack_wheel(version, temporary)
        with contextlib.suppress(OSError):  # another process was faster
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / "executorch"


def _unpack_wheel(version: str, temporary: Path) -> None:
    """Headers and libraries of the wheel, in a folder."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--platform", "manylinux_2_28_aarch64"),
            *("--python-version", "3.11", "--implementation", "cp", "--dest", str(temporary)),
            f"executorch=={version}",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    wheels = list(temporary.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["no wheel came"]
        raise UserError(f"can't fetch the ARM64 wheel of executorch {version}: {lines[-1]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        for name in wheel.namelist():
            if name.startswith("executorch/include/") or re.fullmatch(
                r"executorch/lib/[\w.]+\.so", name
            ):
                wheel.extract(name, temporary)
    wheels[0].unlink()


def arm64_runner() -> NativeRunner:
    """The runner for ARM64; raises UserError when it can't be built here."""
    if shutil.which(COMPILER) is None:  # before anything is fetched
        raise UserError(f"no cross compiler {COMPILER!r} for ARM64; {MEND}")
    return build_runner(COMPILER, arm64_wheel(), MEND)


def known_cpu(name: str) -> str:
    """The name of a CPU model that can be emulated; raises UserError listing them."""
    if name not in CPUS:
        raise UserError(f"can't emulate CPU {name!r}; known: {', '.join(CPUS)}")
    return name


def emulated(program: Sequence[str], cpu: str, counts: Path | None = None) -> tuple[str, ...]:
    """The command that runs an ARM64 program as on this CPU model.

    counts: file that gets the number of instructions so far at each answer. Raises UserError when the
    emulator is missing or the CPU model unknown.
    """
    known_cpu(cpu)
    emulator = shutil.which(EMULATOR)
    if emulator is None or not SYSTEM_LIBRARIES.is_dir():
        missing = EMULATOR if emulator is None else str(SYSTEM_LIBRARIES)
        raise UserError(f"emulating ARM64 needs {missing}; {MEND}")
    plugin = () if counts is None else ("-plugin", f"{_counter(emulator)},counts={counts}")
    return (emulator, "-cpu", cpu, "-L", str(_root(cpu)), *plugin, *program)


def cpuinfo(cpu: str, cores: int = 4) -> str:
    """/proc/cpuinfo of a phone with this CPU model."""
    fields = CPUS[cpu]
    lines = []
    for core in range(cores):
        lines += [
            f"processor\t: {core}",
            "BogoMIPS\t: 100.00",
            f"Features\t: {fields.features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x0",
            f"CPU part\t: {fields.part}",
            "CPU revision\t: 1",
            "",
        ]
    return "\n".join(lines) + "\n"


def _root(cpu: str) -> Path:
    """Where the emulated program finds its C library and what CPU it runs on."""
    text = cpuinfo(cpu)
    root = cache_folder() / "arm64" / f"root-{cpu}-{sha256_of_text(text)[:8]}"
    libraries = root / "lib"
    libraries.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        libraries.symlink_to(SYSTEM_LIBRARIES)
    if not (root / "proc" / "cpuinfo").is_file():
        with replacing(root / "proc" / "cpuinfo") as temporary:
            temporary.write_text(text)
    return root


def _counter(emulator: str) -> Path:
    """The emulator's plugin that counts instructions, compiled for its version."""
    version = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d+)\.", version.stdout)
    api = 1 if found is None or int(found[1]) < 9 else 2
    key = sha256_of_text(f"{COUNTER_SOURCE.read_text()}{api}")[:16]
    path = cache_folder() / "arm64" / f"instructions-{key}.so"
    if path.is_file():
        return path
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UserError("counting instructions needs a C compiler: apt-get install gcc")
    with replacing(path) as temporary:
        call = [compiler, "-O2", "-shared", "-fPIC", f"-DPLUGIN_API={api}"]
        done = subprocess.run(
            [*call, "-o", str(temporary), str(COUNTER_SOURCE)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UserError(f"can't build the instruction counter: {done.stderr.strip()}")
    return path
