"""A phone for tests: Debian's adbd, a real one, in a folder and network of its own, that runs ARM64 programs.

Needs root. The folder is made of a few Debian packages, unpacked, none installed; BusyBox is its shell, as
Toybox is a phone's. An emulator stands in for the ARM64 processor, small scripts for `getprop` and `dumpsys`.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from myqasr.runtime_bench.devices import debian
from myqasr.runtime_bench.devices.emulator import DEFAULT_CPU, cpuinfo
from myqasr.runtime_bench.devices.native import cache_folder

SUITE = "trixie"
PACKAGES = ("adbd", "busybox-static")
EMULATOR = Path("/usr/bin/qemu-aarch64-static")
PROGRAMS = ("adb", "ip", "nsenter", "chroot", *debian.PROGRAMS)
HOST, DEVICE, PORT = "169.254.77.1", "169.254.77.2", 5555
SERIAL = f"{DEVICE}:{PORT}"
WORK = "data/local/tmp"

GETPROP = """#!/bin/sh
case "$1" in
    ro.product.manufacturer) echo Debian ;;
    ro.product.model) echo "virtual device" ;;
    ro.build.version.release) echo 13 ;;
    ro.product.cpu.abi) echo arm64-v8a ;;
esac
"""
DUMPSYS = """#!/bin/sh
case "$1" in
    battery) printf 'Current Battery Service state:\\n  AC powered: false\\n  USB powered: true\\n'
        printf '  level: 87\\n  temperature: 312\\n' ;;
    thermalservice) printf 'IsStatusOverride: false\\nThermal Status: 0\\n' ;;
    *) echo "Can't find service: $1" >&2; exit 1 ;;
esac
"""
ARM64 = f"""#!/bin/sh
exec qemu-aarch64-static -cpu {DEFAULT_CPU} -L /arm64 "$@"
"""


def why_not() -> str | None:
    """Why there can be no virtual device here; None when there can."""
    if os.geteuid() != 0:
        return "the virtual device needs root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    missing += [str(path) for path in (EMULATOR, debian.KEYRING) if not path.is_file()]
    if missing:
        return f"the virtual device needs {', '.join(missing)}: make device-test"
    return None


def _call(*command: object, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=300, check=False
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def device_files() -> Path:
    """The folder that becomes the device's root, made once; raises UserError without a mirror."""
    root = cache_folder() / "device" / SUITE
    if root.is_dir():
        return root
    part = root.with_name(f"{SUITE}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    debian.unpack_packages(PACKAGES, SUITE, part)
    for folder in ("proc", "dev", "sys", "tmp", "etc", WORK, "data/misc/adb", "arm64/proc"):
        (part / folder).mkdir(parents=True, exist_ok=True)
    _call("chroot", part, "/usr/bin/busybox", "--install", "-s", "/usr/bin")
    shutil.copy(EMULATOR, part / "usr/bin")
    scripts = {"getprop": GETPROP, "dumpsys": DUMPSYS, "arm64-emulator": ARM64}
    for name, text in scripts.items():
        (part / "usr/bin" / name).write_text(text)
        (part / "usr/bin" / name).chmod(0o755)
    (part / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\nshell:x:2000:2000::/:/bin/sh\n")
    (part / "arm64/proc/cpuinfo").write_text(cpuinfo(DEFAULT_CPU))
    part.rename(root)
    return root


class VirtualDevice:
    """A device that can be switched on, pulled out and filled up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.space = f"myqasr-{os.getpid()}"
        self.daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Switch on, and wait until adb sees it."""
        link = f"mq{os.getpid() % 100_000}"
        _call("ip", "netns", "add", self.space)
        _call(
            "ip", "link", "add", link, "type", "veth", "peer", "name", "dev0", "netns", self.space
        )
        _call("ip", "addr", "add", f"{HOST}/30", "dev", link)
        _call("ip", "link", "set", link, "up")
        _call("ip", "-n", self.space, "addr", "add", f"{DEVICE}/30", "dev", "dev0")
        _call("ip", "-n", self.space, "link", "set", "dev0", "up")
        _call("ip", "-n", self.space, "link", "set", "lo", "up")
        _call("mount", "--bind", self.root, self.root)
        _call("mount", "--rbind", "/dev", self.root / "dev")
        _call("mount", "--make-rslave", self.root / "dev")
        _call("mount", "-t", "proc", "proc", self.root / "proc")
        _call("mount", "-t", "sysfs", "-o", "ro", "sysfs", self.root / "sys")
        self.daemon = subprocess.Popen(
            # Not `ip netns exec`: it takes a copy of the mounts, and later ones would not be seen.
            ["nsenter", f"--net=/run/netns/{self.space}", "chroot", self.root, "/usr/sbin/adbd"],
            env={"PATH": "/usr/bin:/usr/sbin:/bin", "ADBD_PORT": str(PORT), "HOME": "/"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(50):
            _call("adb", "connect", SERIAL, check=False)
            if _call("adb", "-s", SERIAL, "shell", "true", check=False).returncode == 0:
                return
            _call("adb", "disconnect", SERIAL, check=False)
            time.sleep(0.2)
        raise RuntimeError(f"adb doesn't reach the virtual device {SERIAL}")

    def pull_out(self) -> None:
        """The cable: adbd and all that it started are gone at once."""
        if self.daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                for line in _call("ip", "netns", "pids", self.space, check=False).stdout.split():
                    os.kill(int(line), signal.SIGKILL)
            self.daemon.wait()
            self.daemon = None

    @contextlib.contextmanager
    def small_disk(self, size: str) -> Iterator[None]:
        """As long as this lasts, the device has room for only so much."""
        folder = self.root / WORK
        _call("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
        try:
            yield
        finally:
            _call("umount", "--lazy", folder)

    def files(self) -> list[str]:
        """What lies in the working folder."""
        return sorted(path.name for path in (self.root / WORK).iterdir())

    def fill(self) -> None:
        """Use up what room there is."""
        with contextlib.suppress(OSError), (self.root / WORK / "filler").open("wb", 0) as file:
            while True:
                file.write(bytes(4096))

    def processes(self) -> dict[int, str]:
        """Command line of each process on the device."""
        pids = _call("ip", "netns", "pids", self.space, check=False).stdout.split()
        lines = {}
        for pid in map(int, pids):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                lines[pid] = line.replace(b"\0", b" ").decode()
        return lines

    def stop(self) -> None:
        """Switch off and leave nothing mounted."""
        self.pull_out()
        _call("adb", "disconnect", SERIAL, check=False)
        _call("umount", "--lazy", "--recursive", self.root, check=False)
        _call("ip", "netns", "del", self.space, check=False)


@contextlib.contextmanager
def private_adb_server(port: int) -> Iterator[None]:
    """An adb server beside the one the user may have."""
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(port)
    try:
        yield
    finally:
        _call("adb", "kill-server", check=False)
        del os.environ["ANDROID_ADB_SERVER_PORT"]
