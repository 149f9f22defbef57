"""Whether a recogniser at 8 bits writes the same text from every container, on its runtime.

python -m benchmarks.files.containers [--model whisper-tiny.en] [--speakers libri-1272,libri-84] [--clips 20]

Codes are rounded to nearest, with such scales as each stores. XNNPACK and LiteRT multiply them with
activations rounded to int8 as they run, ExecuTorch's own kernels and Core ML with activations in float: each
is held against the others and against the float model. Core ML files run in the evaluator that comes with
this project: there is no macOS here.
Needs $MYQASR_SPEECH or ../shared/speech.
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers.clips import load_speaker
from benchmarks.results import BUILD, save_result
from myqasr.api import measure_speaker
from myqasr.exporters.export import export_options, export_plan
from myqasr.exporters.target import Target, load_target
from myqasr.personalize.measuring.sensitivity import Measurement, ProfileOptions
from myqasr.personalize.planning.exact import uniform_plan
from myqasr.personalize.planning.plan import LayerShape, Plan, QuantSpec
from myqasr.personalize.rounding.codes import Rounding
from myqasr.personalize.rounding.layers import round_weight
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel

TARGETS = ("xnnpack", "executorch", "litert", "coreml")
FLOAT = "float (torch)"


def texts_of(source: str, speaker_name: str, clips: int) -> dict[str, list[str]]:
    """Text of every test clip, by target and of the float model."""
    speaker = load_speaker(speaker_name, clips, BUILD / "peers" / "clips" / speaker_name)
    model = load_model(source)
    folder = BUILD / "containers" / source.replace("?", "_") / speaker_name
    options = ProfileOptions(method="frobenius", rounding="nearest")
    measured = measure_speaker(RunFolder(folder / "run"), model, list(speaker.fit), options)
    waveforms = [np.load(clip.path) for clip in speaker.test]
    texts = {FLOAT: [model.transcribe(waveform) for waveform in waveforms]}
    for name in TARGETS:
        target = load_target(name)
        overhead = target.overhead_bytes(model)

        def wide(shape: LayerShape, target: Target = target) -> tuple[QuantSpec, ...]:
            return tuple(s for s in target.menu(shape) if s.bits >= 8 and s.scheme != "lut")

        plan = uniform_plan(measured.profile, name, replace(target.offer, menu=wide), overhead, 8)
        path = folder / f"{name}{target.suffix}"
        stored = Measurement(measured.profile, _rounded(model, plan, target))
        export_plan(model, stored, plan, target, path, export_options(model, 30.0))
        texts[name] = _written(model, target.runner, path, waveforms)
        print(speaker_name, name, flush=True)
    return texts


def _rounded(model: SpeechModel, plan: Plan, target: Target) -> Rounding:
    """Codes to nearest, with such scales as the target stores."""
    modules, found = model.layers(), {}
    for name, spec in plan.layers.items():
        stored = spec.stored
        if stored.scheme == "int":
            weight: Any = modules[name].weight
            found[name] = {stored.label: round_weight(weight, stored, target.scale_dtype(stored))}
    return Rounding(found)


def _written(
    model: SpeechModel, runner_name: str, path: Path, waveforms: list[NDArray[np.float32]]
) -> list[str]:
    system = System("", runner_name, str(path), autoregression=model.tokens.autoregression)
    runner = open_system(system, 1)
    return [
        greedy_text(runner.logits(model.features(waveform)[0].numpy()), model.tokens)
        for waveform in waveforms
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--speakers", default="libri-1272,libri-84")
    parser.add_argument("--clips", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.speakers.split(",")
    found = [texts_of(options.model, name, options.clips) for name in names]
    texts = {name: [text for each in found for text in each[name]] for name in found[0]}
    rows = [
        {
            "one": one,
            "other": other,
            "same": sum(a == b for a, b in zip(texts[one], texts[other], strict=True)),
        }
        for one, other in itertools.combinations(texts, 2)
    ]
    figures = {"model": options.model, "speakers": names, "clips": len(texts[FLOAT]), "rows": rows}
    print(save_result("containers", "python -m benchmarks.files.containers", figures))


if __name__ == "__main__":
    main()
