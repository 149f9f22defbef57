"""Costs that hold for what is said next: of codes that never heard the clip, and whole plans tried."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from myqasr.exporters.target import measured_together
from myqasr.personalize.measuring import fisher
from myqasr.personalize.measuring.checks import cheapest
from myqasr.personalize.measuring.keeping import Keeping
from myqasr.personalize.measuring.method import Setting
from myqasr.personalize.measuring.sensitivity import ProfileOptions, measure
from myqasr.personalize.planning.expectation import expectation
from myqasr.personalize.planning.plan import FLOAT32, Check, LayerProfile, LayerShape, Profile
from myqasr.personalize.rounding.gptq import inverse_root
from myqasr.personalize.rounding.layers import round_model
from myqasr.personalize.rounding.observe import equal_weights, observe
from tests.material.tiny_models import noise, tiny_ctc

GROUP = measured_together("xnnpack")
OPTIONS = ProfileOptions(label_draws=8, ranges="min-max")


@pytest.fixture(scope="module")
def measured():
    model, keeping = tiny_ctc(0), Keeping()
    clips = [0.1 * noise(samples)[0].numpy() for samples in (8_000, 12_000, 6_000)]
    found = measure(model, clips, GROUP.menu, GROUP.scale_dtype, "clips", OPTIONS, keeping=keeping)
    return model, clips, keeping, found


def test_a_clip_says_the_costs_of_codes_made_for_other_clips(measured):
    model, clips, keeping, found = measured
    assert found.profile.unheard
    observed = observe(model, [clips[1]], "cpu", lambda: None, equal_weights)
    rounding = round_model(model, observed, GROUP.menu, GROUP.scale_dtype)
    candidates = {}
    for name, layer in observed.items():
        of = LayerProfile(layer.shape, layer.share_group, {}, layer.statistics)
        specs = [spec for spec in GROUP.menu(layer.shape) if spec != FLOAT32]
        candidates[name] = [rounding.codes(of, spec) for spec in specs]
    draws = math.ceil(OPTIONS.label_draws / len(clips))
    for index in (0, 2):
        setting = Setting(model, candidates, draws, "cpu")
        expected = fisher.clip_costs(setting, clips[index], index)
        for name, costs in expected.costs.items():
            for label, cost in costs.items():
                assert keeping.clips[index].costs[name][label] == pytest.approx(cost, rel=1e-4)


def test_the_codes_that_ship_are_made_for_all_clips(measured):
    model, clips, _, found = measured
    observed = observe(model, clips, "cpu", lambda: None, equal_weights)
    rounding = round_model(model, observed, GROUP.menu, GROUP.scale_dtype)
    for name, precisions in rounding.layers.items():
        for label, (codes, scales) in precisions.items():
            ours = found.rounding.layers[name][label]
            assert (ours[0] == codes).float().mean() > 0.999  # sums in another order
            assert torch.equal(ours[1], scales)


def test_one_clip_alone_says_what_it_can():
    clip = 0.1 * noise(8_000)[0].numpy()
    found = measure(tiny_ctc(0), [clip], GROUP.menu, GROUP.scale_dtype, "clip", OPTIONS)
    assert not found.profile.unheard
    assert found.profile.checks == ()


def test_plans_tried_whole_go_from_the_coarsest_to_finer_ones(measured):
    *_, found = measured
    checks = found.profile.checks
    assert len(checks) >= 2
    assert [check.expected for check in checks] == sorted(check.expected for check in checks)
    assert checks[0].measured < checks[-1].measured
    assert all(check.measured > 0 and check.error > 0 for check in checks)


@given(st.integers(0, 2**32 - 1), st.floats(3.0, 9.0))
def test_no_plan_of_a_single_layer_change_is_cheaper_at_the_bits_of_the_one_that_is_tried(
    seed, mean_bits
):
    rng = np.random.default_rng(seed)
    layers = [
        LayerProfile(
            LayerShape(f"{index}", "linear", (4, int(rng.integers(1, 9))), True),
            f"{index}",
            {
                label: float(cost)
                for label, cost in zip(
                    ("int4", "int8", "fp16"), sorted(rng.random(3))[::-1], strict=True
                )
            },
            {},
        )
        for index in range(4)
    ]
    plan = cheapest(layers, mean_bits)
    bits = sum(plan[x.shape.name].bits * math.prod(x.shape.weight_shape) for x in layers)
    cost = sum(x.cost(plan[x.shape.name]) for x in layers)
    weights = sum(math.prod(x.shape.weight_shape) for x in layers)
    assert bits <= max(mean_bits, 4) * weights
    for layer in layers:
        for label, other in layer.costs.items():
            spec = next(s for s in [plan[layer.shape.name]] if s)
            size = math.prod(layer.shape.weight_shape)
            changed = bits + (int(label.lstrip("intfp")) - spec.bits) * size
            if changed <= bits:
                assert cost - layer.cost(spec) + other >= cost - 1e-12


def profile_with(checks):
    return Profile("m", "w", "a", 2, 1.0, 10, "fisher", 0, 4, (), checks=checks)


def test_a_plan_that_was_tried_is_expected_to_cost_what_it_did():
    checks = (Check(0.01, 0.012, 0.001), Check(0.1, 0.3, 0.03))
    for check in checks:
        found = expectation(profile_with(checks), check.expected)
        assert found.nats == pytest.approx(check.measured)
        assert found.low < check.measured < found.high
    between = expectation(profile_with(checks), 0.03)
    assert 0.03 * 1.2 < between.nats < 0.03 * 3
    beyond = expectation(profile_with(checks), 0.001)
    assert beyond.nats == pytest.approx(0.0012)
    assert expectation(profile_with(()), 0.03) is None


def test_few_rows_are_trusted_less():
    torch.manual_seed(0)
    inputs = torch.randn(20, 64) @ torch.randn(64, 64)
    moments = inputs.T @ inputs

    def correlated(root):
        inverse = root.T @ root
        return float((inverse - inverse.diagonal().diag()).norm() / inverse.diagonal().norm())

    assert correlated(inverse_root(moments, 20)) < 0.9 * correlated(inverse_root(moments))
    assert torch.equal(inverse_root(moments, 64), inverse_root(moments))
