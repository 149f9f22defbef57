"""Palettes are as good as promised, fit float16 and their number of entries, whatever the weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import LayerProfile, LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes, Rounding, load_rounding, save_rounding
from myqasr.personalize.rounding.gptq import inverse_root, made_up_indices
from myqasr.personalize.rounding.layers import nearest_palette, round_layer, round_palettes
from myqasr.personalize.rounding.palettes import nearest_indices, palettes


def weighted_error(
    values: torch.Tensor, importance: torch.Tensor, tables: torch.Tensor
) -> torch.Tensor:
    """Of each row, its weights at their nearest entries, in float64."""
    found = tables.gather(1, nearest_indices(values, tables).long())
    return ((found - values).double().square() * importance.double()).sum(1)


def drawn(seed: int, rows: int, count: int, shape: str, magnitude: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, count, generator=generator)
    if shape == "heavy":
        values = values**3
    if shape == "two-sided":
        values = values.sign() + 0.01 * values
    return values * magnitude


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bits=st.sampled_from([1, 2, 3, 4, 6]),
    shape=st.sampled_from(["normal", "heavy", "two-sided"]),
    magnitude=st.floats(1e-3, 1e2),
    even=st.booleans(),
)
def test_a_palette_is_never_worse_than_a_uniform_grid_of_as_many_entries(
    seed, bits, shape, magnitude, even
):
    # The weights are what float16 holds, which is what is compared: palettes are found among those.
    values = drawn(seed, 3, 200, shape, magnitude).half().float()
    generator = torch.Generator().manual_seed(seed + 1)
    importance = torch.ones(3, 200) if even else torch.rand(3, 200, generator=generator) ** 4
    tables = palettes(values, importance, bits)
    low, high = values.amin(1, keepdim=True).double(), values.amax(1, keepdim=True).double()
    steps = (torch.arange(2**bits, dtype=torch.float64) + 0.5) / 2**bits
    uniform = (low + (high - low) * steps).float().half().float()
    ours = weighted_error(values, importance, tables)
    theirs = weighted_error(values, importance, uniform)
    assert (ours <= theirs * (1 + 1e-4) + 1e-12 * magnitude**2).all()
    assert torch.equal(tables, tables.half().float())
    assert (tables.diff(dim=1) >= 0).all()
    assert torch.equal(tables, palettes(values, importance, bits))


@settings(max_examples=40, deadline=None)
@given(
    distinct=st.lists(st.integers(-50, 50), min_size=1, max_size=8, unique=True),
    bits=st.sampled_from([3, 4, 6, 8]),
    count=st.integers(1, 40),
)
def test_a_layer_with_fewer_values_than_entries_is_stored_without_loss(distinct, bits, count):
    chosen = torch.tensor([distinct[index % len(distinct)] for index in range(count)])
    values = chosen.float()[None] / 64  # exact in float16
    tables = palettes(values, torch.ones_like(values), bits)
    assert torch.isfinite(tables).all()
    assert torch.equal(tables.gather(1, nearest_indices(values, tables).long()), values)


def test_weights_that_matter_get_the_entries():
    values = torch.cat((torch.linspace(0, 1, 500), torch.linspace(2, 3, 500)))[None]
    importance = torch.cat((torch.full((500,), 100.0), torch.full((500,), 0.01)))[None]
    tables = palettes(values, importance, 3)
    assert (tables < 1.2).sum() >= 6


def test_inputs_that_were_never_heard_do_not_make_a_palette_of_nothing():
    values = torch.randn(2, 64)
    tables = palettes(values, torch.zeros(2, 64), 2)
    assert torch.isfinite(tables).all()
    assert (tables.diff(dim=1) > 0).all()


@pytest.mark.parametrize("group", [None, 16])
def test_groups_of_channels_have_palettes_of_their_own(group):
    weight = torch.randn(64, 8, 3) * torch.arange(1, 65)[:, None, None]
    spec = QuantSpec(4, "lut", group)
    layer = LayerProfile(LayerShape("l", "conv1d", (64, 8, 3), True), "l", {})
    codes = round_layer(weight, layer, spec, "float16")
    assert codes.codes.shape == weight.shape
    assert codes.codes.dtype == torch.uint8
    assert codes.scales.shape == (1 if group is None else 4, 16)
    rows = codes.dequantized(weight)[:16].reshape(-1)
    assert set(rows.tolist()) <= set(codes.scales[0].tolist())


def test_smaller_groups_and_more_bits_lose_less():
    weight = torch.randn(64, 96) * torch.arange(1, 65)[:, None]

    def error(bits: int, group: int | None) -> float:
        tables = round_palettes(weight, group, None)(bits)
        codes = LayerCodes(QuantSpec(bits, "lut", group), nearest_palette(weight, tables), tables)
        return float((codes.dequantized(weight) - weight).square().sum())

    assert error(8, None) < error(6, None) < error(4, 16) < error(4, None) < error(1, None)


def test_palettes_for_channels_that_do_not_divide_the_layer_are_refused():
    with pytest.raises(UserError, match="16 channels don't divide 40"):
        round_palettes(torch.randn(40, 8), 16, None)


def test_indices_that_make_up_for_each_other_lose_less_of_the_output():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(32, 32, generator=generator)
    inputs = torch.randn(400, 32, generator=generator) @ mixing
    weight = torch.randn(48, 32, generator=generator)
    moments = inputs.T @ inputs
    for group in (None, 16):
        tables = round_palettes(weight, group, moments.diagonal())(2)
        spec = QuantSpec(2, "lut", group)
        made_up = made_up_indices(weight, tables, inverse_root(moments))
        plain = nearest_palette(weight, tables)
        errors = [
            float(
                (inputs @ (LayerCodes(spec, c, tables).dequantized(weight) - weight).T)
                .square()
                .sum()
            )
            for c in (made_up, plain)
        ]
        assert errors[0] < 0.8 * errors[1]
        assert made_up.max() <= 3


def test_palettes_come_back_from_the_run_folder_bit_for_bit(tmp_path):
    weight = torch.randn(32, 24)
    found = {}
    for label in ("lut1", "lut3-g16", "lut6", "lut8", "int4"):
        spec = QuantSpec.from_label(label)
        layer = LayerProfile(LayerShape("l", "linear", (32, 24), True), "l", {})
        codes = round_layer(weight, layer, spec, "float16")
        found[label] = (codes.codes, codes.scales)
    save_rounding(Rounding({"l": found}), "key", tmp_path / "rounding.safetensors")
    back = load_rounding(tmp_path / "rounding.safetensors", "key").layers["l"]
    for label, (codes, scales) in found.items():
        assert torch.equal(back[label][0], codes)
        assert back[label][0].dtype == codes.dtype
        assert torch.equal(back[label][1], scales)


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-7, 1e3), st.integers(1, 127))
def test_a_scale_for_both_containers_is_exact_in_both(peak, steps):
    from myqasr.personalize.rounding.layers import stored_scale

    stored = stored_scale(torch.tensor([peak / steps], dtype=torch.float32), "bfloat16+float16")
    assert torch.equal(stored, stored.half().float())
    assert torch.equal(stored, stored.bfloat16().float())
    assert float(stored) > 0
