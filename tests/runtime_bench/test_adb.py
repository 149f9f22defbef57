"""What adb says becomes one line that says what to do; a program in its place plays the devices."""

import os
import sys
from pathlib import Path

import pytest

from myqasr.core.errors import UserError
from myqasr.runtime_bench.devices.android import Adb, Conditions, connect
from myqasr.runtime_bench.runners.base import System, open_system

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: false
  Wireless powered: false
  level: 64
  scale: 100
  temperature: 387
"""
THERMAL = "IsStatusOverride: false\nThermal Status: 2\nCached temperatures:\n"
DF = "Filesystem  1K-blocks  Used Available Use% Mounted on\n/dev/block/dm-5 112894 9000 {} 1% /data\n"


@pytest.fixture
def fake_adb(tmp_path, monkeypatch):
    """Puts an `adb` on the path that knows devices and answers shell lines from a table."""

    def make(devices: dict[str, str], answers: dict[str, str]) -> None:
        script = tmp_path / "bin" / "adb"
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            f"#!{sys.executable}\n"
            f"import sys\ndevices, answers = {devices!r}, {answers!r}\n"
            "words = sys.argv[1:]\n"
            "if words[0] == 'devices':\n"
            "    print('List of devices attached')\n"
            "    [print(f'{name}\\t{state}') for name, state in devices.items()]\n"
            "elif words[0] == '-s' and words[2] == 'shell' and words[3] in answers:\n"
            "    print(answers[words[3]], end='')\n"
            "else:\n"
            "    print('adb: error: failed', words[2:], file=sys.stderr)\n"
            "    print('0 files pushed', file=sys.stderr)\n"
            "    sys.exit(1)\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")

    return make


def test_without_the_program_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no program `adb`.*platform tools"):
        connect("123")


@pytest.mark.parametrize(
    ("serial", "message"),
    [
        ("", "say which device: --runner adb:SERIAL; adb lists: 111, 222"),
        ("999", "can't reach device 999: no such device; adb lists: 111, 222"),
        ("111", "device 111 hasn't allowed debugging yet: say yes on its screen"),
        ("222", "can't reach device 222: it is offline; adb lists: 111, 222"),
    ],
)
def test_a_device_that_can_not_be_used_says_why(fake_adb, serial, message):
    fake_adb({"111": "unauthorized", "222": "offline"}, {})
    with pytest.raises(UserError, match=message):
        connect(serial)


def test_a_device_that_is_not_arm64_is_refused(fake_adb, tmp_path):
    fake_adb({"111": "device"}, {"true": "", "uname -m": "x86_64\n"})
    file = tmp_path / "any.pte"
    file.write_bytes(b"any")
    with pytest.raises(
        UserError, match=r"device 111 has a x86_64 processor; the runner is for ARM64"
    ):
        open_system(System("phone", "adb:111", str(file)), 1)


def test_conditions_are_what_the_device_gives(fake_adb):
    cores = "cat /sys/devices/system/cpu/cpu*/cpufreq/"
    fake_adb(
        {"111": "device"},
        {
            "true": "",
            "dumpsys battery": BATTERY,
            "dumpsys thermalservice": THERMAL,
            f"{cores}scaling_governor": "schedutil\nschedutil\nperformance\n",
            f"{cores}scaling_max_freq": "1800000\n1800000\n1420800\n",
            f"{cores}cpuinfo_max_freq": "1800000\n1800000\n2841600\n",
        },
    )
    found = connect("111").conditions()
    assert found == Conditions(64, False, 38.7, 2, ("performance", "schedutil"), (1.0, 1.0, 0.5))


def test_conditions_of_a_device_that_says_nothing_are_unknown(fake_adb):
    fake_adb({"111": "device"}, {"true": ""})
    assert connect("111").conditions() == Conditions(None, None, None, None, ())


def test_room_is_read_from_df_or_unknown(fake_adb):
    fake_adb({"111": "device"}, {"df -k /data": DF.format(2048), "df -k /odd": "df: odd\n"})
    adb = Adb("adb", "111")
    assert adb.free_bytes("/data") == 2048 * 1024
    assert adb.free_bytes("/odd") is None


def test_of_what_adb_prints_the_error_is_shown(fake_adb, tmp_path: Path):
    fake_adb({"111": "device"}, {})
    with pytest.raises(UserError, match=r"^device 111: error: failed \['push', 'a', 'b'\]$"):
        Adb("adb", "111").call("push", "a", "b")


def test_a_device_that_hangs_is_given_up(tmp_path, monkeypatch):
    script = tmp_path / "adb"
    script.write_text("#!/bin/sh\nexec sleep 30\n")
    script.chmod(0o755)
    with pytest.raises(UserError, match="device 111 didn't answer `adb shell` in 0 s"):
        Adb(str(script), "111").call("shell", "true", seconds=0.2)
