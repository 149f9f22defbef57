"""Does it matter whose recordings a file is made from? And how many of them are enough?

python -m benchmarks.methods.personalisation [--speakers embedded|real] [--most 12] [--workers 3]
    [--share 0.035]

A file has two things from recordings: the allocation of bits, and the codes (GPTQ on activations). Each is
taken from the speaker, from somebody else, or from a mix of all others (leave one out), and the KL divergence
of the file's posteriors from the float model's is taken on the speaker's test clips. Then the own ones from
fewer clips, alone and mixed with the others' costs as `myqasr personalize` does for less than a minute.
The matrix has everybody's file on everybody's test clips.
"""

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from benchmarks.methods.allocation import budget_at, on_test_clips
from benchmarks.results import BUILD, save_result
from benchmarks.speakers import Speaker, genders, load_speaker, ratio, speakers_and_workers
from myqasr.core.storage import save_record
from myqasr.exporters.target import load_target, measured_together
from myqasr.personalize.measuring.sensitivity import Measurement, ProfileOptions, measure
from myqasr.personalize.planning.plan import Plan, Profile
from myqasr.personalize.planning.shrinkage import shrunk
from myqasr.personalize.profiling import plan_for
from myqasr.personalize.rounding.codes import save_rounding
from myqasr.personalize.run_folder import RunFolder, rounding_key
from myqasr.speech.datasets import evenly
from myqasr.speech.models import load_model

LABEL_DRAWS = 32
GENERIC_CLIPS = 32
FEWER_CLIPS = (1, 2, 4, 8)
FOLDER = BUILD / "personalisation"

OWN = "own bits, own codes"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to make the file, over all speakers; own_over_this with a 95 % interval over speakers."""

    what: str
    kl: float
    kl_of_speakers: tuple[float, ...]
    own_over_this: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One speaker's file, bits and codes, on another's test clips; kl in nats per frame."""

    tuned_on: str
    tested_on: str
    kl: float


@dataclass(frozen=True, slots=True)
class Found:
    """What one speaker's test clips say: KL by the way the file was made, and a row of the matrix."""

    kls: dict[str, float]
    cells: tuple[Cell, ...]


def fit(clips: Sequence[np.ndarray], name: str) -> Measurement:
    """Measure on clips."""
    options = ProfileOptions(label_draws=max(LABEL_DRAWS, len(clips)))
    return measure(
        load_model("default"),
        clips,
        measured_together().menu,
        measured_together().scale_dtype,
        name,
        options,
    )


def keep(measured: Measurement, name: str) -> None:
    """Put a measurement where the other processes find it."""
    run = RunFolder(FOLDER / name)
    run.path.mkdir(parents=True, exist_ok=True)
    save_rounding(measured.rounding, rounding_key(measured.profile), run.rounding)
    save_record(measured.profile, run.profile)


def fit_own(name: str) -> None:
    """One speaker's."""
    torch.set_num_threads(1)
    keep(fit(load_speaker(name).tune, name), name)


def fit_generic(name: str, names: Sequence[str]) -> None:
    """All others' for one speaker, some clips of each."""
    torch.set_num_threads(1)
    speakers = [load_speaker(other) for other in names if other != name]
    each = -(-GENERIC_CLIPS // len(speakers))
    clips = [clip for speaker in speakers for clip in speaker.tune[:each]]
    keep(fit(clips[:GENERIC_CLIPS], f"without {name}"), f"without-{name}")


def kept(name: str) -> Measurement:
    """What an earlier step kept."""
    return RunFolder(FOLDER / name).load_measurement()


def one_speaker(name: str, names: Sequence[str], share: float) -> Found:
    """KL on the speaker's test clips by the way the file was made; means over all others."""
    torch.set_num_threads(1)
    model, target, speaker = load_model("default"), load_target("xnnpack"), load_speaker(name)
    base = [model.logits(waveform) for waveform in speaker.test]
    own, generic = kept(name), kept(f"without-{name}")
    others = [other for other in names if other != name]
    overhead = target.overhead_bytes(model)
    budget = budget_at(share, own.profile, target, overhead)

    def plan(profile: Profile) -> Plan:
        return plan_for(profile, target, budget, overhead)

    def kl(bits: Measurement, codes: Measurement) -> float:
        return on_test_clips(model, codes, plan(bits.profile), speaker, base)[0]

    kls = {OWN: kl(own, own)}
    by_other = [(kl(o, o), kl(o, own), kl(own, o)) for o in map(kept, others)]
    somebody = np.mean(by_other, axis=0)
    kls["somebody else's bits and codes"] = float(somebody[0])
    kls["somebody else's bits, own codes"] = float(somebody[1])
    kls["own bits, somebody else's codes"] = float(somebody[2])
    kls["generic bits and codes"] = kl(generic, generic)
    kls["generic bits, own codes"] = kl(generic, own)
    kls["own bits, generic codes"] = kl(own, generic)
    kls |= with_fewer(speaker, generic, kl)
    print(name, {what: f"{value:.2e}" for what, value in kls.items()}, flush=True)
    row = zip([name, *others], [kls[OWN], *(each[0] for each in by_other)], strict=True)
    return Found(kls, tuple(Cell(other, name, value) for other, value in row))


def with_fewer(
    speaker: Speaker, generic: Measurement, kl: Callable[[Measurement, Measurement], float]
) -> dict[str, float]:
    """Own bits and codes from the first few clips, alone and with the generic costs mixed in."""
    kls = {}
    for count in FEWER_CLIPS:
        few = fit(speaker.tune[:count], speaker.name)
        mixed = replace(few, profile=shrunk(few.profile, generic.profile))
        kls[f"own, {count} clips"] = kl(few, few)
        kls[f"own, {count} clips, generic costs mixed in"] = kl(mixed, few)
        kls[f"own with generic costs mixed in, {count} clips, generic codes"] = kl(mixed, generic)
    return kls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.035, help="0: smallest plan, 1: float")
    parser.add_argument("--most", type=int, default=30, help="so many speakers, evenly chosen")
    options, names = speakers_and_workers(parser)
    names = evenly(names, options.most)
    with ProcessPoolExecutor(options.workers) as pool:
        list(pool.map(fit_own, names))
        list(pool.map(partial(fit_generic, names=names), names))
        found = list(pool.map(partial(one_speaker, names=names, share=options.share), names))
    by_speaker = [each.kls for each in found]
    rows = []
    for what in by_speaker[0]:
        kls = tuple(kls[what] for kls in by_speaker)
        rows.append(
            Row(what, float(np.mean(kls)), kls, ratio([kls[OWN] for kls in by_speaker], kls))
        )
        print(what, f"{rows[-1].kl:.2e}", rows[-1].own_over_this)
    seconds = [sum(map(len, load_speaker(name).tune)) / 16_000 for name in names]
    figures = {
        "speakers": names,
        "share": options.share,
        "tune_seconds": round(float(np.mean(seconds)), 1),
        "genders": genders(names),
        "matrix": [cell for each in found for cell in each.cells],
        "rows": rows,
    }
    name = "personalisation_real" if options.speakers == "real" else "personalisation"
    chosen = f"--speakers {options.speakers} --most {options.most} --share {options.share}"
    command = f"python -m benchmarks.methods.personalisation {chosen}"
    print(save_result(name, command, figures))


if __name__ == "__main__":
    main()
