"""However a command ends, no process and no temporary file stays, and the next goes on."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from myqasr.core import children
from myqasr.core.children import drop_scratch, new_scratch

# A shell in the background has its programs ignore some signals, and they theirs.
PARENT = (
    "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "for each in (signal.SIGTERM, signal.SIGHUP):\n    signal.signal(each, signal.SIG_DFL)\n"
    "import os, sys, time\nfrom myqasr.core import children\n"
    "from myqasr.cli.terminal.output import reports_user_errors\n"
    "@reports_user_errors\ndef command():\n"
    "    with children.scratch_folder('test') as folder:\n"
    "        child = children.start([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
    "        print(child.pid, folder, flush=True)\n"
    "        time.sleep(100)\n"
    "import typer\napp = typer.Typer()\napp.command()(command)\napp()\n"
)


SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def started() -> tuple[subprocess.Popen[str], int, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child, folder = process.stdout.readline().split()
    return process, int(child), Path(folder)


def gone(process_id: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(process_id):
            return True
        if psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_command_as_ctrl_c_does(number):
    process, child, folder = started()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    assert gone(child)
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere children see the end of their input")
def test_a_killed_commands_children_die_with_it_and_the_next_removes_its_folder():
    process, child, folder = started()
    process.kill()
    process.communicate()
    assert gone(child)
    assert folder.exists()
    mine = new_scratch("test")
    assert not folder.exists()
    other = new_scratch("test")
    assert mine.exists()  # that of a living process stays
    drop_scratch(mine)
    drop_scratch(other)
    assert not mine.exists()


def test_nobody_elses_folders_are_swept():
    foreign = Path(tempfile.mkdtemp(prefix="myqasr-"))
    drop_scratch(new_scratch("test"))
    assert foreign.exists()
    foreign.rmdir()


def test_every_process_is_started_so_that_it_dies_with_ours():
    root = Path(children.__file__).parents[1]
    rooms = ("speech", "personalize", "exporters", "runtime_bench", "cli")
    found = [
        str(file)
        for room in rooms
        for file in (root / room).rglob("*.py")
        if any(
            f"subprocess.{call}(" in file.read_text()
            for call in ("run", "Popen", "call", "check_output")
        )
    ]
    assert not found


def test_every_temporary_folder_is_one_that_is_swept():
    root = Path(children.__file__).parents[1]
    found = [
        str(file)
        for room in ("speech", "personalize", "exporters", "runtime_bench", "cli")
        for file in (root / room).rglob("*.py")
        if "tempfile." in file.read_text()
    ]
    assert not found


def test_an_export_goes_on_after_a_kill_between_its_targets(run_copy, monkeypatch):
    from myqasr import api
    from myqasr.exporters import command

    real, seen = command.export_run, []

    def stopped(folder, model, speaker, target, *rest):
        seen.append(target.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(folder, model, speaker, target, *rest)

    monkeypatch.setattr(command, "export_run", stopped)
    monkeypatch.setattr(
        type(api.RunFolder(run_copy)), "planned_targets", lambda self: ["xnnpack", "xnnpack"]
    )
    with pytest.raises(KeyboardInterrupt):
        api.export(run_copy, max_seconds=6)
    assert (run_copy / "export.partial.json").exists()
    told: list[str] = []
    monkeypatch.setattr("myqasr.exporters.export._write_checked", None)  # nothing is written again
    (one, _) = api.export(run_copy, max_seconds=6, listener=api.Listener(told.append))
    assert one.attempts == 0
    assert any("was written before the stop" in line for line in told)
    assert not (run_copy / "export.partial.json").exists()


def test_the_shell_sees_no_file_of_a_command_that_is_done(run_copy):
    assert not [name for name in os.listdir(run_copy) if name.startswith(".")]
