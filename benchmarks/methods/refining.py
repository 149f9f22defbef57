"""Is it worth asking the model itself? Exact plans from one-pass costs against search on the true divergence.

python -m benchmarks.methods.refining [--speakers embedded|real] [--most 4] [--workers 3]

Per speaker: the plan from `fisher`, from brute-force costs of single layers (`kl`), after two rounds of costs
measured around the plan (`operating-point`), and after an evolutionary search; true divergence on the clips
that the plan was made from, and on the speaker's test clips.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from benchmarks.methods.allocation import budget_at, problem_of
from benchmarks.results import save_result
from benchmarks.speakers import load_speaker, ratio, speakers_and_workers
from myqasr.exporters.target import load_target, measured_together
from myqasr.personalize.measuring.operating_point import refine, true_divergence
from myqasr.personalize.measuring.search import evolve
from myqasr.personalize.measuring.sensitivity import (
    ProfileOptions,
    measure,
    measure_again,
    round_plan,
)
from myqasr.personalize.planning.exact import exact_plan
from myqasr.personalize.planning.plan import Plan
from myqasr.speech.datasets import evenly
from myqasr.speech.models import load_model

CLIPS = 8
ROUNDS = 2
TRIALS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One method over all speakers; nats per frame.

    over_fisher: test divergence over that of the plan from `fisher`, with a 95 % interval over speakers.
    """

    method: str
    tune: float
    test: float
    over_fisher: tuple[float, float, float]


def one_speaker(name: str, share: float) -> dict[str, tuple[float, float]]:
    """Method -> divergence on tune clips, and on test clips."""
    torch.set_num_threads(1)
    model, target, speaker = load_model("default"), load_target("xnnpack"), load_speaker(name)
    tune = speaker.tune[:CLIPS]
    measured = measure(model, tune, target.menu, measured_together().scale_dtype, name)
    overhead = target.overhead_bytes(model)
    problem = problem_of(
        measured.profile, target, budget_at(share, measured.profile, target, overhead), overhead
    )
    brute = measure_again(model, tune, target.menu, measured, ProfileOptions(method="kl"))
    single = replace(problem, profile=brute.profile)

    def on_tune(plan: Plan) -> float:
        return true_divergence(model, tune, round_plan(measured, plan))

    plans = {
        "fisher": exact_plan(problem),
        "kl": exact_plan(single),
        "operating-point": refine(model, tune, problem, measured, ROUNDS).plan,
        f"evolution, {TRIALS} trials": evolve(problem, on_tune, TRIALS),
    }
    found = {
        method: (
            on_tune(plan),
            true_divergence(model, speaker.test, round_plan(measured, plan)),
        )
        for method, plan in plans.items()
    }
    print(name, {method: f"{t:.2e} {u:.2e}" for method, (t, u) in found.items()}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.035, help="0: smallest plan, 1: float")
    parser.add_argument("--most", type=int, default=4, help="so many speakers, evenly chosen")
    options, names = speakers_and_workers(parser)
    names = evenly(names, options.most)
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(partial(one_speaker, share=options.share), names))
    base = [each["fisher"][1] for each in found]
    rows = [
        Row(
            method,
            float(np.mean([each[method][0] for each in found])),
            float(np.mean([each[method][1] for each in found])),
            ratio([each[method][1] for each in found], base),
        )
        for method in found[0]
    ]
    for row in rows:
        print(row)
    figures = {"speakers": names, "share": options.share, "rows": rows}
    command = (
        f"python -m benchmarks.methods.refining --speakers {options.speakers} --most {options.most}"
    )
    print(save_result("refining", command, figures))


if __name__ == "__main__":
    main()
