"""Try a target for real: write a kilobyte model, read it back, run it, compare with its reference."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from myqasr.core.errors import UserError
from myqasr.exporters.export import check_file
from myqasr.exporters.target import ExportOptions, load_target
from myqasr.personalize.planning.plan import FLOAT32, LayerProfile
from myqasr.personalize.rounding.layers import round_layer
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.speech.decoding import Autoregression, Tokens, comparable
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.models.wav2vec2 import from_module

MIN_SNR_DB = 30.0  # a wrong kernel or scale is far below, rounding differences far above


@dataclass(frozen=True, slots=True)
class Probe:
    """A written file, an input [samples] for it and the logits [frames, vocab] it should give.

    precisions: labels of those its layers have. how: of models that write token by token.
    """

    target: str
    path: Path
    features: NDArray[np.float32]
    expected: NDArray[np.float32]
    precisions: tuple[str, ...]
    how: Autoregression | None


def probe_model() -> SpeechModel:
    """A Wav2Vec2ForCTC of random weights, about 0.1 M parameters."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=8,
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        conv_dim=(32, 32),
        conv_kernel=(20, 32),
        conv_stride=(20, 32),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=15,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=True,
        attn_implementation="eager",
    )
    return from_module(Wav2Vec2ForCTC(config), Tokens(tuple("-abcdefg"), 0), True, "probe")


def write_probe(name: str, folder: Path) -> Probe:
    """Write a target's file and read it back; raises UserError when it isn't what was asked for."""
    target = load_target(name)
    model = probe_model() if target.probe is None else target.probe()
    codes = {}
    for layer, module in model.layers().items():
        shape = layer_shape(layer, module)
        specs = [spec for spec in target.menu(shape) if spec.activation != "int8-static"]
        spec = min(specs or [FLOAT32], key=lambda s: s.bits)
        weight = module.weight
        record = LayerProfile(shape, layer, {})
        codes[layer] = round_layer(weight, record, spec, target.scale_dtype(spec))  # type: ignore[arg-type]
    reference = build_reference(model, codes)
    waveform = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    path = folder / target.file_name("probe")
    order = target.write(model, codes, path, ExportOptions(model.min_samples, 32_000))
    check_file(path, target, codes, order, model)
    return Probe(
        name,
        path,
        model.features(waveform)[0].numpy(),
        reference.logits(waveform),
        tuple(sorted({layer.spec.label for layer in codes.values()})),
        model.tokens.autoregression,
    )


def run_probe(probe: Probe, name: str) -> tuple[str, float]:
    """Run the file on a runner: its description, and how near the logits are, in dB.

    Raises UserError when it computes something else.
    """
    how, expected = probe.how, probe.expected
    runner = open_system(System(probe.target, name, str(probe.path), autoregression=how), 1)
    found = runner.logits(probe.features)
    if how is not None:
        expected, found = comparable(expected, found, how)
    snr_db = signal_to_noise_db(expected, found)
    if snr_db < MIN_SNR_DB:
        raise UserError(
            f"{probe.target} on {name} computes something else than the plan: {snr_db:.0f} dB"
        )
    return runner.description, snr_db
