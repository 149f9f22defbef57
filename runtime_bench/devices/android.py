"""A device behind `adb`: commands with a time limit and one-line errors, and what state the device is in."""

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass

from myqasr.core import children
from myqasr.core.errors import NotInstalledError, UserError

TIMEOUT_SECONDS = 30.0
TRANSFER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What heat and power were like; None where the device doesn't say.

    thermal_status: Android's, 0 (none) to 6 (shutdown); from 2 on it slows the CPU down. governors: how the
    cores' speed is chosen. frequency_caps: share of its highest frequency that each core may take now.
    """

    battery_percent: int | None
    plugged: bool | None
    temperature_celsius: float | None
    thermal_status: int | None
    governors: tuple[str, ...]
    frequency_caps: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteDevice:
    """A device that a system ran on. emulated: its processor is; its times mean nothing."""

    name: str
    abi: str
    emulated: bool
    cpu: dict[str, list[str]]
    cores: int
    before: Conditions
    after: Conditions


@dataclass(frozen=True, slots=True)
class Adb:
    """One device, by its serial number as `adb devices` lists it, or host:port."""

    program: str
    serial: str

    def command(self, *words: str) -> list[str]:
        """The call of adb for this device."""
        return [self.program, "-s", self.serial, *words]

    def call(self, *words: str, seconds: float = TIMEOUT_SECONDS) -> str:
        """What adb or the device's shell printed; raises UserError with the last line when it fails."""
        try:
            done = children.run(
                self.command(*words),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"device {self.serial} didn't answer `adb {words[0]}` in {seconds:.0f} s"
            ) from error
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            errors = [line for line in lines if "error:" in line]  # adb push ends with a summary
            reason = (errors or lines or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"device {self.serial}: {reason.removeprefix('adb: ')}")
        return done.stdout

    def shell(self, line: str) -> str:
        """Output of a line of the device's shell; raises UserError when it fails."""
        return self.call("shell", line)

    def ask(self, line: str) -> str:
        """The same; nothing when it fails, as it does where a device lacks the program."""
        with contextlib.suppress(UserError):
            return self.shell(line).strip()
        return ""

    def conditions(self) -> Conditions:
        """Heat and power now."""
        battery = self.ask("dumpsys battery")
        thermal = self.ask("dumpsys thermalservice")
        governors = self.ask("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
        tenths = _number(r"^\s*temperature: (-?\d+)", battery)
        powered = re.findall(r"^\s*\w+ powered: (true|false)", battery, re.M)
        return Conditions(
            battery_percent=_number(r"^\s*level: (\d+)", battery),
            plugged="true" in powered if powered else None,
            temperature_celsius=None if tenths is None else tenths / 10,
            thermal_status=_number(r"^\s*Thermal Status: (\d+)", thermal),
            governors=tuple(sorted(set(governors.split()))),
            frequency_caps=_shares(
                self.ask("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq"),
                self.ask("cat /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq"),
            ),
        )

    def free_bytes(self, folder: str) -> int | None:
        """Room in a folder's file system; None where `df` doesn't say."""
        lines = self.ask(f"df -k {folder}").splitlines()
        columns = lines[-1].split() if len(lines) > 1 else []
        return int(columns[3]) * 1024 if len(columns) > 3 and columns[3].isdigit() else None


def need_adb() -> str:
    """The program `adb`; raises NotInstalledError where there is none."""
    program = shutil.which("adb")
    if program is None:
        raise NotInstalledError(
            "no program `adb` to reach a device with",
            "apt-get install adb  # Debian; elsewhere: Android's platform tools",
        )
    return program


def need_device() -> str:
    """What adb lists, a device that can be used among it: `SERIAL (device), ...`.

    Raises NotInstalledError where there is no adb or no such device, UserError when adb doesn't answer.
    """
    devices = listed_devices(need_adb())
    names = ", ".join(f"{serial} ({state})" for serial, state in devices.items())
    if "device" not in devices.values():
        raise NotInstalledError(
            f"no device that allows debugging; adb lists: {names or 'none'}",
            "switch USB debugging on in the phone's developer options, connect it, then: adb devices",
        )
    return names


def connect(serial: str) -> Adb:
    """A device that answers; raises UserError saying what to do when there is none such."""
    program = need_adb()
    if not serial:
        raise UserError(f"say which device: --runner adb:SERIAL; {_others(program)}")
    adb = Adb(program, serial)
    if ":" in serial and adb.serial not in listed_devices(program):
        with contextlib.suppress(subprocess.TimeoutExpired):
            children.run(
                [program, "connect", serial],
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
    state = listed_devices(program).get(serial)
    if state == "unauthorized":
        raise UserError(f"device {serial} hasn't allowed debugging yet: say yes on its screen")
    if state != "device":
        what = "no such device" if state is None else f"it is {state}"
        raise UserError(f"can't reach device {serial}: {what}; {_others(program)}")
    adb.shell("true")
    return adb


def listed_devices(program: str) -> dict[str, str]:
    """State of each device by serial number; `device` when it can be used."""
    try:
        done = children.run(
            [program, "devices"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError("`adb devices` doesn't answer; try `adb kill-server`") from error
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def adb_version(program: str) -> str:
    """Of the program, as it says it; empty when it doesn't."""
    done = children.run(
        [program, "version"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    found = re.search(r"version ([\d.]+)", done.stdout)
    return "" if found is None else found[1]


def _others(program: str) -> str:
    return f"adb lists: {', '.join(listed_devices(program)) or 'none'}"


def _shares(allowed: str, highest: str) -> tuple[float, ...]:
    """Each number of one list over that of another; none where they don't match."""
    ones, others = allowed.split(), highest.split()
    if len(ones) != len(others) or not all(word.isdigit() for word in (*ones, *others)):
        return ()
    return tuple(
        round(int(one) / max(int(other), 1), 3) for one, other in zip(ones, others, strict=True)
    )


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text, re.M)
    return int(found[1]) if found is not None else None
