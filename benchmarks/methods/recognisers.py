"""Plans for real Whisper held against uniform ones and the published method at equal bytes, and what each was
expected to cost against what it does: divergence from the float model on clips that nothing was fitted on.

python -m benchmarks.methods.recognisers [--model tiny.en] [--speakers libri-1272,...] [--clips 12]

Needs the extra with the weights, and $MYQASR_SPEECH or ../shared/speech. What is measured is that of
`python -m benchmarks.peers`, in the same folders; each speaker's figures are kept, so that a run goes on.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.methods.allocation import best_uniform, swept
from benchmarks.peers.clips import SPEAKERS, load_speaker
from benchmarks.peers.systems import MODELS, spoken_model
from benchmarks.results import BUILD, save_result
from benchmarks.speakers import ratio
from myqasr.api import measure_speaker
from myqasr.core.errors import BudgetError
from myqasr.core.storage import load_record, save_record
from myqasr.exporters.target import Target, load_target
from myqasr.personalize.measuring.brute_force import posteriors_with
from myqasr.personalize.measuring.method import divergence, log_posteriors
from myqasr.personalize.measuring.sensitivity import (
    Measurement,
    ProfileOptions,
    measure,
    round_plan,
)
from myqasr.personalize.planning.exact import uniform_plan
from myqasr.personalize.planning.expectation import expectation
from myqasr.personalize.planning.plan import Plan
from myqasr.personalize.profiling import plan_for
from myqasr.personalize.run_folder import RunFolder
from myqasr.speech.models import load_model

BUDGETS = {
    "tiny.en": (25_300_000, 29_900_000, 36_000_000, 42_000_000, 60_000_000),
    "base": (46_500_000, 55_300_000, 66_000_000, 78_000_000, 110_000_000),
}
"""Bytes; the first two are those of whisper.cpp's q4_0 and q5_0."""
AGAINST = 3
"""So many of them, from the first, other methods are tried at, too."""
EXACT = "exact, GPTQ"


@dataclass(frozen=True, slots=True)
class Tried:
    """One plan of one speaker. true: nats per token on unheard clips; expected: with bounds, where known."""

    method: str
    budget_bytes: int
    size_bytes: int
    true: float
    expected: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class OfSpeaker:
    """All plans of one speaker. key: what they were made of."""

    key: str
    plans: tuple[Tried, ...]


def one_speaker(name: str, model_name: str, clips: int, folder: Path) -> OfSpeaker:
    """All plans; taken from the folder where they are."""
    path, key = folder / "plans" / f"{name}.json", f"{model_name} {clips} {BUDGETS[model_name]}"
    if path.is_file():
        held = load_record(path, OfSpeaker)
        if held.key == key:
            return held
    speaker = load_speaker(name, clips, BUILD / "peers" / "clips" / name)
    source, target = spoken_model(model_name), load_target("xnnpack")
    model = load_model(source)
    run = RunFolder(folder / "ours" / name)
    gptq = measure_speaker(run, model, list(speaker.fit), ProfileOptions(), None, target.name)
    waveforms = [recording.waveform for recording in speaker.fit]
    ranking = ProfileOptions(method="median", rounding="nearest")
    nearest = measure(model, waveforms, target.menu, target.scale_dtype, "", ranking)
    overhead = target.overhead_bytes(model)
    plans = _plans(gptq, nearest, target, BUDGETS[model_name], overhead)
    heard = [model.inputs(np.load(clip.path)) for clip in speaker.test]
    with torch.inference_mode():
        base = [log_posteriors(model, inputs) for inputs in heard]
    frames = sum(len(each) for each in base)
    tried = []
    for method, budget, measured, plan in plans:
        rounded = posteriors_with(model, heard, round_plan(measured, plan))
        nats = sum(divergence(a, b) for a, b in zip(base, rounded, strict=True)) / frames
        expected = expectation(measured.profile, plan.expected_cost) if method == EXACT else None
        bounds = None if expected is None else (expected.nats, expected.low, expected.high)
        tried.append(Tried(method, budget, plan.predicted_bytes, nats, bounds))
    found = OfSpeaker(key, tuple(tried))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_record(found, path)
    print(name, [f"{each.method} {each.size_bytes / 1e6:.1f}: {each.true:.4f}" for each in tried])
    return found


def _plans(
    gptq: Measurement, nearest: Measurement, target: Target, budgets: Sequence[int], overhead: int
) -> list[tuple[str, int, Measurement, Plan]]:
    """Method, budget, the codes that belong to it, and the plan."""
    found = []
    profile = gptq.profile
    plain = replace(gptq, rounding=nearest.rounding)
    for place, budget in enumerate(budgets):
        found.append((EXACT, budget, gptq, plan_for(profile, target, budget, overhead)))
        if place >= AGAINST:
            continue
        best = best_uniform(profile, target, budget, overhead)
        found.append(("best uniform, GPTQ", budget, gptq, best))
        found.append(("best uniform, nearest", budget, plain, best))
        try:
            sweep = swept(nearest.profile, target, budget, overhead)
        except BudgetError:
            continue
        found.append(("published method", budget, nearest, sweep))
    for bits in (4, 8):
        control = uniform_plan(profile, target.name, target.offer, overhead, bits)
        found.append((f"uniform {bits} bit, GPTQ", control.predicted_bytes, gptq, control))
        found.append((f"uniform {bits} bit, nearest", control.predicted_bytes, plain, control))
    return found


def rows_of(speakers: Sequence[OfSpeaker]) -> list[dict[str, object]]:
    """One row for each method and budget, over all speakers that have it."""
    places = [(each.method, each.budget_bytes) for each in speakers[0].plans]
    rows = []
    for method, budget in places:
        found = [_find(speaker, method, budget) for speaker in speakers]
        ours = [_find(speaker, EXACT, budget) for speaker in speakers]
        pairs = [
            (a, b) for a, b in zip(found, ours, strict=True) if a is not None and b is not None
        ]
        plans = [each for each in found if each is not None]
        nats = [each.true for each in plans]
        known = [each for each in plans if each.expected is not None]
        factors = [each.expected[0] / each.true for each in known if each.expected is not None]
        inside = [e.expected[1] <= e.true <= e.expected[2] for e in known if e.expected is not None]
        rows.append(
            {
                "method": method,
                "budget_bytes": budget,
                "speakers": len(plans),
                "size_bytes": round(sum(each.size_bytes for each in plans) / len(plans)),
                "true": sum(nats) / len(nats),
                "expected_over_true": factors,
                "inside": sum(inside),
                "ours_over_this": ratio([b.true for _, b in pairs], [a.true for a, _ in pairs])
                if pairs and method != EXACT
                else None,
            }
        )
    return rows


def _find(speaker: OfSpeaker, method: str, budget: int) -> Tried | None:
    same = (e for e in speaker.plans if (e.method, e.budget_bytes) == (method, budget))
    return next(same, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="tiny.en")
    parser.add_argument("--speakers", default=",".join(SPEAKERS[:6]))
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = BUILD / "peers" / options.model
    names = options.speakers.split(",")
    speakers = [one_speaker(name, options.model, options.clips, folder) for name in names]
    figures = {"model": options.model, "speakers": names, "clips": options.clips}
    result = f"recognisers_{options.model.replace('.', '_')}"
    command = shlex.join(["python", "-m", "benchmarks.methods.recognisers", *sys.argv[1:]])
    print(save_result(result, command, {**figures, "rows": rows_of(speakers)}))


if __name__ == "__main__":
    main()
