"""Exported .pte files on a device behind adb: `adb:SERIAL`. The phone's own processor, memory and heat.

The runner, its libraries, the file and each recording are pushed to a folder of the device's own, which is
removed at the end. The device needs no more than a shell: the C library travels along; Android's is another.
"""

import contextlib
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from myqasr.core import children
from myqasr.core.children import scratch_folder
from myqasr.core.errors import UserError
from myqasr.personalize.planning.budget import format_bytes
from myqasr.runtime_bench.devices.android import (
    TRANSFER_SECONDS,
    Adb,
    Conditions,
    RemoteDevice,
    connect,
)
from myqasr.runtime_bench.devices.emulator import SYSTEM_LIBRARIES, arm64_runner
from myqasr.runtime_bench.devices.session import open_session
from myqasr.runtime_bench.runners.base import System, existing_file
from myqasr.runtime_bench.runners.process import ProcessRunner

SHARED_FOLDER = "/data/local/tmp"
LOADER = "ld-linux-aarch64.so.1"
C_LIBRARIES = ("c.so.6", "m.so.6", "dl.so.2", "pthread.so.0", "gcc_s.so.1", "stdc++.so.6")
EMULATOR = "arm64-emulator"
"""Program of a device whose processor isn't ARM64 that runs ARM64 programs."""
_SWEEP = (
    f"for folder in {SHARED_FOLDER}/myqasr-*; do "
    "[ -f $folder/pid ] || continue; "
    f"grep -q {LOADER} /proc/$(cat $folder/pid)/cmdline 2>/dev/null || rm -rf $folder; done"
)
"""Removes what runs left whose device was pulled out."""
SLACK_BYTES = 8_000_000  # for recordings and logits


@dataclass(frozen=True, slots=True)
class DeviceFolder:
    """A place on a device. before: its conditions as the runner was started."""

    adb: Adb
    path: str
    emulator: str
    before: Conditions

    @property
    def name(self) -> str:
        """In messages."""
        return f"the runner on device {self.adb.serial}"

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start the runner, which must have been pushed, in the folder."""
        # Its process id is kept, so that a runner that hangs can be ended from here.
        line = (
            f"cd {self.path} && echo $$ > pid && exec {self.emulator} ./{LOADER} --library-path . "
            f"./runner {' '.join(arguments)}"
        )
        return children.start(
            self.adb.command("shell", "-T", line),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def push(self, file: Path, name: str) -> None:
        """Copy a file into the folder; raises UserError when the device is full or gone."""
        try:
            self._transfer("push", str(file), f"{self.path}/{name}")
        except UserError as error:
            if "No space left" in str(error):
                raise UserError(
                    f"device {self.adb.serial} is full: {name} of {format_bytes(file.stat().st_size)} "
                    f"doesn't fit into {SHARED_FOLDER}; free some space on it and run again"
                ) from error
            raise

    def put(self, name: str, data: bytes) -> None:
        """Write a file of the folder."""
        with scratch_folder("adb") as folder:
            file = folder / name
            file.write_bytes(data)
            self.push(file, name)

    def get(self, name: str) -> bytes:
        """Read a file of the folder."""
        with scratch_folder("adb") as folder:
            file = folder / name
            self._transfer("pull", f"{self.path}/{name}", str(file))
            return file.read_bytes()

    def _transfer(self, *words: str) -> None:
        """Push or pull; a device that is gone is told from other failures."""
        try:
            self.adb.call(*words, seconds=TRANSFER_SECONDS)
        except UserError:
            self.check_alive()
            raise

    def check_alive(self) -> None:
        """Raise UserError when the device is gone."""
        try:
            self.adb.shell("true")
        except UserError as error:
            raise UserError(
                f"device {self.adb.serial} went away while it ran ({error}); nothing was kept, "
                "connect it and run again"
            ) from error

    def close(self) -> None:
        """End the runner if it still runs, and remove the folder, if the device is still there."""
        with contextlib.suppress(UserError):
            pid = f"$(cat {self.path}/pid)"
            self.adb.shell(
                f"grep -q {LOADER} /proc/{pid}/cmdline 2>/dev/null && kill {pid}; rm -rf {self.path}"
            )


@dataclass(frozen=True, slots=True)
class AdbRunner(ProcessRunner):
    """A model loaded by the C++ runner on a device."""

    folder: DeviceFolder
    name: str
    abi: str

    def device(self) -> RemoteDevice:
        """The device, with its conditions at the start and now."""
        cpu = dict(self.session.loaded["cpu"])
        cores = int(cpu.pop("cores"))
        emulated = bool(self.folder.emulator)
        return RemoteDevice(
            self.name,
            self.abi,
            emulated,
            cpu,
            cores,
            self.folder.before,
            self.folder.adb.conditions(),
        )


def open_runner(system: System, threads: int) -> AdbRunner:
    """Push what is needed to the device and load a .pte there.

    Raises UserError when there is no such device, it isn't ARM64, has no room, or the file can't be loaded.
    """
    path = existing_file(system)
    adb = connect(system.runner.partition(":")[2])
    emulator = _emulator(adb)
    runner = arm64_runner()
    files = {
        "runner": runner.path,
        "model.pte": path,
        LOADER: SYSTEM_LIBRARIES / LOADER,
        **{f"lib{name}": SYSTEM_LIBRARIES / f"lib{name}" for name in C_LIBRARIES},
        **{library.name: library for library in runner.libraries},
    }
    adb.ask(_SWEEP)
    _check_room(adb, sum(file.stat().st_size for file in files.values()) + SLACK_BYTES)
    folder = DeviceFolder(
        adb, f"{SHARED_FOLDER}/myqasr-{secrets.token_hex(4)}", emulator, adb.conditions()
    )
    try:
        adb.shell(f"mkdir -p {folder.path}")
        for name, file in files.items():
            folder.push(file, name)
        adb.shell(f"chmod 755 {folder.path}/runner {folder.path}/{LOADER}")
    except BaseException:
        folder.close()
        raise
    session = open_session(folder, "model.pte", threads, system.autoregression)
    brand, model, android, abi = (
        adb.ask(f"getprop {key}")
        for key in (
            "ro.product.manufacturer",
            "ro.product.model",
            "ro.build.version.release",
            "ro.product.cpu.abi",
        )
    )
    name = f"{brand} {model}".strip() or adb.serial
    where = f"{name}, Android {android}" if android else name
    how = " (emulated processor)" if emulator else ""
    return AdbRunner(
        f"ExecuTorch {runner.version} C++ on {where}{how}",
        session.loaded["threads"],
        session,
        folder,
        where,
        abi or adb.ask("uname -m"),
    )


def _emulator(adb: Adb) -> str:
    """What must stand before an ARM64 program on this device; raises UserError when nothing helps."""
    machine = adb.shell("uname -m").strip()
    if machine in ("aarch64", "armv8l"):
        return ""
    found = adb.ask(f"command -v {EMULATOR}")
    if not found:
        raise UserError(
            f"device {adb.serial} has a {machine} processor; the runner is for ARM64 (arm64-v8a)"
        )
    return found


def _check_room(adb: Adb, needed: int) -> None:
    free = adb.free_bytes(SHARED_FOLDER)
    if free is not None and free < needed:
        raise UserError(
            f"device {adb.serial} has {format_bytes(free)} free in {SHARED_FOLDER}, this needs "
            f"{format_bytes(needed)}; free some space on it and run again"
        )
