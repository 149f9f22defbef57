"""A Whisper whose channels are evened out is the same function, and loses less when it is rounded."""

from unittest import mock

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from myqasr.core.errors import ModelError
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import quantize_per_row
from myqasr.personalize.rounding.layers import round_weight
from myqasr.speech.models import load_model
from myqasr.speech.models.whisper.evening import scales_of, with_published_table
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


def test_the_published_table_is_the_same_function_however_it_is_asked_for(folder):
    evened, asked = load_model(str(folder)), load_model(f"{folder}?table=published")
    taken_back = with_published_table(evened)
    assert taken_back.model_id == asked.model_id == f"{folder}?table=published"
    assert taken_back.weights_hash() == asked.weights_hash() != evened.weights_hash()
    assert asked.module.token_factors is None and evened.module.token_factors is not None
    assert with_published_table(asked) is asked
    stored = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    assert torch.equal(asked.layers()["proj_out"].weight, stored.proj_out.weight)
    fc1 = "decoder.layers.0.fc1"  # all else stays even
    assert torch.equal(asked.layers()[fc1].weight, evened.layers()[fc1].weight)
    inputs = evened.inputs(0.1 * noise(20_000)[0].numpy())
    with torch.inference_mode():
        assert torch.equal(asked.module(*inputs), evened.module(*inputs))


@pytest.mark.parametrize("wrong", ["table=even", "table=", "tables=published"])
def test_another_table_is_refused(wrong, folder):
    with pytest.raises(ModelError, match="window=10 or table=published"):
        load_model(f"{folder}?{wrong}")


def test_models_without_a_table_say_so():
    with pytest.raises(ModelError, match="has no table of tokens"):
        load_model("default?table=published")


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
