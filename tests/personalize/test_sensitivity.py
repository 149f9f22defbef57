"""The one-pass costs say what brute force says: which precision of which layer moves the posteriors."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from myqasr.core.errors import UserError
from myqasr.personalize.measuring.brute_force import divergence_of
from myqasr.personalize.measuring.sensitivity import ProfileOptions, measure
from myqasr.personalize.planning.plan import FLOAT32, LayerShape, QuantSpec
from myqasr.personalize.rounding.reference import build_reference
from myqasr.speech.models import load_model
from tests.material.model_folders import save_model
from tests.material.tiny_models import tiny_ctc

SPECS = (
    QuantSpec(2, "int", None, "int8-dynamic"),
    QuantSpec(3, "int", None, "int8-dynamic"),
    QuantSpec(4, "int", None, "int8-dynamic"),
    QuantSpec(8, "int", None, "int8-dynamic"),
)


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    if shape.kind == "conv1d":
        return (QuantSpec(8, "int", None, "int8-static"), FLOAT32)
    return (*SPECS, QuantSpec(16, "float"), FLOAT32)


def float32_scales(spec: QuantSpec) -> str:
    return "float32"


def speech_like(seed: int, samples: int = 24_000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    tones = sum(np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) for f in rng.uniform(80, 3000, 8))
    envelope = np.abs(np.sin(2 * np.pi * rng.uniform(1, 4) * time))
    return (tones * envelope + 0.05 * rng.standard_normal(samples)).astype(np.float32)


def sharpened(seed: int = 0):
    """Random weights give nearly flat posteriors; a steeper head makes frames differ as in speech."""
    model = tiny_ctc(seed)
    with torch.no_grad():
        model.layers()["lm_head"].weight.mul_(30)
    return model


def kl_per_frame(model, reference, waveforms) -> float:
    total, frames = 0.0, 0
    for waveform in waveforms:
        p = torch.from_numpy(model.logits(waveform)).double().log_softmax(-1)
        q = torch.from_numpy(reference.logits(waveform)).double().log_softmax(-1)
        total += float((p.exp() * (p - q)).sum())
        frames += len(p)
    return total / frames


@pytest.mark.parametrize("rounding", ["gptq", "nearest"])
def test_costs_agree_with_brute_force_divergence(rounding):
    model = sharpened()
    waveforms = [speech_like(seed) for seed in range(6)]
    options = ProfileOptions(label_draws=48, rounding=rounding)
    measured = measure(model, waveforms, menu, float32_scales, "audio", options)
    estimated, true = [], []
    for layer in measured.profile.layers:
        for label, cost in layer.costs.items():
            codes = measured.rounding.codes(layer, QuantSpec.from_label(label))
            reference = build_reference(model, {layer.shape.name: codes})
            estimated.append(cost)
            true.append(kl_per_frame(model, reference, waveforms))
    correlation = spearmanr(estimated, true).statistic
    assert correlation > 0.9
    ratio = np.array(estimated) / np.maximum(true, 1e-15)
    assert 0.4 < np.median(ratio) < 2.5  # nats, not arbitrary units


@pytest.fixture(params=["ctc", "whisper"])
def recogniser(request, tmp_path):
    if request.param == "ctc":
        return sharpened()
    save_model("whisper", tmp_path)
    return load_model(str(tmp_path))


def test_what_the_head_costs_is_what_it_does_not_what_a_few_draws_make_of_it(recogniser):
    model = recogniser
    waveforms = [speech_like(seed, 12_000) for seed in range(2)]
    measured = measure(
        model,
        waveforms,
        menu,
        float32_scales,
        "audio",
        ProfileOptions(rounding="nearest", label_draws=1),
    )
    (head,) = [
        each for each in measured.profile.layers if each.shape.name in ("lm_head", "proj_out")
    ]
    for label, cost in head.costs.items():
        codes = measured.rounding.codes(head, QuantSpec.from_label(label))
        found = [divergence_of(model, each, {head.shape.name: codes}, "cpu") for each in waveforms]
        true = sum(nats for nats, _ in found) / sum(frames for _, frames in found)
        assert cost == pytest.approx(true, rel=1e-3, abs=1e-12), label


def test_same_clips_and_seed_give_the_same_profile():
    waveforms = [speech_like(1)]
    first = measure(sharpened(), waveforms, menu, float32_scales, "audio").profile
    second = measure(sharpened(), waveforms, menu, float32_scales, "audio").profile
    for one, other in zip(first.layers, second.layers, strict=True):
        assert one.shape == other.shape
        assert one.costs == pytest.approx(other.costs, rel=1e-3)
    assert first.frames == 24_000 // 640
    assert first.seconds == 1.5


def test_query_key_and_value_are_known_to_read_the_same_tensor():
    profile = measure(sharpened(), [speech_like(1)], menu, float32_scales, "audio").profile
    groups = {layer.shape.name: layer.share_group for layer in profile.layers}
    attention = "wav2vec2.encoder.layers.0.attention."
    shared = {groups[attention + name] for name in ("q_proj", "k_proj", "v_proj")}
    assert len(shared) == 1
    assert groups["lm_head"] == "lm_head"


def test_fewer_bits_never_look_cheaper():
    clips = [speech_like(seed) for seed in range(3)]
    for layer in measure(sharpened(), clips, menu, float32_scales, "a").profile.layers:
        if layer.shape.kind == "linear":
            assert layer.costs["int2-a8d"] > layer.costs["int8-a8d"] > layer.costs["fp16"]


def test_measuring_leaves_the_model_as_it_was():
    model = sharpened()
    before = model.weights_hash()
    measure(model, [speech_like(1)], menu, float32_scales, "audio")
    assert model.weights_hash() == before
    assert all(not module._forward_hooks for module in model.layers().values())


def test_no_clips_is_an_error_not_an_empty_profile():
    with pytest.raises(UserError, match="no clips"):
        measure(sharpened(), [], menu, float32_scales, "audio")


def test_reference_refuses_layers_the_model_does_not_have():
    model = sharpened()
    measured = measure(model, [speech_like(1)], menu, float32_scales, "audio")
    codes = measured.rounding.codes(measured.profile.layers[-1], SPECS[0])
    with pytest.raises(UserError, match="no layer nonsense"):
        build_reference(model, {"nonsense": codes})
