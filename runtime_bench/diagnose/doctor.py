"""What works on this machine: each target and runner, tried on kilobyte models, and how to mend the rest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from myqasr.core.children import scratch_folder
from myqasr.core.errors import NotInstalledError, UserError
from myqasr.exporters.target import TARGETS
from myqasr.runtime_bench.devices.android import need_device
from myqasr.runtime_bench.diagnose.probe import Probe, run_probe, write_probe
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS, runners_of
from myqasr.runtime_bench.runners.records import RUNNERS, RunnerRecord

REINSTALL = "pip install --force-reinstall myqasr"


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
    of_files = [name for name in RUNNERS if _targets(name)]
    here = [name for name in of_files if not RUNNERS[name].remote]
    with scratch_folder("doctor") as folder:
        probes: dict[str, Probe] = {}
        targets = [_tried(f"target {name}", _target(name, folder, probes)) for name in TARGETS]
        missing = {target.what: target for target in targets if not target.works}
        runners = [
            _tried(f"runner {name}", _runner(RUNNERS[name], probes, missing))
            for name in sorted(
                here, key=lambda name: RUNNERS[name].timed_on == ()
            )  # emulators last
        ]
    torch = _tried("runner torch", _torch_runner)
    remote = [
        _tried(f"runner {name}", _remote(RUNNERS[name])) for name in of_files if name not in here
    ]
    return [_torch(), *targets, torch, *runners, *remote, _tried("embedded model", _default_model)]


def _targets(runner: str) -> list[str]:
    """Targets whose files a runner runs."""
    return [target for target in TARGETS if runner in runners_of(target)]


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
    record: RunnerRecord, probes: Mapping[str, Probe], missing: Mapping[str, Finding]
) -> Callable[[], Outcome]:
    """Run all files of a runner's targets; missing: targets that failed."""

    def attempt() -> Outcome:
        for check in record.needs:
            check()
        targets = _targets(record.name)
        ran = {
            target: run_probe(probes[target], record.name) for target in targets if target in probes
        }
        if not ran:
            target = missing[f"target {targets[0]}"]
            raise NotInstalledError(target.detail, target.mend)
        who = "; ".join(dict.fromkeys(description for description, _ in ran.values()))
        near = ", ".join(f"{target} at {snr_db:.0f} dB" for target, (_, snr_db) in ran.items())
        return f"{who} ran {near} of the reference", record.version()

    return attempt


def _torch_runner() -> Outcome:
    """The embedded model on all that run models: as it is, and with torch's own dynamic int8."""
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    records = [record for record in RUNNERS.values() if record.source == "model"]
    ran = []
    for record in records:
        runner = open_system(System(record.name, record.name, "default"), 1)
        if not np.isfinite(runner.logits(noise)).all():
            raise UserError(f"{runner.description} gives no numbers")
        ran.append(runner.description)
    versions = dict.fromkeys(record.version() for record in records)
    return f"ran {', '.join(ran)}", ", ".join(versions)


def _remote(record: RunnerRecord) -> Callable[[], Outcome]:
    """Whether a device is there; nothing is pushed to it."""

    def attempt() -> Outcome:
        for check in record.needs:
            check()
        how = f"not tried: myqasr bench --runner {record.name}:SERIAL"
        return f"devices: {need_device()}; {how}", record.version()

    return attempt


def _default_model() -> Outcome:
    """The embedded model loads and its weights are whole."""
    from myqasr.speech.models import load_model

    model = load_model("default")
    count = sum(parameter.numel() for parameter in model.module.parameters())
    return f"{count / 1e6:.1f} M parameters", ""
