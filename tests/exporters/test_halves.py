"""Constants that float16 holds exactly lie in a `.pte` as float16, and the file writes what it wrote."""

import numpy as np
import pytest
import torch

from myqasr.exporters import checks
from myqasr.exporters.executorch import lowering
from myqasr.exporters.export import export_options
from myqasr.exporters.target import load_target
from myqasr.personalize.planning.plan import FLOAT32
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.speech.models import load_model
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A small Whisper whose positions float16 holds, as it holds OpenAI's."""
    save_model("whisper", tmp_path / "model")
    found = load_model(str(tmp_path / "model"))
    for half in (found.module.encoder, found.module.decoder):
        half.embed_positions.weight.copy_(half.embed_positions.weight.half())
    monkeypatch.setattr(checks, "LEAST_HALVED", 256)
    return found


def positions_bytes(model):
    halves = (model.module.encoder, model.module.decoder)
    return sum(half.embed_positions.weight.nbytes for half in halves)


def written(model, name, path):
    codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
    load_target(name).write(model, codes, path, export_options(model, 2.0))
    system = System("", "executorch-cpp", str(path), autoregression=model.tokens.autoregression)
    waveform = model.features(0.1 * noise(20_000)[0].numpy())[0].numpy()
    return path.stat().st_size, open_system(system, 1).logits(waveform)


@pytest.mark.parametrize("name", ["xnnpack", "executorch"])
def test_a_file_whose_constants_are_halved_is_smaller_and_gives_the_same(
    model, name, tmp_path, monkeypatch
):
    size, logits = written(model, name, tmp_path / "halved.pte")
    monkeypatch.setattr(lowering, "halve_constants", lambda program, layers: None)
    whole_size, whole = written(model, name, tmp_path / "whole.pte")
    np.testing.assert_allclose(logits, whole, rtol=1e-5, atol=1e-5)
    assert 0 < positions_bytes(model) // 2 - (whole_size - size) < 2_000


@pytest.mark.parametrize("name", ["xnnpack", "executorch"])
def test_what_halving_saves_is_in_the_estimate_of_a_files_size(model, name, monkeypatch):
    target = load_target(name)
    halved = target.overhead_bytes(model)
    monkeypatch.setattr(checks, "LEAST_HALVED", 1 << 30)
    assert target.overhead_bytes(model) - halved == positions_bytes(model) // 2


def test_values_that_float16_would_change_stay_what_they_are(model):
    positions = model.module.encoder.embed_positions.weight
    assert checks.fits_half(positions)
    positions[0, 0] = 0.1
    assert not checks.fits_half(positions)
    assert not checks.fits_half(torch.full_like(positions, torch.nan))
