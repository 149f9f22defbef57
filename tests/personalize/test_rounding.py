"""Codes stay in range, scales are storable, and the search is never worse than plain rounding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import FLOAT32, LayerProfile, LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import (
    ActivationRange,
    LayerCodes,
    activation_range,
    grid,
    load_codes,
    save_codes,
)
from myqasr.personalize.rounding.kernels import quantize_per_row
from myqasr.personalize.rounding.layers import SCALES, code_limits, round_layer, round_weight
from myqasr.personalize.rounding.observe import by_difference
from myqasr.personalize.rounding.ranges import RANGES


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
    low, high = code_limits(spec)
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


BLOCKED = [QuantSpec.from_label(label) for label in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")]
K_QUANTS = [QuantSpec.from_label(label) for label in ("q4_K", "q5_K", "q6_K")]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    spec=st.sampled_from(BLOCKED),
    magnitude=st.floats(1e-4, 1e3),
    shift=st.floats(-3, 3),
)
def test_ggmls_blocks_are_storable_and_lose_no_more_than_its_own_rounding(
    seed, spec, magnitude, shift
):
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(6, 64, generator=generator) + shift) * magnitude
    weight[0, :32] = 0
    codes, scales = round_weight(weight, spec, "float16")
    low, high = code_limits(spec)
    assert low <= int(codes.min()) and int(codes.max()) <= high
    assert codes.dtype == (torch.uint8 if spec.scheme == "q1" else torch.int8)
    assert scales.shape == ((6, 2, 2) if spec.scheme == "q1" else (6, 2))
    assert torch.equal(scales.half().float(), scales)
    plain = round_weight(weight, spec, "float16", SCALES["max"])

    def error(pair):
        rounded = LayerCodes(spec, *pair).dequantized(weight)
        assert rounded[0, :32].abs().max() < 1e-6
        return float((rounded - weight).square().sum())

    assert error((codes, scales)) <= error(plain) * 1.0001


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    spec=st.sampled_from(K_QUANTS),
    magnitude=st.floats(0.03, 1e3),  # below, float16 has few steps for scales of scales
    shift=st.floats(-3, 3),
)
def test_k_quants_are_storable_and_lose_about_what_their_bits_say(seed, spec, magnitude, shift):
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(4, 512, generator=generator) + shift) * magnitude
    weight[0, :256] = 0
    weight[1, 32:64] *= 1e-4  # a block that is small beside the others
    codes, scales = round_weight(weight, spec, "float16")
    low, high = code_limits(spec)
    assert low <= int(codes.min()) and int(codes.max()) <= high
    steps = 1 if spec.bits == 6 else 2
    whole, most = scales[..., steps:], 127 if spec.bits == 6 else 63
    assert torch.equal(scales[..., :steps].half().float(), scales[..., :steps])
    assert torch.equal(whole, whole.round()) and whole.abs().max() <= most
    assert (grid(spec, scales)[0] != 0).all()  # what codes are divided by
    rounded = LayerCodes(spec, codes, scales).dequantized(weight)
    span = weight.unflatten(1, (-1, 256)).abs().amax(2, keepdim=True)
    error = (rounded - weight).unflatten(1, (-1, 256)).abs()
    assert (error <= span * 2.0 ** (1 - spec.bits) + 1e-5).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_furthest_weight_of_a_block_lies_on_its_lowest_code_with_either_sign(sign):
    weight = torch.linspace(-0.4, 0.4, 32)[None].clone()
    weight[0, 5] = sign
    codes, scales = round_weight(weight, BLOCKED[0], "float16", SCALES["max"])
    assert codes[0, 5] == -8 and scales[0, 0] == -sign / 8


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


@pytest.mark.parametrize("name", SCALES)
def test_a_scale_search_is_never_worse_by_its_own_measure_than_no_search(name):
    torch.manual_seed(0)
    weight, importance = torch.randn(16, 96), torch.rand(96) ** 4
    search, spec = SCALES[name], QuantSpec(4, "int", 32)

    def error(by: str) -> torch.Tensor:
        codes, scales = round_weight(weight, spec, "float32", SCALES[by], importance)
        rounded = LayerCodes(spec, codes, scales).dequantized(weight).reshape(-1, 32)
        weights = importance.expand_as(weight).reshape(-1, 32) if search.by_inputs else None
        return search.error(weight.reshape(-1, 32), rounded, weights)

    assert (error(name) <= error("max") + 1e-6).all()
    assert error(name).sum() <= error("mse").sum() * 1.001 or name == "max"


def test_scales_by_inputs_spend_their_steps_where_the_input_is():
    torch.manual_seed(0)
    weight = torch.randn(32, 64)
    importance = torch.zeros(64)
    importance[:8] = 1.0
    weight[:, 8:] *= 20  # large weights that nothing ever reaches

    def error(name: str) -> float:
        codes, scales = round_weight(weight, QuantSpec(4), "float32", SCALES[name], importance)
        rounded = LayerCodes(QuantSpec(4), codes, scales).dequantized(weight)
        return float((rounded - weight)[:, :8].square().sum())

    assert error("hessian") < 0.8 * error("mse-fine")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100), st.sampled_from(sorted(RANGES)))
def test_a_chosen_range_lies_in_what_was_seen_and_clipping_only_pays(seed, spread, name):
    values = torch.randn(2000, generator=torch.Generator().manual_seed(seed)) ** 3 * spread
    low, high = float(values.min()), float(values.max())
    found = RANGES[name](values, low, high)
    assert low <= found[0] <= found[1] <= high

    def error(ends: tuple[float, float]) -> float:
        grid = activation_range(*ends)
        seen = torch.fake_quantize_per_tensor_affine(values, grid.scale, grid.zero_point, -128, 127)
        return float((seen - values).square().mean())

    if name == "mse":
        assert error(found) <= error((low, high)) * 1.0001


def test_frames_that_are_held_count_less_than_those_that_change():
    rows = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [3.0, 4.5]])
    weights = by_difference(rows)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[2] / weights[4] == pytest.approx(10.0)
    assert weights[1] == 0
    assert by_difference(torch.ones(1, 3)).tolist() == [[1.0]]
    assert torch.isfinite(by_difference(torch.ones(4, 3))).all()


@pytest.mark.parametrize("magnitude", [0.0, 1e-45, 1e-40, 1e-37, 5e-37, 1e-30, 1.0, 1e30])
def test_rows_of_any_magnitude_stay_finite_and_next_to_silent_ones_become_zeros(magnitude):
    x = magnitude * torch.tensor([[-1.0, 0.25, 1.0], [0.5, 0.5, 0.5]])
    rounded = quantize_per_row(x)
    assert torch.isfinite(rounded).all()
    assert (rounded - x).abs().max() <= max(magnitude / 100, 1e-35)


@pytest.mark.parametrize("label", ["int2", "int4", "int4-g4", "int8", "lut2", "lut4"])
@pytest.mark.parametrize("scale_dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("magnitude", [0.0, 1e-45, 1e-37, 1.0])
def test_weights_of_any_magnitude_are_rounded_to_finite_ones(label, scale_dtype, magnitude):
    weight = magnitude * torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    weight[1] = 0.0
    shape = LayerShape("l", "linear", (4, 8), False)
    spec = QuantSpec.from_label(label)
    layer = round_layer(weight, LayerProfile(shape, "l", {}), spec, scale_dtype)
    assert torch.isfinite(layer.dequantized(weight)).all()
    if spec.scheme == "int":
        assert (layer.dequantized(weight)[1] == 0).all()
