"""What Core ML's palettes buy: divergence and word errors of its files against bytes, beside XNNPACK's.

python -m benchmarks.files.coreml [--users 4]

Every row is a file that was written, read back equal to its plan, and run on test clips: .pte in ExecuTorch's
runtime, .mlpackage by evaluating the saved program (no Mac here). Each package's logits and texts are also
held against the torch reference of its plan.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.methods.allocation import logit_divergence
from benchmarks.results import BUILD, save_result
from benchmarks.speakers import embedded_users, load_speaker
from myqasr.core.storage import size_of
from myqasr.exporters.export import export_options, export_within_budget
from myqasr.exporters.target import Target, load_target, measured_together
from myqasr.personalize.measuring.sensitivity import ProfileOptions, measure
from myqasr.personalize.planning.plan import Plan
from myqasr.personalize.profiling import plan_for, round_plan, size_limits
from myqasr.personalize.rounding.reference import build_half_reference
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model
from myqasr.speech.scoring import word_errors

BUDGETS = (1_200_000, 1_500_000, 1_900_000, 2_500_000, 3_300_000, 4_200_000, 6_000_000)
LABEL_DRAWS = 32


@dataclass(frozen=True, slots=True)
class FileResult:
    """One user's file.

    worst, other_texts: largest error of the logits, and texts that differ, against the torch reference; Core
    ML only.
    """

    user: str
    target: str
    budget_bytes: int
    size_bytes: int
    mean_bits: float
    kl: float
    word_errors: int
    words: int
    worst: float | None
    other_texts: int | None


def one_user(name: str) -> list[FileResult]:
    """All files of one embedded user."""
    model, speaker = load_model("default"), load_speaker(name)
    asked = "coreml"
    together = measured_together(asked)
    measured = measure(
        model, speaker.tune, together.menu,
        together.scale_dtype, name, ProfileOptions(label_draws=LABEL_DRAWS),
    )  # fmt: skip
    base = [model.logits(waveform) for waveform in speaker.test]
    found = []

    def run(target: Target, plan: Plan) -> None:
        path = BUILD / "coreml" / f"file{target.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        lengths = export_options(model, 15.0)
        written = export_within_budget(
            model, measured, plan, target, path, lengths, lambda text: None
        )
        runner = open_system(System("file", TARGET_RUNNERS[target.name], str(path)), 1)
        logits = [runner.logits(model.features(clip)[0].numpy()) for clip in speaker.test]
        texts = [greedy_text(each, model.tokens) for each in logits]
        worst = other_texts = None
        if asked == target.name:
            reference = build_half_reference(model, round_plan(measured, written.plan))
            expected = [reference.logits(clip) for clip in speaker.test]
            worst = max(float(np.abs(e - f).max()) for e, f in zip(expected, logits, strict=True))
            other_texts = sum(
                greedy_text(each, model.tokens) != text
                for each, text in zip(expected, texts, strict=True)
            )
        counts = word_errors(list(speaker.texts), texts)
        total = sum(logit_divergence(p, q) for p, q in zip(base, logits, strict=True))
        result = FileResult(
            name, target.name, written.plan.budget_bytes, size_of(path),
            written.artifact.mean_bits, total / sum(len(each) for each in base),
            counts.errors, counts.reference_length, worst, other_texts,
        )  # fmt: skip
        print(result, flush=True)
        found.append(result)

    for target in map(load_target, ("coreml", "xnnpack")):
        overhead = target.overhead_bytes(model)
        profile = measured.profile
        smallest, _ = size_limits(profile, target.offer, overhead)
        for budget in BUDGETS:
            if budget > smallest:
                run(target, plan_for(profile, target, budget, overhead))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in embedded_users()[: options.users] for row in one_user(name)]
    print(save_result("coreml", f"python -m benchmarks.files.coreml --users {options.users}", rows))


if __name__ == "__main__":
    main()
