"""Codes stay in range, scales are storable, and the search is never worse than plain rounding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personalize.codes import ActivationRange, LayerCodes, activation_range, load_codes, save_codes
from personalize.plan import FLOAT32, QuantSpec
from personalize.rounding import code_limits, round_weight
from speech.errors import UserError


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bits=st.integers(2, 8),
    group=st.sampled_from([None, 32, 64]),
    scale_dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    magnitude=st.floats(1e-4, 1e3),
)
def test_codes_fit_their_bits_and_rounding_beats_no_search(
    seed, bits, group, scale_dtype, magnitude
):
    weight = torch.randn(12, 64, generator=torch.Generator().manual_seed(seed)) * magnitude
    spec = QuantSpec(bits, "int", group, "int8-dynamic")
    codes, scales = round_weight(weight, spec, scale_dtype)
    low, high = code_limits(bits)
    assert codes.dtype == torch.int8
    assert codes.min() >= low
    assert codes.max() <= high
    assert scales.shape == (12, 1 if group is None else 64 // group)
    stored = scales.to(getattr(torch, scale_dtype)).float()
    assert torch.equal(stored, scales)
    error = (LayerCodes(spec, codes, scales).dequantized(weight) - weight).square().sum()
    groups = weight.reshape(-1, group or 64)
    plain = (groups.abs().amax(1, keepdim=True) / high).to(getattr(torch, scale_dtype)).float()
    naive = ((groups / plain).round().clamp(low, high) * plain - groups).square().sum()
    assert error <= naive * 1.0001


def test_more_bits_and_smaller_groups_lose_less():
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))

    def error(bits: int, group: int | None) -> float:
        spec = QuantSpec(bits, "int", group)
        codes, scales = round_weight(weight, spec, "float32")
        return float((LayerCodes(spec, codes, scales).dequantized(weight) - weight).square().sum())

    assert error(8, None) < error(6, None) < error(4, 32) < error(4, None) < error(2, None)


def test_a_dead_channel_keeps_zero_codes_and_a_usable_scale():
    codes, scales = round_weight(torch.zeros(3, 32), QuantSpec(4), "bfloat16")
    assert not codes.any()
    assert (scales > 0).all()


def test_convolution_rows_are_output_channels():
    weight = torch.randn(8, 4, 5) * torch.arange(1, 9).reshape(8, 1, 1)
    codes, scales = round_weight(weight, QuantSpec(8, "int", None, "int8-static"), "float32")
    assert codes.shape == weight.shape
    assert scales.shape == (8, 1)


def test_group_that_does_not_divide_the_row_is_refused():
    with pytest.raises(UserError, match="groups of 32 don't divide 40"):
        round_weight(torch.randn(2, 40), QuantSpec(4, "int", 32), "float32")


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_activation_grid_holds_its_range_and_zero(a, b):
    low, high = min(a, b), max(a, b)
    grid = activation_range(low, high)
    smallest = (-128 - grid.zero_point) * grid.scale
    largest = (127 - grid.zero_point) * grid.scale
    assert -128 <= grid.zero_point <= 127
    assert smallest <= min(low, 0) + grid.scale
    assert largest >= max(high, 0) - grid.scale


def test_codes_file_reads_back_bit_for_bit(tmp_path):
    weight = torch.randn(8, 64)
    spec = QuantSpec(4, "int", 32, "int8-dynamic")
    static = QuantSpec(8, "int", None, "int8-static")
    layers = {
        "a": LayerCodes(spec, *round_weight(weight, spec, "bfloat16")),
        "b": LayerCodes(FLOAT32),
        "c": LayerCodes(
            static,
            *round_weight(weight, static, "float32"),
            ActivationRange(0.1, -3),
            ActivationRange(1 / 3, 7),
        ),
    }
    save_codes(layers, "plan", tmp_path / "codes.safetensors")
    read, plan_hash = load_codes(tmp_path / "codes.safetensors")
    assert plan_hash == "plan"
    assert read.keys() == layers.keys()
    for name, layer in layers.items():
        assert read[name].spec == layer.spec
        assert read[name].input_range == layer.input_range
        assert read[name].output_range == layer.output_range
        if layer.codes is not None:
            assert torch.equal(read[name].codes, layer.codes)
            assert torch.equal(read[name].scales, layer.scales)


def test_truncated_codes_file_is_named(tmp_path):
    path = tmp_path / "codes.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(UserError, match=r"codes\.safetensors"):
        load_codes(path)
