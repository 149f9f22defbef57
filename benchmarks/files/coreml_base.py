"""A wav2vec2-base-sized model (94 M random weights) to Core ML: how long each step takes on one thread.

python -m benchmarks.files.coreml_base
"""

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.files.base_model import make_model
from benchmarks.results import BUILD, save_result
from myqasr.core.storage import size_of
from myqasr.exporters.audit import compare
from myqasr.exporters.coreml import ios18 as coreml
from myqasr.exporters.coreml.convert import float_packages
from myqasr.exporters.export import export_options
from myqasr.personalize.planning.plan import FLOAT32, LayerProfile
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.layers import round_layer, round_palettes
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.personalize.rounding.reference import build_half_reference
from myqasr.runtime_bench.runners.coreml.reference import reference_of
from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel


def find_palettes(model: SpeechModel, group: int | None, sizes: tuple[int, ...]) -> None:
    """Palettes of all layers that have them for groups of so many channels."""
    for module in model.layers().values():
        weight: Any = module.weight
        if group is None or (len(weight) % group == 0 and len(weight) > group):
            palettes_of = round_palettes(weight, group, None)
            for bits in sizes:
                palettes_of(bits)


def random_plan(model: SpeechModel) -> dict[str, LayerCodes]:
    """Codes rounded to nearest at random precisions of the menu, fp32 left out."""
    draw = random.Random(0)
    codes = {}
    for name, module in model.layers().items():
        weight: Any = module.weight
        shape = layer_shape(name, module)
        spec = draw.choice([spec for spec in coreml.menu(shape) if spec != FLOAT32])
        codes[name] = round_layer(weight, LayerProfile(shape, name, {}), spec, "float16")
    return codes


def main() -> None:
    torch.set_num_threads(1)
    make_model(BUILD / "base_model")
    model = load_model(str(BUILD / "base_model"))
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        seconds[name] = round(time.process_time() - started, 1)
        print(name, seconds[name], flush=True)
        return result

    sizes = coreml.PALETTE_BITS
    timed("a palette for each layer, six sizes", lambda: find_palettes(model, None, sizes))
    channels, grouped = coreml.PALETTE_CHANNELS, coreml.GROUPED_PALETTE_BITS
    timed(
        f"a palette for every {channels} channels, five sizes",
        lambda: find_palettes(model, channels, grouped),
    )
    codes = random_plan(model)
    lengths = export_options(model, 15.0)
    path = BUILD / "base.mlpackage"
    timed(
        "conversion of the float model",
        lambda: float_packages(model, lengths, coreml.NAME, frozenset()),
    )
    order = timed("carrying codes, writing", lambda: coreml.write(model, codes, path, lengths))
    stored = timed("reading back", lambda: coreml.read(path))
    if compare(stored, codes, order, model):
        raise SystemExit("the package doesn't hold its plan")
    runner = timed("opening for evaluation", lambda: reference_of(path))
    waveform = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    features = model.features(waveform)[0].numpy()
    logits = timed("evaluating 1 s of audio", lambda: runner.logits(features))
    expected = build_half_reference(model, codes).logits(waveform)
    figures = {
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "size_bytes": size_of(path),
        "cpu_seconds": seconds,
        "worst": float(np.abs(logits - expected).max()),
        "largest_logit": float(np.abs(expected).max()),
    }
    print(figures)
    print(save_result("coreml_base", "python -m benchmarks.files.coreml_base", figures))


if __name__ == "__main__":
    main()
