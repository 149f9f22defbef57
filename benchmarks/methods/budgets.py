"""Does the file keep its budget to the byte, from the smallest plan to the float size?

python -m benchmarks.methods.budgets [--steps 20] [--target xnnpack]

Each step goes the way of `myqasr export`: planned with the overhead that the export of the smallest plan
measured, so that the prediction is a real one, and planned again where the file is over the budget or leaves
room for a better plan.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import BUILD, save_result
from myqasr.api import measure_speaker
from myqasr.exporters.export import export_options, export_plan, export_within_budget
from myqasr.exporters.target import load_target
from myqasr.personalize import profiling
from myqasr.personalize.measuring.sensitivity import ProfileOptions
from myqasr.personalize.planning.exact import plan_mean_bits
from myqasr.personalize.run_folder import RunFolder
from myqasr.speech.datasets import choose_clips, find_clips
from myqasr.speech.models import load_model

USER = Path("speech/default_users/synth-ada/tune")


@dataclass(frozen=True, slots=True)
class Step:
    """One budget. Every file was read back equal to its plan, else the run would have stopped."""

    budget_bytes: int
    predicted_bytes: int
    actual_bytes: int
    mean_bits: float
    expected_cost: float
    gap: float
    layers: int
    attempts: int

    @property
    def prediction_error_bytes(self) -> int:
        """Signed."""
        return self.actual_bytes - self.predicted_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--target", default="xnnpack")
    options = parser.parse_args()
    target = load_target(options.target)
    model = load_model("default")
    recordings, _ = choose_clips(find_clips(USER), 16)
    speaker = measure_speaker(RunFolder(BUILD / "budgets"), model, recordings, ProfileOptions())
    profile = speaker.profile
    export = export_options(model, 15.0)
    path = BUILD / "budgets" / f"file{target.suffix}"
    estimate = target.overhead_bytes(model)
    smallest, _ = profiling.size_limits(profile, target.offer, estimate)
    first = profiling.plan_for(profile, target, smallest, estimate)
    written = export_plan(model, speaker, first, target, path, export)
    sizes = profiling.SizeRange(0, 0, written.plan.overhead_bytes)
    smallest, floats = profiling.size_limits(profile, target.offer, sizes.overhead_bytes)
    steps = []
    for index in range(options.steps):
        budget = smallest + (floats - smallest) * index // (options.steps - 1)
        plan = profiling.plan_for(profile, target, budget, sizes.overhead_bytes)
        result = export_within_budget(model, speaker, plan, target, path, export, print)
        steps.append(
            Step(
                budget,
                result.artifact.predicted_bytes,
                result.artifact.size_bytes,
                round(plan_mean_bits(profile, result.plan), 3),
                result.plan.expected_cost,
                result.plan.gap,
                len(result.plan.layers),
                result.attempts,
            )
        )
        step = steps[-1]
        print(
            f"budget {budget:>11,}  predicted {step.predicted_bytes:>11,}  actual "
            f"{step.actual_bytes:>11,} ({step.prediction_error_bytes:+,})  "
            f"{step.attempts} exports  {step.actual_bytes / budget:.2%} used  "
            f"{step.mean_bits:.2f} bits  gap {step.gap:.1e}",
            flush=True,
        )
    name = "budgets" if options.target == "xnnpack" else f"budgets_{options.target}"
    print(save_result(name, f"python -m benchmarks.methods.budgets --steps {options.steps}", steps))


if __name__ == "__main__":
    main()
