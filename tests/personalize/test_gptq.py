"""Codes that make up for each other's errors: better on what the layer hears, never out of range."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.exporters.target import measured_together
from myqasr.personalize.measuring.sensitivity import ProfileOptions, measure
from myqasr.personalize.planning.plan import LayerProfile, LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import (
    LayerCodes,
    Rounding,
    grid,
    load_rounding,
    packed,
    save_rounding,
    unpacked,
)
from myqasr.personalize.rounding.gptq import (
    Grid,
    codes_on_grids,
    inverse_root,
    made_up_codes,
)
from myqasr.personalize.rounding.layers import code_limits, round_weight
from myqasr.personalize.rounding.reference import build_reference
from myqasr.speech.audio import load_audio
from myqasr.speech.models import load_model
from tests.conftest import USERS

INT4 = QuantSpec(4)


def heard(seed: int, columns: int = 96) -> torch.Tensor:
    """Inputs [positions, columns] that are correlated, as those of layers are."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(400, 12, generator=generator)
    mixed = hidden @ torch.randn(12, columns, generator=generator)
    return mixed + 0.3 * torch.randn(400, columns, generator=generator)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bits=st.integers(2, 8),
    group=st.sampled_from([None, 32]),
)
def test_outputs_are_closer_to_the_float_layer_than_by_rounding_to_nearest(seed, bits, group):
    inputs = heard(seed)
    weight = torch.randn(8, 96, generator=torch.Generator().manual_seed(seed + 1))
    spec = QuantSpec(bits, "int", group)
    limits = code_limits(spec)
    nearest, scales = round_weight(weight, spec, "float32")
    codes = made_up_codes(weight, scales, limits, inverse_root(inputs.T @ inputs))
    assert codes.dtype == torch.int8
    assert limits[0] <= codes.min() <= codes.max() <= limits[1]

    def output_error(chosen: torch.Tensor) -> float:
        grouped = chosen.reshape(8, scales.shape[1], -1) * scales[:, :, None]
        return float((inputs @ (grouped.reshape(8, -1) - weight).T).square().sum())

    assert output_error(codes) < output_error(nearest)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    label=st.sampled_from(["q4_0", "q4_1", "q5_0", "q5_1", "q4_K", "q6_K"]),
)
def test_blocks_with_negative_scales_or_least_values_are_made_up_for_too(seed, label):
    spec = QuantSpec.from_label(label)
    columns = 256 if spec.scheme == "qk" else 96
    inputs = heard(seed, columns)
    weight = torch.randn(8, columns, generator=torch.Generator().manual_seed(seed + 1)) + 0.5
    nearest, scales = round_weight(weight, spec, "float16")
    root = inverse_root(inputs.T @ inputs)
    held, least = grid(spec, scales)
    plain = Grid(torch.full((8, 1), 0.1), (-8, 7))  # another grid beside it changes nothing
    codes, beside = codes_on_grids(weight, [Grid(held, code_limits(spec), least), plain], root)
    assert torch.equal(beside, codes_on_grids(weight, [plain], root)[0])

    def output_error(chosen: torch.Tensor) -> float:
        rounded = LayerCodes(spec, chosen, scales).dequantized(weight)
        return float((inputs @ (rounded - weight).T).square().sum())

    assert output_error(codes) < output_error(nearest)


def test_with_inputs_that_have_nothing_in_common_it_is_rounding_to_nearest():
    weight = torch.randn(16, 200, generator=torch.Generator().manual_seed(0))
    nearest, scales = round_weight(weight, INT4, "float32")
    for moments in (torch.eye(200) * 3, torch.zeros(200, 200)):
        codes = made_up_codes(weight, scales, code_limits(QuantSpec(4)), inverse_root(moments))
        assert torch.equal(codes, nearest)


def test_the_root_is_that_of_the_inverse_of_the_damped_moments():
    inputs = heard(0).double()
    moments = inputs.T @ inputs
    root = inverse_root(moments).double()
    assert torch.equal(root, root.triu())
    damped = moments + 0.1 * moments.diagonal().mean() * torch.eye(96)
    torch.testing.assert_close(
        root.T @ root @ damped, torch.eye(96, dtype=torch.float64), rtol=0, atol=1e-4
    )


def test_moments_that_are_not_finite_are_refused_instead_of_giving_codes_of_nothing():
    with pytest.raises(UserError, match="not finite"):
        inverse_root(torch.full((4, 4), torch.nan))


@given(st.lists(st.integers(-8, 7), min_size=2, max_size=40).filter(lambda c: len(c) % 2 == 0))
def test_two_codes_in_a_byte_are_the_same_two_codes(codes):
    tensor = torch.tensor(codes, dtype=torch.int8)
    assert torch.equal(unpacked(packed(tensor)), tensor)


def test_codes_are_kept_for_later_plans_and_those_of_others_are_refused(tmp_path):
    odd = torch.tensor([[-8, 7, 1]], dtype=torch.int8)
    wide = torch.tensor([[-127, 127, 1, 0]], dtype=torch.int8)
    kept = Rounding(
        {"a": {"int4": (odd, torch.ones(1, 1))}, "b.c": {"int8": (wide, torch.ones(1, 1))}}
    )
    path = tmp_path / "rounding.safetensors"
    save_rounding(kept, "alice", path)
    found = load_rounding(path, "alice")
    shape = LayerProfile(LayerShape("b.c", "linear", (1, 4), False), "b.c", {})
    assert torch.equal(found.layers["a"]["int4"][0], odd)
    assert torch.equal(found.codes(shape, QuantSpec(8, "int", None, "int8-dynamic")).codes, wide)
    with pytest.raises(UserError, match="belongs to other recordings"):
        load_rounding(path, "bob")
    with pytest.raises(UserError, match=r"no codes at int4-g32.*personalize"):
        found.codes(shape, QuantSpec(4, "int", 32))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="can't be read"):
        load_rounding(path, "alice")


def clips_of(user: str, split: str, count: int) -> list[np.ndarray]:
    return [load_audio(path) for path in sorted((USERS / user / split).glob("*.ogg"))[:count]]


def divergence_at_4_bits(rounding: str, tune: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Of the embedded model from itself in float, on clips of synth-gwen that it wasn't fitted on."""
    model = load_model("default")
    test = clips_of("synth-gwen", "test", 6)
    options = ProfileOptions(label_draws=1, rounding=rounding)
    measured = measure(
        model,
        tune,
        measured_together().menu,
        measured_together().scale_dtype,
        "clips",
        options,
        others=others,
    )
    spec = QuantSpec(4, "int", None, "int8-dynamic")
    codes = {
        layer.shape.name: measured.rounding.codes(layer, spec)
        for layer in measured.profile.layers
        if spec.label in layer.costs
    }
    reference = build_reference(model, codes)
    found = []
    for clip in test:
        p = torch.from_numpy(model.logits(clip)).log_softmax(-1)
        q = torch.from_numpy(reference.logits(clip)).log_softmax(-1)
        found.append(float((p.exp() * (p - q)).sum(1).mean()))
    return float(np.mean(found))


def test_on_clips_it_never_heard_a_4_bit_model_stays_closer_to_float_than_by_nearest():
    tune = clips_of("synth-gwen", "tune", 8)
    made_up = divergence_at_4_bits("gptq", tune, [])
    assert made_up < 0.7 * divergence_at_4_bits("nearest", tune, [])


def test_other_speakers_clips_make_up_for_having_only_one_of_this_one():
    users = ("synth-ada", "synth-bea", "synth-cleo", "synth-hal")
    others = [clip for user in users for clip in clips_of(user, "tune", 4)]
    alone = together = 0.0  # one speaker's clip may be lucky
    for user in ("synth-gwen", "synth-finn"):
        tune = clips_of(user, "tune", 1)
        alone += divergence_at_4_bits("gptq", tune, [])
        together += divergence_at_4_bits("gptq", tune, others)
    assert together < 0.95 * alone
