"""What works on this machine: each target and runner, tried on kilobyte models, and how to mend the rest."""

import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.exporters.target import TARGETS
from myqasr.runtime_bench.devices import emulator_files as arm64_files
from myqasr.runtime_bench.devices.android import adb_version, listed_devices, need_adb
from myqasr.runtime_bench.devices.emulator import emulator_version, need_compiler, need_emulator
from myqasr.runtime_bench.devices.environments import ENVIRONMENTS
from myqasr.runtime_bench.devices.native import runtime_version
from myqasr.runtime_bench.diagnose.probe import Probe, run_probe, write_probe
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS, runners_of

REINSTALL = "pip install --force-reinstall myqasr"
VERSIONS: dict[str, Callable[[], str]] = {
    "executorch": runtime_version,
    "executorch-cpp": runtime_version,
    "litert": lambda: importlib.metadata.version("ai-edge-litert"),
    "tflite-runtime": lambda: ENVIRONMENTS["tflite-runtime"][0].partition("==")[2],
    "coreml": lambda: importlib.metadata.version("coremltools"),
    "arm64": lambda: f"QEMU {emulator_version(need_emulator())}",
}
"""Runner of exported files -> version of its runtime or emulator."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. version: of its runtime. mend: the command that makes it work.

    optional: it needs something that isn't installed or connected, which is no fault.
    """

    what: str
    works: bool
    detail: str
    mend: str = ""
    optional: bool = False
    version: str = ""


def examine() -> list[Finding]:
    """Try everything; takes half a minute, nothing is fetched or installed."""
    with tempfile.TemporaryDirectory() as folder:
        probes: dict[str, Probe] = {}
        targets = [
            _tried(f"target {name}", _target(name, Path(folder), probes)) for name in TARGETS
        ]
        missing = {target.what: target for target in targets if not target.works}
        runners = [_tried(f"runner {name}", _runner(name, probes, missing)) for name in VERSIONS]
    torch = _tried("runner torch", _torch_runner)
    adb = _tried("runner adb", _adb)
    return [_torch(), *targets, torch, *runners, adb, _tried("embedded model", _default_model)]


Outcome = tuple[str, str]  # detail, version


def _tried(what: str, attempt: Callable[[], Outcome]) -> Finding:
    """What came of an attempt."""
    try:
        detail, version = attempt()
    except NotInstalledError as error:
        return Finding(what, False, error.what, error.mend, optional=True)
    except (UserError, ImportError, RuntimeError, OSError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(what, False, line, REINSTALL)
    return Finding(what, True, detail, version=version)


def _torch() -> Finding:
    """Where profiles are measured."""
    import torch

    cuda = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    mend = "" if cuda else "measuring on a GPU is faster; a CPU does the same work"
    version = torch.__version__
    return Finding("measuring (torch)", True, where, mend, version=version)


def _target(name: str, folder: Path, probes: dict[str, Probe]) -> Callable[[], Outcome]:
    """Write a file, read it back, run it; it is kept in `probes`."""

    def attempt() -> Outcome:
        probe = probes[name] = write_probe(name, folder)
        description, snr_db = run_probe(probe, TARGET_RUNNERS[name])
        what = ", ".join(probe.precisions)
        return f"{description} ran {what} at {snr_db:.0f} dB of the reference", ""

    return attempt


def _runner(
    name: str, probes: Mapping[str, Probe], missing: Mapping[str, Finding]
) -> Callable[[], Outcome]:
    """Run all files of a runner's targets; missing: targets that failed."""

    def attempt() -> Outcome:
        if name == "arm64":
            need_compiler()
            need_emulator()
            arm64_files.need_all()
        targets = [target for target in TARGETS if name in runners_of(target)]
        ran = {target: run_probe(probes[target], name) for target in targets if target in probes}
        if not ran:
            target = missing[f"target {targets[0]}"]
            raise NotInstalledError(target.detail, target.mend)
        who = "; ".join(dict.fromkeys(description for description, _ in ran.values()))
        near = ", ".join(f"{target} at {snr_db:.0f} dB" for target, (_, snr_db) in ran.items())
        return f"{who} ran {near} of the reference", VERSIONS[name]()

    return attempt


def _torch_runner() -> Outcome:
    """The embedded model as it is, and with torch's own dynamic int8."""
    import torch

    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    ran = []
    for name in ("torch-float", "torch-int8-dynamic"):
        runner = open_system(System(name, name, "default"), 1)
        if not np.isfinite(runner.logits(noise)).all():
            raise UserError(f"{runner.description} gives no numbers")
        ran.append(runner.description)
    return f"ran {', '.join(ran)}", torch.__version__


def _adb() -> Outcome:
    """Whether a device is there; nothing is pushed to it."""
    program = need_adb()
    devices = listed_devices(program)
    names = ", ".join(f"{serial} ({state})" for serial, state in devices.items())
    if "device" not in devices.values():
        raise NotInstalledError(
            f"no device that allows debugging; adb lists: {names or 'none'}",
            "switch USB debugging on in the phone's developer options, connect it, then: adb devices",
        )
    need_compiler()
    return f"devices: {names}; not tried: myqasr bench --runner adb:SERIAL", adb_version(program)


def _default_model() -> Outcome:
    """The embedded model loads and its weights are whole."""
    from myqasr.speech.models import load_model

    model = load_model("default")
    count = sum(parameter.numel() for parameter in model.module.parameters())
    return f"{count / 1e6:.1f} M parameters", ""
