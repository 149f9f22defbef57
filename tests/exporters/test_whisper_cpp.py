"""ggml files on whisper.cpp itself: every type, every byte, one type a file, what happens to a wrong one."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from myqasr.core.errors import BudgetError, ModelError, UserError
from myqasr.exporters.audit import compare
from myqasr.exporters.export import check_file, export_options
from myqasr.exporters.ggml import loader
from myqasr.exporters.ggml.probe import small_whisper
from myqasr.exporters.ggml.types import BLOCK_TYPES, BY_SPEC
from myqasr.exporters.ggml.whisper_cpp import HEAD, TABLE_LAYER, TARGET, TRANSFORM, suits
from myqasr.exporters.target import target_for_file
from myqasr.personalize.planning.exact import size_limits, uniform_plan
from myqasr.personalize.planning.plan import LayerProfile, PlanRules, Profile, QuantSpec
from myqasr.personalize.profiling import plan_for
from myqasr.personalize.rounding.blocks import quantize_blocks, quantize_superblocks
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.layers import round_layer
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.speech.decoding import comparable
from tests.material.tiny_models import layer_shapes, noise, tiny_ctc

on_the_runtime = pytest.mark.skipif(
    importlib.util.find_spec("_pywhispercpp") is None, reason="needs the extra whisper-cpp"
)
FLOORS_DB = {"q4_0": 46, "q4_1": 46, "q5_0": 46, "q5_1": 46, "q8_0": 50, "fp16": 60}
"""Least decibels between runtime and reference; without its rounding of inputs they are 44 to 45."""
OF_WIDE_DB = {"q4_K": 40, "q5_K": 40, "q6_K": 40}
"""The same for types that want rows of 256; in so wide a model the others, too, are at 45."""


@pytest.fixture(scope="module")
def model():
    return small_whisper()


def specs_at(model, label):
    """What every layer has in a file of a type."""
    menus = {name: TARGET.menu(shape) for name, shape in layer_shapes(model).items()}
    return {
        name: next((spec for spec in menu if spec.stored.label == label), menu[-1])
        for name, menu in menus.items()
    }


def codes_at(model, specs):
    codes = {}
    for name, module in model.layers().items():
        layer = LayerProfile(layer_shape(name, module), name, {})
        scales = TARGET.scale_dtype(specs[name])
        codes[name] = round_layer(module.weight.detach(), layer, specs[name], scales)
    return codes


def written(model, codes, folder):
    path = folder / TARGET.file_name("small")
    order = TARGET.write(model, codes, path, export_options(model, 1.0))
    return path, order


def opened(model, path):
    how = model.tokens.autoregression
    return open_system(System("file", "whisper-cpp", str(path), autoregression=how), 1)


@on_the_runtime
@pytest.mark.parametrize(("label", "floor_db"), [*FLOORS_DB.items(), *OF_WIDE_DB.items()])
def test_every_type_computes_what_it_promises_and_weighs_what_was_foretold(
    label, floor_db, model, tmp_path
):
    model = small_whisper(256) if label in OF_WIDE_DB else model
    specs = specs_at(model, label)
    assert specs[HEAD].stored.label == label
    codes = codes_at(model, specs)
    path, order = written(model, codes, tmp_path)
    check_file(path, TARGET, codes, order, model)
    shapes = layer_shapes(model)
    layers = sum(TARGET.layer_bytes(shapes[name], spec) for name, spec in specs.items())
    assert path.stat().st_size == layers + TARGET.overhead_bytes(model)
    waveform = 0.1 * noise(16_000)[0].numpy()
    runner = opened(model, path)
    found = runner.logits(model.features(waveform)[0].numpy())
    runner.close()
    expected = build_reference(model, codes).logits(waveform)
    pair = comparable(expected, found, model.tokens.autoregression)
    found_db = signal_to_noise_db(*pair)
    print(f"{label}: {found_db:.1f} dB")
    assert found_db > floor_db


def test_every_type_on_the_menu_is_probed(model):
    for whisper, probed in ((model, {*FLOORS_DB}), (small_whisper(256), {*FLOORS_DB, *OF_WIDE_DB})):
        menu = TARGET.menu(layer_shapes(whisper)[HEAD])
        assert {spec.stored.label for spec in menu} == probed


@on_the_runtime
def test_what_the_menu_takes_for_granted_is_what_this_loader_does():
    assert loader.library.version() == loader.KNOWN_VERSION
    assert loader.probed() == loader.KNOWN


def test_a_loader_that_mixes_opens_the_menu(model, monkeypatch, tmp_path):
    mixed = {**specs_at(model, "q4_0"), "encoder.layers.0.fc1": specs_at(model, "q8_0")[HEAD]}
    codes = codes_at(model, mixed)
    with pytest.raises(UserError, match="one type of matrices, this plan mixes"):
        written(model, codes, tmp_path)
    open_loader = dataclasses.replace(loader.KNOWN, mixes=True)
    monkeypatch.setattr("myqasr.exporters.ggml.whisper_cpp.loader", lambda: open_loader)
    path, order = written(model, codes, tmp_path)
    check_file(path, TARGET, codes, order, model)
    budget = round(0.3 * size_limits(profile_of(model), TARGET.offer, 0)[1])
    plan = plan_for(profile_of(model), TARGET, budget, 0)
    assert len({spec.stored for spec in plan.layers.values() if spec.in_blocks}) > 1


@on_the_runtime
def test_a_file_that_whisper_cpp_refuses_is_named_with_its_reason(model, tmp_path):
    path = tmp_path / "ggml-mixed.bin"
    first, other = BLOCK_TYPES[0].number, BLOCK_TYPES[-1].number
    loader.write_probe(path, first, other)
    with pytest.raises(UserError, match=r"ggml-mixed\.bin: .*has wrong size in model file"):
        opened(model, path)
    loader.write_probe(path, first, first)
    opened(model, path).close()


def profile_of(model):
    """Costs that halve with every bit, whatever the layer."""
    layers = []
    for name, shape in layer_shapes(model).items():
        costs = {s.label: 2.0**-s.bits - (s.scheme == "q1") * 1e-3 for s in TARGET.menu(shape)}
        layers.append(LayerProfile(shape, name, costs))
    return Profile("m", "w", "a", 1, 1.0, 1, "fisher", 0, 4 * 200_000, tuple(layers))


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 1))
def test_the_budget_picks_one_type_for_all_matrices(share):
    model = small_whisper()
    profile, overhead = profile_of(model), TARGET.overhead_bytes(model)
    least, most = size_limits(profile, TARGET.offer, overhead)
    budget = round(least + share * (most - least))
    plan = plan_for(profile, TARGET, budget, overhead)
    assert plan.predicted_bytes <= budget
    names = [name for name, shape in layer_shapes(model).items() if TARGET.alike(shape)]
    (stored,) = {plan.layers[name].stored for name in names}
    sizes = {
        label: overhead
        + sum(
            TARGET.layer_bytes(shape, specs_at(model, label)[name])
            for name, shape in layer_shapes(model).items()
        )
        for label in FLOORS_DB
    }
    fitting = [label for label, size in sizes.items() if size <= budget]
    assert stored.label in fitting and sizes[stored.label] == plan.predicted_bytes
    bits = max(QuantSpec.from_label(label).bits for label in fitting)
    assert stored.bits == bits


def test_rules_bind_the_type_of_all_and_what_leaves_none_is_said(model):
    profile = profile_of(model)
    eight = plan_for(profile, TARGET, 10**9, 0, PlanRules(precisions=("q8_0-a8b",)))
    assert eight.layers[HEAD].label == "q8_0-a8b" and eight.layers[TABLE_LAYER].label == "q8_0"
    kept = plan_for(profile, TARGET, 10**9, 0, PlanRules(keep=("*.fc1=5",), allocation="greedy"))
    assert kept.layers[HEAD].bits >= 5
    with pytest.raises(UserError, match="no precision is left"):
        plan_for(profile, TARGET, 10**9, 0, PlanRules(precisions=("q4_0-a8b",), keep=("*.fc1=5",)))
    with pytest.raises(BudgetError, match="smallest plan for whisper-cpp"):
        plan_for(profile, TARGET, 1_000, 0)


@pytest.mark.parametrize(("bits", "label"), [(32, "fp16"), (8, "q8_0"), (4, "q4_1")])
def test_uniform_controls_are_files_that_can_be_written(bits, label, model):
    plan = uniform_plan(profile_of(model), TARGET.name, TARGET.offer, 0, bits)
    assert plan.layers[HEAD].stored.label == label
    swept = plan_for(
        profile_of(model), TARGET, plan.predicted_bytes, 0, PlanRules(allocation="sweep")
    )
    assert swept.predicted_bytes <= plan.predicted_bytes


def test_one_changed_code_in_the_file_is_seen_and_head_and_table_are_named(model, tmp_path):
    codes = codes_at(model, specs_at(model, "q5_1"))
    path, order = written(model, codes, tmp_path)
    kind, table = BY_SPEC[codes[TABLE_LAYER].spec], codes[TABLE_LAYER]
    packed = kind.pack(table.codes.reshape(-1, 32).numpy(), table.scales.flatten(0, 1).numpy())
    data = bytearray(path.read_bytes())
    place = data.find(packed)
    assert place > 0, "the codes lie in the file once, as they are"
    assert data.find(packed, place + 1) < 0
    data[place + 10] ^= 1
    path.write_bytes(bytes(data))
    held = {name: each for name, each in codes.items() if name != TRANSFORM}
    mismatches = compare(TARGET.read(path), held, order, model)
    assert {mismatch.layer for mismatch in mismatches} == {HEAD, TABLE_LAYER}


@pytest.mark.parametrize("keep", [0, 20, 70_000, -1])
def test_truncated_or_foreign_file_is_named(keep, model, tmp_path):
    path, _ = written(model, codes_at(model, specs_at(model, "q8_0")), tmp_path)
    assert target_for_file(path).name == "whisper-cpp"
    data = path.read_bytes()
    path.write_bytes(b"PK\x03\x04 this is a zip" * 100 if keep == -1 else data[:keep])
    with pytest.raises(UserError, match=r"ggml-small\.bin"):
        TARGET.read(path)


def test_models_that_whisper_cpp_does_not_run_are_refused_before_anything_is_measured(model):
    with pytest.raises(ModelError, match="runs Whispers only; tiny-0 is none"):
        suits(tiny_ctc(0))
    narrow = small_whisper()
    layer = narrow.module.decoder.layers[0]
    layer.fc1.weight.data, layer.fc2.weight.data = layer.fc1.weight[:64], layer.fc2.weight[:, :64]
    with pytest.raises(ModelError, match="four times as wide as the model, 256"):
        suits(narrow)
    untied = small_whisper()
    untied.module.decoder.embed_tokens.matrix_of = ""
    with pytest.raises(ModelError, match="one matrix for the head and the table"):
        suits(untied)
    assert suits(model) is model


def test_a_run_with_an_evened_table_is_told_which_model_to_take(model, tmp_path):
    evened = small_whisper()
    evened.module.token_factors = torch.full((64,), 2.0)
    with pytest.raises(UserError, match=r"myqasr personalize 'probe\?table=published'"):
        written(evened, {}, tmp_path)


@on_the_runtime
@settings(deadline=None)
@given(seed=st.integers(0, 2**31), kind=st.sampled_from(BLOCK_TYPES))
def test_blocks_are_read_as_the_library_reads_them_and_written_back_to_the_bit(seed, kind):
    """Random bytes: every code, and scales that no search would find."""
    import ctypes

    import _pywhispercpp

    data = np.random.default_rng(seed).integers(0, 256, (8, kind.block_bytes), dtype=np.uint8)
    codes, scales = kind.unpack(data.tobytes())
    whole = np.isfinite(scales).reshape(len(scales), -1).all(axis=1)
    data, codes, scales = data[whole], codes[whole], scales[whole]
    assert kind.pack(codes, scales) == data.tobytes()
    expected = np.zeros(codes.shape, np.float32)
    read = getattr(ctypes.CDLL(_pywhispercpp.__file__), f"dequantize_row_{kind.name}")
    read.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    read(data.ctypes.data, expected.ctypes.data, expected.size)
    held = LayerCodes(kind.stored, torch.from_numpy(codes), torch.from_numpy(scales)[:, None])
    found = held.dequantized(torch.zeros(codes.shape)).numpy()
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(initial=0))


@on_the_runtime
@settings(deadline=None)
@given(arrays(np.float32, (2, 256), elements=st.floats(-100, 100, width=16)))
def test_inputs_of_k_quants_are_rounded_as_the_library_rounds_them(rows):
    import ctypes

    import _pywhispercpp

    rounded = ctypes.CDLL(_pywhispercpp.__file__).quantize_row_q8_K_ref
    rounded.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    out = np.zeros((2, 4 + 256 + 32), np.uint8)  # scale, codes, their sums by 16
    rounded(rows.ctypes.data, out.ctypes.data, rows.size)
    expected = out[:, 4:260].copy().view(np.int8) * out[:, :4].copy().view(np.float32)
    found = quantize_superblocks(torch.from_numpy(rows)).numpy()
    steps = np.abs(rows).max(1, keepdims=True) / 127
    halves = np.abs(np.abs(rows) / np.maximum(steps, 1e-30) % 1 - 0.5) < 1e-3
    assert np.allclose(found[~halves], expected[~halves], rtol=1e-5, atol=0)
    assert (np.abs(found - expected) <= steps * 1.001).all()


@on_the_runtime
@settings(deadline=None)
@given(arrays(np.float32, (2, 32), elements=st.floats(-100, 100, width=16)))
def test_inputs_are_rounded_as_the_library_rounds_them(rows):
    """By its own quantiser for q8_0; halves may go either way, as they do between its CPUs."""
    import ctypes

    import _pywhispercpp

    chunk = ctypes.CDLL(_pywhispercpp.__file__).ggml_quantize_chunk
    chunk.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    out = np.zeros(2 * 34, np.uint8)
    chunk(8, rows.ctypes.data, out.ctypes.data, 0, 2, 32, None)
    codes, scales = BY_SPEC[QuantSpec(8, "q0", 32)].unpack(out.tobytes())
    expected = codes * scales[:, None]
    found = quantize_blocks(torch.from_numpy(rows)).numpy()
    ratios = np.abs(rows) / np.maximum(np.abs(rows).max(1, keepdims=True), 1e-30) * 127
    halves = np.abs(ratios % 1 - 0.5) < 1e-3
    assert np.allclose(found[~halves], expected[~halves], rtol=1e-6, atol=0)
    assert (np.abs(found - expected) <= scales[:, None] * 1.001).all()
