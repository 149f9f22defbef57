"""Runners for ARM64 phones, and an emulator to run them in: a phone's kernels, not its speed.

Results of kernels differ between CPU models, not between chips of a model, so a model is always named: with
QEMU 7.2's catch-all `max` int8 kernels compute something else. Kernels are chosen by /proc/cpuinfo,
so the emulated root has one that fits.
"""

import contextlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from myqasr.core import children
from myqasr.core.errors import NotInstalledError, UserError
from myqasr.core.placing import replacing
from myqasr.core.storage import sha256_of_text
from myqasr.runtime_bench.devices.emulator_files import arm64_python, arm64_system, arm64_wheel
from myqasr.runtime_bench.devices.environments import worker_command
from myqasr.runtime_bench.devices.native import NativeRunner, build_runner, cache_folder

COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64"
SYSTEM_LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")  # those of Debian's cross compiler
MEND = "make arm64  # on Debian; elsewhere install what tools/arm64_packages.sh lists"
COUNTER_SOURCE = Path(__file__).parents[1] / "cpp" / "instructions.c"


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


def need_compiler() -> None:
    """Raise NotInstalledError where there is no cross compiler."""
    if shutil.which(COMPILER) is None:
        raise NotInstalledError(f"no cross compiler {COMPILER!r} for ARM64", MEND)


def need_emulator() -> str:
    """The emulator's program; raises NotInstalledError where there is none."""
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        raise NotInstalledError(f"emulating ARM64 needs {EMULATOR}", MEND)
    return emulator


def arm64_runner() -> NativeRunner:
    """The runner for ARM64; raises UserError when it can't be built here."""
    need_compiler()  # before anything is fetched
    return build_runner(COMPILER, arm64_wheel(), MEND)


def known_cpu(name: str) -> str:
    """The name of a CPU model that can be emulated; raises UserError listing them."""
    if name not in CPUS:
        raise UserError(f"can't emulate CPU {name!r}; known: {', '.join(CPUS)}")
    return name


@dataclass(frozen=True, slots=True)
class Program:
    """An ARM64 program. name: in messages. system: where the emulator finds folders of the root, by name."""

    name: str
    command: tuple[str, ...]
    system: dict[str, Path]


def cpp_program() -> Program:
    """The C++ runner; raises UserError when it can't be built here."""
    runner = arm64_runner()
    return Program("ExecuTorch C++", (str(runner.path),), {"lib": SYSTEM_LIBRARIES})


def tflite_program(runtime: str) -> Program:
    """The worker with a TFLite runtime; raises UserError when it can't be had."""
    need_emulator()  # before anything is fetched
    python, system = arm64_python(runtime), arm64_system()
    folders = {name: system / name for name in ("lib", "usr")}
    return Program(runtime, worker_command(python, runtime), folders)


def emulated(program: Program, cpu: str, counts: str | None = None) -> tuple[str, ...]:
    """The command that runs an ARM64 program as on this CPU model.

    counts: file that gets the number of instructions so far at each answer. Raises UserError when the
    emulator is missing or the CPU model unknown.
    """
    known_cpu(cpu)
    emulator = need_emulator()
    for folder in program.system.values():
        if not folder.is_dir():
            raise NotInstalledError(f"emulating ARM64 needs {folder}", MEND)
    plugin = () if counts is None else ("-plugin", f"{_counter(emulator)},counts={counts}")
    root = _root(cpu, program.system)
    return (emulator, "-cpu", cpu, "-L", str(root), *plugin, *program.command)


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


def _root(cpu: str, system: Mapping[str, Path]) -> Path:
    """Where the emulated program finds its libraries and what CPU it runs on."""
    text = cpuinfo(cpu)
    key = sha256_of_text(text + "".join(f"{name}={path}" for name, path in system.items()))[:8]
    root = cache_folder() / "arm64" / f"root-{cpu}-{key}"
    root.mkdir(parents=True, exist_ok=True)
    for name, path in system.items():
        with contextlib.suppress(FileExistsError):
            (root / name).symlink_to(path)
    if not (root / "proc" / "cpuinfo").is_file():
        with replacing(root / "proc" / "cpuinfo") as temporary:
            temporary.write_text(text)
    return root


def emulator_version(emulator: str) -> str:
    """As QEMU says it; empty when it doesn't."""
    done = children.run(
        [emulator, "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"version ([\d.]+)", done.stdout)
    return "" if found is None else found[1]


def _counter(emulator: str) -> Path:
    """The emulator's plugin that counts instructions, compiled for its version."""
    version = emulator_version(emulator).partition(".")[0]
    api = 1 if not version or int(version) < 9 else 2
    key = sha256_of_text(f"{COUNTER_SOURCE.read_text()}{api}")[:16]
    path = cache_folder() / "arm64" / f"instructions-{key}.so"
    if path.is_file():
        return path
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UserError("counting instructions needs a C compiler: apt-get install gcc")
    with replacing(path) as temporary:
        call = [compiler, "-O2", "-shared", "-fPIC", f"-DPLUGIN_API={api}"]
        done = children.run(
            [*call, "-o", str(temporary), str(COUNTER_SOURCE)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UserError(f"can't build the instruction counter: {done.stderr.strip()}")
    return path
