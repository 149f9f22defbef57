"""A model to a file at random precisions and back: what it holds, and what it computes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from myqasr.exporters.audit import compare
from myqasr.exporters.executorch.operators import operators_of
from myqasr.exporters.target import ExportOptions, load_target
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS
from myqasr.speech.decoding import comparable
from myqasr.speech.models.base import SpeechModel
from tests.material.tiny_models import noise, random_codes, random_specs

MIXED_PLAN_DB = 30
"""fp16 layers, which the CPU sums as it likes, flip roundings of the integer layers after them."""

SHORTEST, LONGEST = 1_300, 32_000


PHONE_OPERATORS = {
    line
    for line in (Path(__file__).with_name("phone_operators.txt").read_text().splitlines())
    if not line.startswith("#")
}
"""What ExecuTorch's library for Android has: a file that asks for more doesn't load on a phone."""


def assert_its_file_computes_the_plan(
    model: SpeechModel, target_name: str, folder: Path, lengths: Sequence[int], seed: int = 1
) -> None:
    """Export at random precisions; compare the file with its plan and its runtime with the reference.

    lengths: samples of the inputs tried.
    """
    target = load_target(target_name)
    codes = random_codes(model, target, random_specs(model, target, seed))
    path = folder / f"file{target.suffix}"
    options = ExportOptions(SHORTEST, LONGEST)
    order = target.write(model, codes, path, options)
    assert compare(target.read(path), codes, order, model) == []
    assert set(operators_of(path)) <= PHONE_OPERATORS
    how = model.tokens.autoregression
    runner = open_system(
        System("file", TARGET_RUNNERS[target_name], str(path), autoregression=how), threads=1
    )
    reference = build_reference(model, codes, target.half_activations)
    for samples in lengths:
        waveform = noise(samples)[0].numpy()
        expected = reference.logits(waveform)
        found = runner.logits(model.features(waveform)[0].numpy())
        if how is not None:
            expected, found = comparable(expected, found, how)
        decibels = signal_to_noise_db(expected, found)
        assert decibels > MIXED_PLAN_DB, f"{samples} samples: {decibels:.1f} dB"
        assert np.isfinite(found).all()
