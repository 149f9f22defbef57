"""TFLite files on both runtimes, from the smallest plan to the float size, against their torch reference.

python -m benchmarks.files.tflite [--steps 8] [--clips 64] [--only NAME]

For the default model and three architectures of random weights: each budget goes the way of `myqasr export`,
every file is read back equal to its plan bit for bit (else the run stops), and its text of test clips is
compared with that of the torch reference of the same plan. What two computations of one plan can agree in is
measured, too: the reference's texts against those of the same reference in float64. Then two plans that
LiteRT and XNNPACK both run are written for both: codes, and word errors on all test clips of the embedded
users and, with $MYQASR_SPEECH or ../shared/speech, of real speakers. `--only` measures a target's files or
the `common` plans again and keeps the other figures. Needs `myqasr doctor --install tflite-runtime`.
"""

import argparse
import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.results import BUILD, load_result, save_result
from benchmarks.speakers import Waveform, embedded_users, load_speaker, reserved_speakers
from myqasr.api import measure_speaker
from myqasr.core.statistics import rate_difference
from myqasr.exporters.export import check_file, export_options, export_plan, export_within_budget
from myqasr.exporters.target import load_target
from myqasr.personalize import profiling
from myqasr.personalize.measuring.sensitivity import Measurement, ProfileOptions
from myqasr.personalize.planning.exact import exact_plan, plan_mean_bits
from myqasr.personalize.planning.plan import FLOAT16, FLOAT32, LayerShape, QuantSpec
from myqasr.personalize.planning.problem import Problem
from myqasr.personalize.rounding.reference import build_reference
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.results.quality import agreement, token_flips
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS
from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.datasets import choose_clips, find_clips, read_clips
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.scoring import utterance_word_errors
from tests.material.model_folders import save_model

USERS = Path("speech/default_users")
TARGETS = ("litert", "tflite-runtime")
COMMON = "common"
RANDOM = ("wav2vec2 large", "conformer, relative", "conformer, rotary")
"""wav2vec 2.0 with stable layer norm, and the two Conformers: kilobyte models of the tests."""

COMMON_BUDGETS = (1.25, 2.0)
"""In smallest plans that both runtimes run: 4 bits mostly, and 8."""

MAX_SECONDS = 15.0
"""Longest clip that files take."""


Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Step:
    """One budget. same_text: clips whose text is the reference's to the letter.

    same_in_double: clips whose text by the reference stays the same when it computes in float64.
    frames, same_token: frames of all clips, and those whose best token is the reference's.
    """

    budget_bytes: int
    predicted_bytes: int
    actual_bytes: int
    clips: int
    same_text: int
    same_in_double: int
    frames: int
    same_token: int


class InDouble(nn.Module):
    """A copy of a module that computes in float64: the same roundings to int8, other ones of sums."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).double()

    def forward(self, x: Tensor) -> Tensor:
        """Same shapes; float64."""
        logits: Tensor = self.module(x.double())
        return logits


def in_double(model: SpeechModel) -> SpeechModel:
    """The same model computing in float64."""
    return replace(model, module=InDouble(model.module))


def by_file(model: SpeechModel, path: Path, target: str, clips: Sequence[Waveform]) -> list[Logits]:
    """Logits of each clip by a file on its runtime."""
    runner = open_system(System("file", TARGET_RUNNERS[target], str(path)), 1)
    return [runner.logits(model.features(clip)[0].numpy()) for clip in clips]


def texts(model: SpeechModel, logits: Sequence[Logits]) -> list[str]:
    """Greedy text of each clip."""
    return [greedy_text(each, model.tokens) for each in logits]


def steps_of(
    model: SpeechModel, speaker: Measurement, name: str, clips: Sequence[Waveform], count: int
) -> list[Step]:
    """Files of one target at `count` budgets."""
    target = load_target(name)
    options = export_options(model, MAX_SECONDS)
    path = BUILD / "tflite" / f"file{target.suffix}"
    profile, estimate = speaker.profile, target.overhead_bytes(model)
    smallest, _ = profiling.size_limits(profile, target.offer, estimate)
    first = profiling.plan_for(profile, target, smallest, estimate)
    overhead = export_plan(model, speaker, first, target, path, options).plan.overhead_bytes
    low, high = profiling.size_limits(profile, target.offer, overhead)
    steps = []
    for index in range(count):
        budget = low + (high - low) * index // (count - 1)
        plan = profiling.plan_for(profile, target, budget, overhead)
        written = export_within_budget(model, speaker, plan, target, path, options, print)
        codes = profiling.round_plan(speaker, written.plan)
        reference = build_reference(model, codes, load_target(name).half_activations)
        expected = [reference.logits(clip) for clip in clips]
        found = by_file(model, path, name, clips)
        double = in_double(reference)
        again = texts(model, [double.logits(clip) for clip in clips])
        lines = texts(model, expected)
        flips = token_flips(
            [each.argmax(1) for each in found], [each.argmax(1) for each in expected]
        )
        artifact = written.artifact
        steps.append(
            Step(
                budget,
                artifact.predicted_bytes,
                artifact.size_bytes,
                len(clips),
                same(texts(model, found), lines),
                same(again, lines),
                flips.tokens,
                flips.tokens - flips.flipped,
            )
        )
        print(model.model_id, name, steps[-1], flush=True)
    return steps


def same(heard: Sequence[str], expected: Sequence[str]) -> int:
    """How many texts are equal to the letter."""
    return round(agreement(heard, expected) * len(expected))


def common_plan(model: SpeechModel, speaker: Measurement, times: float) -> dict[str, Any]:
    """One plan on LiteRT, ExecuTorch and in torch: word errors, and whether texts are the same.

    times: its budget, in smallest plans.
    """
    litert, xnnpack = load_target("litert"), load_target("xnnpack")

    def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
        """What both compute alike; fp16 they don't."""
        both = set(litert.menu(shape)) & set(xnnpack.menu(shape)) - {FLOAT16, FLOAT32}
        return (*(spec for spec in litert.menu(shape) if spec in both), FLOAT32)

    profile, estimate = speaker.profile, litert.overhead_bytes(model)
    smallest, _ = profiling.size_limits(profile, replace(litert.offer, menu=menu), estimate)
    budget = int(smallest * times)
    plan = exact_plan(
        Problem(profile, litert.name, replace(litert.offer, menu=menu), budget, estimate)
    )
    codes = profiling.round_plan(speaker, plan)
    options = export_options(model, MAX_SECONDS)
    paths = {}
    for target in (litert, xnnpack):
        path = paths[target.name] = BUILD / "tflite" / f"common{target.suffix}"
        order = target.write(model, codes, path, options)
        check_file(path, target, codes, order, model)  # every layer's codes, bit for bit
    reference = build_reference(model, codes)
    people = {"embedded users": embedded_users()}
    try:
        people["real speakers"] = reserved_speakers()
    except FileNotFoundError as error:
        print(f"without real speakers: {error}")
    return {
        "layers_equal": len(codes),
        "budget_bytes": budget,
        "mean_bits": plan_mean_bits(profile, plan),
        "tests": {
            group: _common_test(model, reference, paths, names) for group, names in people.items()
        },
    }


def _common_test(
    model: SpeechModel, reference: SpeechModel, paths: dict[str, Path], names: Sequence[str]
) -> dict[str, Any]:
    """Word errors of files of one plan, and of its reference, on test clips of some people."""
    longest = MAX_SECONDS * SAMPLE_RATE
    pairs = [
        (clip, text)
        for person in map(load_speaker, names)
        for clip, text in zip(person.test, person.texts, strict=True)
        if len(clip) <= longest
    ]
    clips, spoken = [clip for clip, _ in pairs], [text for _, text in pairs]
    double = in_double(reference)
    logits = {
        "torch reference": [reference.logits(clip) for clip in clips],
        "torch reference in float64": [double.logits(clip) for clip in clips],
    }
    logits |= {name: by_file(model, path, name, clips) for name, path in paths.items()}
    heard = {name: texts(model, each) for name, each in logits.items()}
    base = utterance_word_errors(spoken, heard["torch reference"])
    words = [counts.reference_length for counts in base]
    systems = {}
    for name, lines in heard.items():
        errors = [counts.errors for counts in utterance_word_errors(spoken, lines)]
        systems[name] = {
            "wer": sum(errors) / sum(words),
            "more": rate_difference(errors, [counts.errors for counts in base], words),
            "same_text": same(lines, heard["torch reference"]),
        }
        print(len(clips), name, systems[name], flush=True)
    return {"clips": len(clips), "words": sum(words), "systems": systems}


def speaker_of(model: SpeechModel, clips: int) -> Measurement:
    """Costs and codes on an embedded user."""
    recordings, _ = choose_clips(find_clips(USERS / "synth-ada" / "tune"), clips)
    run = RunFolder(BUILD / "tflite" / model.model_id.replace("/", "_"))
    return measure_speaker(run, model, recordings, ProfileOptions())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--only", choices=(COMMON, *TARGETS))
    options = parser.parse_args()
    figures = {} if options.only is None else load_result("tflite")["figures"]
    targets = [name for name in TARGETS if options.only in (None, name)]
    for name, found in at_all_budgets(targets, options.steps, options.clips).items():
        figures[name] = {**figures.get(name, {}), **found}
    if options.only in (None, COMMON):
        model = load_model("default")
        speaker = speaker_of(model, 8)
        figures["common plans"] = [common_plan(model, speaker, times) for times in COMMON_BUDGETS]
    print(
        save_result("tflite", f"python -m benchmarks.files.tflite --steps {options.steps}", figures)
    )


def at_all_budgets(
    targets: Sequence[str], steps: int, count: int
) -> dict[str, dict[str, list[Step]]]:
    """Model -> target -> files, on `count` clips of the embedded users."""
    if not targets:
        return {}
    clips = [
        clip
        for user in sorted(USERS.iterdir())
        if user.is_dir()
        for clip in find_clips(user / "test")
    ]
    recordings, _ = read_clips(clips[:: -(-len(clips) // count)], need_text=True)
    waveforms = [recording.waveform for recording in recordings]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        sources = {"default": "default"}
        for name in RANDOM:
            sources[name] = str(Path(folder) / name)
            save_model(name, Path(sources[name]))
        for name, source in sources.items():
            model = load_model(source)
            speaker = speaker_of(model, 8)
            figures[name] = {
                target: steps_of(model, speaker, target, waveforms, steps) for target in targets
            }
    return figures


if __name__ == "__main__":
    main()
