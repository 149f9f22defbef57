"""A Whisper whose channels are evened out is the same function, and loses less when it is rounded."""

from unittest import mock

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import quantize_per_row
from myqasr.personalize.rounding.layers import round_weight
from myqasr.speech.models import load_model
from myqasr.speech.models.whisper.evening import scales_of
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise


@pytest.fixture
def folder(tmp_path):
    """A small Whisper whose norms make some channels loud, as trained ones do."""
    save_model("whisper", tmp_path)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
                module.bias.copy_(torch.rand(module.bias.shape, generator=generator) - 0.5)
                module.weight[3] *= 20
    model.save_pretrained(tmp_path)
    return tmp_path


def test_evening_changes_no_bit_of_what_the_model_says(folder):
    with mock.patch("myqasr.speech.models.whisper.load.even"):
        plain = load_model(str(folder))
    evened = load_model(str(folder))
    assert plain.weights_hash() != evened.weights_hash()
    assert evened.module.token_factors is not None
    waveform = 0.1 * noise(20_000)[0].numpy()
    inputs = plain.inputs(waveform)
    for ours, theirs in zip(evened.inputs(waveform), inputs, strict=True):
        assert torch.equal(ours, theirs)  # the token loop writes the same
    with torch.inference_mode():
        assert torch.equal(evened.module(*inputs), plain.module(*inputs))


def test_head_and_token_table_stay_one_matrix(folder):
    layers = load_model(str(folder)).layers()
    assert layers["decoder.embed_tokens"].matrix_of == "proj_out"
    assert torch.equal(layers["proj_out"].weight, layers["decoder.embed_tokens"].weight)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), channels=st.sampled_from([32, 48, 64]))
def test_scales_are_powers_of_two_and_rounding_loses_no_more_than_without(seed, channels):
    generator = torch.Generator().manual_seed(seed)
    norm, weight = nn.LayerNorm(channels), torch.randn(40, channels, generator=generator)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels, generator=generator).exp())
        norm.bias.copy_(torch.randn(channels, generator=generator))
        rows = norm(torch.randn(200, channels, generator=generator))
        scales = scales_of(norm, [weight])
    assert torch.equal(scales, torch.exp2(scales.log2().round()))
    spec = QuantSpec(8, "int", None, "int8-dynamic")

    def error(by):
        codes = LayerCodes(spec, *round_weight(weight * by, spec.stored, "float32"))
        found = quantize_per_row(rows / by) @ codes.dequantized(weight).T
        return float((found - rows @ weight.T).square().mean())

    assert error(scales) <= 1.1 * error(torch.ones_like(scales))


@torch.no_grad()
def test_channels_that_a_norm_silences_are_no_trouble():
    norm = nn.LayerNorm(32)
    norm.weight[:5] = 0
    assert torch.isfinite(scales_of(norm, [torch.randn(8, 32)])).all()
    norm.weight.zero_()
    assert torch.equal(scales_of(norm, [torch.zeros(8, 32)]), torch.ones(32))
