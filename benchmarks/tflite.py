"""TFLite files on both runtimes, from the smallest plan to the float size, against their torch reference.

python -m benchmarks.tflite [--steps 8] [--clips 64]

For the default model and three architectures of random weights: each budget goes the way of `myqasr export`,
every file is read back equal to its plan bit for bit (else the run stops), and its text of test clips is
compared with that of the torch reference of the same plan. Then one plan that LiteRT and XNNPACK both run is
written for both: codes, and word errors on the clips. Needs `myqasr doctor --install tflite-runtime`.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import BUILD, save_result
from exporters import planning
from exporters.export import check_file, export_options, export_plan, export_within_budget
from exporters.run_folder import RunFolder
from exporters.target import load_target
from personalize.plan import FLOAT32, LayerShape, QuantSpec
from personalize.reference import build_reference
from personalize.sensitivity import Measurement, ProfileOptions
from runtime_bench.exported import TARGET_RUNNERS
from runtime_bench.quality import errors_of
from runtime_bench.runners.base import System, open_system
from speech.datasets import Recording, choose_clips, find_clips, read_clips
from speech.decoding import greedy_text
from speech.models import load_model
from speech.models.base import SpeechModel
from tests.model_folders import save_model

USERS = Path("speech/default_users")
TARGETS = ("litert", "tflite-runtime")
RANDOM = ("wav2vec2 large", "conformer, relative", "conformer, rotary")
"""wav2vec 2.0 with stable layer norm, and the two Conformers: kilobyte models of the tests."""

MAX_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Step:
    """One budget. same_text: clips whose text is the reference's to the letter."""

    budget_bytes: int
    predicted_bytes: int
    actual_bytes: int
    clips: int
    same_text: int


def texts(model: SpeechModel, path: Path, target: str, recordings: list[Recording]) -> list[str]:
    """Greedy text of each clip by a file on its runtime."""
    runner = open_system(System("file", TARGET_RUNNERS[target], str(path)), 1)
    return [
        greedy_text(runner.logits(model.features(recording.waveform)[0].numpy()), model.tokens)
        for recording in recordings
    ]


def steps_of(
    model: SpeechModel, speaker: Measurement, name: str, recordings: list[Recording], count: int
) -> list[Step]:
    """Files of one target at `count` budgets."""
    target = load_target(name)
    options = export_options(model, MAX_SECONDS)
    path = BUILD / "tflite" / f"file{target.SUFFIX}"
    profile, estimate = speaker.profile, target.overhead_bytes(model)
    smallest, _ = planning.size_limits(profile, target.menu, target.layer_bytes, estimate)
    first = planning.plan_for(profile, target, smallest, estimate)
    overhead = export_plan(model, speaker, first, target, path, options).plan.overhead_bytes
    low, high = planning.size_limits(profile, target.menu, target.layer_bytes, overhead)
    steps = []
    for index in range(count):
        budget = low + (high - low) * index // (count - 1)
        plan = planning.plan_for(profile, target, budget, overhead)
        written = export_within_budget(model, speaker, plan, target, path, options, print)
        reference = build_reference(model, planning.round_plan(speaker, written.plan))
        expected = [reference.transcribe(recording.waveform) for recording in recordings]
        heard = texts(model, path, name, recordings)
        same = sum(a == b for a, b in zip(heard, expected, strict=True))
        artifact = written.artifact
        steps.append(
            Step(budget, artifact.predicted_bytes, artifact.size_bytes, len(recordings), same)
        )
        print(model.model_id, name, steps[-1], flush=True)
    return steps


def common_plan(
    model: SpeechModel, speaker: Measurement, recordings: list[Recording]
) -> dict[str, Any]:
    """One plan on LiteRT, ExecuTorch and in torch: word errors, and whether texts are the same."""
    litert, xnnpack = load_target("litert"), load_target("xnnpack")

    def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
        both = set(litert.menu(shape)) & set(xnnpack.menu(shape)) - {FLOAT32}
        return (*(spec for spec in litert.menu(shape) if spec in both), FLOAT32)

    profile, estimate = speaker.profile, litert.overhead_bytes(model)
    smallest, _ = planning.size_limits(profile, menu, litert.layer_bytes, estimate)
    plan = planning.allocate(
        profile, litert.NAME, menu, litert.layer_bytes, smallest * 5 // 4, estimate
    )
    codes = planning.round_plan(speaker, plan)
    reference = build_reference(model, codes)
    heard = {"torch reference": [reference.transcribe(each.waveform) for each in recordings]}
    options = export_options(model, MAX_SECONDS)
    for target in (litert, xnnpack):
        path = BUILD / "tflite" / f"common{target.SUFFIX}"
        order = target.write(model, codes, path, options)
        check_file(path, target, codes, order, model)  # every layer's codes, bit for bit
        heard[target.NAME] = texts(model, path, target.NAME, recordings)
    spoken = [recording.clip.text for recording in recordings]
    found = {}
    for name, lines in heard.items():
        words, _ = errors_of(spoken, lines)
        same = sum(a == b for a, b in zip(lines, heard["torch reference"], strict=True))
        found[name] = {"wer": words.rate, "same_text": same}
        print(name, found[name], flush=True)
    return {"layers_equal": len(codes), "clips": len(recordings), "systems": found}


def speaker_of(model: SpeechModel, source: str, clips: int) -> Measurement:
    """Costs and codes on an embedded user."""
    recordings, _ = choose_clips(find_clips(USERS / "synth-ada" / "tune"), clips)
    run = RunFolder(BUILD / "tflite" / model.model_id.replace("/", "_"))
    return planning.profile_speaker(run, model, source, recordings, ProfileOptions(), lambda: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--clips", type=int, default=64)
    options = parser.parse_args()
    clips = [
        clip
        for user in sorted(USERS.iterdir())
        if user.is_dir()
        for clip in find_clips(user / "test")
    ]
    recordings, _ = read_clips(clips[:: -(-len(clips) // options.clips)], need_text=True)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        sources = {"default": "default"}
        for name in RANDOM:
            sources[name] = str(Path(folder) / name)
            save_model(name, Path(sources[name]))
        for name, source in sources.items():
            model = load_model(source)
            speaker = speaker_of(model, source, 8)
            figures[name] = {
                target: steps_of(model, speaker, target, list(recordings), options.steps)
                for target in TARGETS
            }
            if name == "default":
                figures["common plan"] = common_plan(model, speaker, list(recordings))
    print(save_result("tflite", f"python -m benchmarks.tflite --steps {options.steps}", figures))


if __name__ == "__main__":
    main()
