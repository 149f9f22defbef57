"""When timings are not to be relied on, and why. No torch in here."""

from collections.abc import Sequence

from myqasr.runtime_bench.devices.android import Conditions, RemoteDevice
from myqasr.runtime_bench.devices.machine import Load
from myqasr.runtime_bench.results.protocol import TimingOptions
from myqasr.runtime_bench.results.report import SystemResult

MIN_UTTERANCES = 5
MIN_REPEATS = 3
MAX_SPREAD = 1.5
"""90 % of single timings over their utterance's median."""
MAX_DRIFT = 1.15
"""Last third of the timings over the first, either way."""
HOT = 2
"""Thermal status, moderate in Android's words."""
MAX_OTHERS = 0.1
"""Share of the pinned cores that other programs or the host may take while timing."""


def timing_problems(
    systems: Sequence[SystemResult],
    threads: int,
    cores: int,
    load: Load,
    timing: TimingOptions,
) -> tuple[str, ...]:
    """Why timings are not to be relied on, a line for each reason: too noisy, throttled, too few runs.

    cores: how many this process may use.
    """
    if all(system.latency is None for system in systems):
        return ()
    problems = []
    if threads > cores:
        problems.append(f"{threads} threads on {cores} usable cores; ask for fewer --threads")
    if load.others_share > MAX_OTHERS:
        problems.append(
            f"other programs took {load.others_share:.0%} of the cores while timing, {MAX_OTHERS:.0%} is "
            f"the limit ({load.busy_cores:.1f} cores were busy before); close them and run again"
        )
    if load.stolen_share > MAX_OTHERS:
        problems.append(
            f"the virtual machine's host took {load.stolen_share:.0%} of the cores while timing, "
            f"{MAX_OTHERS:.0%} is the limit; run again at a quieter hour"
        )
    timed = {system.name: system.latency for system in systems if system.latency is not None}
    problems += _named(
        {
            each.name: f"{each.threads}"
            for each in systems
            if each.latency and each.threads != threads
        },
        f"not on {threads} threads",
        "the runtime didn't take the number",
    )
    problems += _named(
        {
            name: f"{latency.utterances}"
            for name, latency in timed.items()
            if latency.utterances < MIN_UTTERANCES
        },
        "too few utterances timed",
        f"{MIN_UTTERANCES} are needed",
    )
    problems += _named(
        {
            name: f"{latency.runs}, {latency.repeats} of one utterance"
            for name, latency in timed.items()
            if latency.repeats < MIN_REPEATS or latency.runs < timing.runs
        },
        "too few runs",
        f"{timing.runs} and {MIN_REPEATS} are needed",
    )
    problems += _named(
        {
            name: f"{latency.spread:.2f}-fold"
            for name, latency in timed.items()
            if latency.spread > MAX_SPREAD
        },
        "too noisy",
        f"90 % of timings over their median, {MAX_SPREAD} is the limit; close other programs and run again",
    )
    problems += _named(
        {
            name: f"{latency.drift:.2f}-fold"
            for name, latency in timed.items()
            if not 1 / MAX_DRIFT <= latency.drift <= MAX_DRIFT
        },
        "throttled or disturbed",
        f"last third of the timings over the first, {MAX_DRIFT} is the limit; let the machine cool down "
        "and run again",
    )
    problems += _device_problems([each for each in systems if each.latency is not None])
    return tuple(problems)


def _device_problems(systems: Sequence[SystemResult]) -> list[str]:
    """Why times of other devices are not to be relied on."""
    devices = {each.name: each.device for each in systems if each.device is not None}
    hot = {name: max(_heat(one.before), _heat(one.after)) for name, one in devices.items()}
    return [
        *_named(
            {name: f"on {one.name}" for name, one in devices.items() if one.emulated},
            "emulated processor",
            "its time means nothing",
        ),
        *_named(
            {name: f"status {status}" for name, status in hot.items() if status >= HOT},
            "device too hot",
            f"from Android's thermal status {HOT} on it slows down; let it cool and run again",
        ),
        *_named(
            {name: _slower(one) for name, one in devices.items() if _slower(one)},
            "cores were slowed down",
            "of their highest frequency, while timing; let the device cool and run again",
        ),
    ]


def _slower(device: RemoteDevice) -> str:
    """Cores that may take less of their frequency afterwards than before, in words."""
    caps = zip(device.before.frequency_caps, device.after.frequency_caps, strict=False)
    return ", ".join(
        f"core {core} from {was:.0%} to {now:.0%}"
        for core, (was, now) in enumerate(caps)
        if now < was
    )


def _heat(conditions: Conditions) -> int:
    return conditions.thermal_status or 0


def _named(found: dict[str, str], what: str, limit: str) -> list[str]:
    """One line for all systems with the same problem; none when there are none."""
    if not found:
        return []
    systems = "; ".join(f"{name} {figure}" for name, figure in found.items())
    return [f"{what}: {systems} ({limit})"]
