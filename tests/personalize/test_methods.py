"""Every sensitivity method measures what it says, and only what can be added up is added up."""

import math

import numpy as np
import pytest
import torch

from myqasr.core.errors import UserError
from myqasr.exporters.executorch import xnnpack
from myqasr.personalize.measuring.brute_force import costs_around, divergence_of
from myqasr.personalize.measuring.layer_figures import FIGURES, Seen, cosine, spectral
from myqasr.personalize.measuring.method import Setting, divergence
from myqasr.personalize.measuring.sensitivity import METHODS, ProfileOptions, measure, measure_again
from myqasr.personalize.planning.plan import FLOAT32, NO_RULES, PlanRules, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.reference import build_reference
from tests.personalize.test_sensitivity import (
    float32_scales,
    kl_per_frame,
    menu,
    sharpened,
    speech_like,
)

CLIPS = [speech_like(seed) for seed in range(2)]


@pytest.fixture(scope="module")
def model():
    return sharpened()


@pytest.fixture(scope="module")
def fisher(model):
    return measure(model, CLIPS, menu, float32_scales, "audio", ProfileOptions(rounding="nearest"))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_every_precision_of_every_layer_a_cost(name, model, fisher):
    options = ProfileOptions(method=name, label_draws=2)
    profile = measure_again(model, CLIPS, menu, fisher, options).profile
    assert profile.method == name
    for layer, known in zip(profile.layers, fisher.profile.layers, strict=True):
        assert set(layer.costs) == set(known.costs)
        assert all(math.isfinite(cost) and cost >= 0 for cost in layer.costs.values())
        if len(layer.costs) > 1:
            assert (len({*layer.costs.values()}) == 1) == METHODS[name].ranks_only
    assert model.weights_hash() == fisher.profile.weights_hash
    assert all(not module._forward_hooks for module in model.layers().values())
    assert all("forward" not in vars(module) for module in model.layers().values())


def test_kl_is_the_divergence_that_replacing_the_layer_makes(model, fisher):
    profile = measure_again(model, CLIPS, menu, fisher, ProfileOptions(method="kl")).profile
    for layer in profile.layers[::5]:
        for label, cost in layer.costs.items():
            codes = fisher.rounding.codes(layer, QuantSpec.from_label(label))
            reference = build_reference(model, {layer.shape.name: codes})
            true = kl_per_frame(model, reference, CLIPS)
            assert cost == pytest.approx(true, rel=1e-3, abs=1e-9)


def test_costs_around_a_plan_are_those_of_the_plan_with_one_layer_changed(model, fisher):
    planned = {
        layer.shape.name: fisher.rounding.codes(layer, QuantSpec.from_label("int4-a8d"))
        for layer in fisher.profile.layers
        if layer.shape.kind == "linear"
    }
    name = "wav2vec2.encoder.layers.1.attention.k_proj"
    layer = next(each for each in fisher.profile.layers if each.shape.name == name)
    wide = fisher.rounding.codes(layer, QuantSpec.from_label("int8-a8d"))
    setting = Setting(model, {name: [wide]}, 1, "cpu")
    found = costs_around(setting, CLIPS[0], planned)
    for codes in (wide, LayerCodes(FLOAT32)):
        reference = build_reference(model, {**planned, name: codes})
        true = kl_per_frame(model, reference, CLIPS[:1]) * found.frames
        assert found.costs[name][codes.spec.label] == pytest.approx(true, rel=1e-3)
    total, frames = divergence_of(model, CLIPS[0], planned, "cpu")
    assert frames == found.frames
    assert total / frames == pytest.approx(
        kl_per_frame(model, build_reference(model, planned), CLIPS[:1]), rel=1e-3
    )


@pytest.mark.parametrize("name", [n for n, figure in FIGURES.items() if not figure.ranks_only])
def test_a_distance_is_none_for_the_same_output_and_grows_with_the_change(name):
    torch.manual_seed(0)
    output, noise = torch.randn(40, 8), torch.randn(40, 8)
    values = [
        FIGURES[name].of(Seen(output, output + size * noise, output)) for size in (0.0, 0.1, 1.0)
    ]
    assert values[0] == pytest.approx(0, abs=1e-7)
    assert values[0] < values[1] < values[2]


def test_figures_are_those_of_textbooks():
    torch.manual_seed(1)
    output, changed = torch.randn(30, 6), torch.randn(30, 6)
    seen = Seen(output, changed, output)
    values = np.linalg.svd((changed - output).numpy(), compute_uv=False)
    assert spectral(seen) == pytest.approx(values[0], rel=0.02)
    flat, other = output.flatten().numpy(), changed.flatten().numpy()
    expected = 1 - flat @ other / np.linalg.norm(flat) / np.linalg.norm(other)
    assert cosine(seen) == pytest.approx(expected, rel=1e-5)
    assert FIGURES["median"].of(seen) == pytest.approx(np.sort(flat)[89], rel=1e-6)
    normal, square = torch.randn(5000, 1), torch.rand(5000, 1)
    of = FIGURES["normality"].of
    assert of(Seen(normal, normal, normal)) < of(Seen(square, square, square))
    assert of(Seen(torch.ones(50, 2), torch.ones(50, 2), torch.ones(50, 2))) == 0


def test_impossible_tokens_do_not_make_a_divergence_infinite():
    p = torch.tensor([[0.5, 0.5, 0.0]]).log()
    q = torch.tensor([[0.25, 0.75, 0.0]]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert divergence(p, q) == pytest.approx(expected)


def test_a_ranking_is_not_taken_for_costs(model, fisher):
    from myqasr.personalize.profiling import plan_for, size_limits

    options = ProfileOptions(method="median", rounding="nearest")
    ranking = measure(model, CLIPS, xnnpack.menu, xnnpack.scale_dtype, "audio", options).profile
    _, floats = size_limits(ranking, xnnpack.TARGET.offer, 1_000)
    plan = plan_for(ranking, xnnpack.TARGET, floats // 2, 1_000, NO_RULES)
    assert plan.method == "sweep by median"
    with pytest.raises(UserError, match="--allocation sweep"):
        plan_for(ranking, xnnpack.TARGET, floats // 2, 1_000, PlanRules(allocation="exact"))


def test_scales_by_inputs_are_refused_where_inputs_are_not_asked_for():
    with pytest.raises(UserError, match=r"hessian scales need .* nearest .* use --rounding gptq"):
        ProfileOptions(rounding="nearest", scales="hessian")


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"unknown sensitivity 'hessian'; known: fisher, kl, l1"):
        ProfileOptions(method="hessian")
