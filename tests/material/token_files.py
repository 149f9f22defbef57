"""Files of models that write token by token, on their runtimes: opened, and held against the reference."""

from pathlib import Path

from myqasr.exporters.audit import compare
from myqasr.exporters.export import export_options
from myqasr.exporters.target import load_target
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import Runner, System, open_system
from myqasr.speech.decoding import comparable
from myqasr.speech.models.base import SpeechModel
from tests.material.tiny_models import noise

WAVEFORMS = tuple(0.1 * noise(20_000, seed=seed)[0].numpy() for seed in (0, 1))


def write(model: SpeechModel, name: str, codes: dict[str, LayerCodes], path: Path) -> None:
    """A target's file that is what the plan says, by its own bytes."""
    target = load_target(name)
    order = target.write(model, codes, path, export_options(model, 2.0))
    assert set(order) == set(model.layers())
    assert compare(target.read(path), codes, order, model) == []


def opened(model: SpeechModel, name: str, path: Path) -> Runner:
    """On the target's own runner."""
    how = model.tokens.autoregression
    return open_system(System("file", load_target(name).runner, str(path), autoregression=how), 1)


def worst_db(model: SpeechModel, runner: Runner, codes: dict[str, LayerCodes]) -> float:
    """Agreement with the reference up to the first token that differs, and that one does."""
    how, found = model.tokens.autoregression, []
    reference = build_reference(model, codes, half_activations=False)
    for waveform in WAVEFORMS:  # the second finds the first one's caches
        expected = reference.logits(waveform)
        logits = runner.logits(model.features(waveform)[0].numpy())
        found.append(signal_to_noise_db(*comparable(expected, logits, how)))
    return min(found)
