"""Exported files on the real runtime: every menu entry, every byte, and what happens to a wrong one."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from myqasr.core.errors import UserError
from myqasr.exporters.audit import compare
from myqasr.exporters.executorch.portable import NAME as PORTABLE
from myqasr.exporters.executorch.xnnpack import NAME as XNNPACK
from myqasr.exporters.onnx.onnxruntime import NAME as ONNX
from myqasr.exporters.target import TARGETS, ExportOptions, all_targets, load_target
from myqasr.personalize.planning.plan import FLOAT32, LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS
from myqasr.speech.models.base import SpeechModel
from tests.material.tiny_models import layer_shapes, noise, random_codes, random_specs, tiny_ctc

OPTIONS = ExportOptions(min_samples=650, max_samples=32_000)
LENGTHS = (650, 7_777, 32_000)

ENTRIES = [
    (XNNPACK, "linear", "int4-g32-a8d", 60.0),
    (XNNPACK, "linear", "int4-g64-a8d", 60.0),
    (XNNPACK, "linear", "int4-g128-a8d", 60.0),
    (XNNPACK, "linear", "int4-a8d", 60.0),
    (XNNPACK, "linear", "int8-a8d", 60.0),
    (XNNPACK, "linear", "fp16", 50.0),
    (XNNPACK, "linear", "fp32", 100.0),
    (XNNPACK, "conv1d", "int8-a8s", 35.0),
    (XNNPACK, "conv1d", "int8-a8d", 60.0),
    (XNNPACK, "conv1d", "int4-a8d", 60.0),
    (XNNPACK, "conv1d", "fp16", 50.0),
    (XNNPACK, "conv1d", "fp32", 100.0),
    (PORTABLE, "linear", "int4", 100.0),
    (PORTABLE, "linear", "int4-g32", 100.0),
    (PORTABLE, "linear", "int4-g64", 100.0),
    (PORTABLE, "linear", "int8", 100.0),
    (PORTABLE, "linear", "fp16", 50.0),
    (PORTABLE, "conv1d", "int8", 100.0),
    (PORTABLE, "conv1d", "int4", 100.0),
    (ONNX, "linear", "int4-g32", 100.0),
    (ONNX, "linear", "int4-g64", 100.0),
    (ONNX, "linear", "int4-g128", 100.0),
    (ONNX, "linear", "int8-a8d", 60.0),
    (ONNX, "linear", "fp16", 100.0),
    (ONNX, "linear", "fp32", 100.0),
    (ONNX, "conv1d", "int4", 100.0),
    (ONNX, "conv1d", "int8", 100.0),
    (ONNX, "conv1d", "fp16", 100.0),
    (ONNX, "conv1d", "fp32", 100.0),
]
"""Target, layer kind, precision, and the least decibels between runtime and reference."""

KERNEL_WORDS = {
    "int4-a8d": "qcint4",
    "int4-g32-a8d": "qbint4",
    "int8-a8d": "qcint8",
    "int8-a8s": "qcint8",
}


PROBED = [name for name in TARGETS if TARGET_RUNNERS[name] in ("executorch", "onnxruntime")]
"""Targets whose whole menus are tried here; others have tests of their own."""

FILES = [target.name for target in all_targets() if not target.when_asked]
"""Targets that write a single file; Core ML's packages have tests of their own."""


def run_file(path: Path, waveform: torch.Tensor, target_name: str = XNNPACK) -> np.ndarray:
    runner = open_system(System("file", TARGET_RUNNERS[target_name], str(path)), threads=1)
    return runner.logits(waveform[0].numpy())


@functools.cache
def traced_once(seed: int, stable_layer_norm: bool = True, layers: int = 2) -> SpeechModel:
    return tiny_ctc(seed, stable_layer_norm, layers)


def run_module(model, waveform: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return model.module(waveform)[0].numpy()


@pytest.mark.parametrize(("target_name", "kind", "label", "floor_db"), ENTRIES)
def test_every_precision_on_the_menu_computes_what_it_promises(
    target_name, kind, label, floor_db, tmp_path
):
    target, model, spec = load_target(target_name), traced_once(1), QuantSpec.from_label(label)
    shapes = layer_shapes(model)
    specs = {
        name: spec if shape.kind == kind and spec in target.menu(shape) else FLOAT32
        for name, shape in shapes.items()
    }
    assert spec in specs.values()
    codes = random_codes(model, target, specs)
    path = tmp_path / f"file{target.suffix}"
    order = target.write(model, codes, path, OPTIONS)
    stored = target.read(path)
    assert compare(stored, codes, order, model) == []
    kernels = [layer.kernel for layer in stored if layer.codes.spec == spec]
    assert len(kernels) == list(specs.values()).count(spec)
    reference = build_reference(model, codes, load_target(target_name).half_activations)
    worst = min(
        signal_to_noise_db(
            run_module(reference, noise(n, seed=1)), run_file(path, noise(n, seed=1), target_name)
        )
        for n in LENGTHS
    )
    print(f"{target_name} {kind} {label}: {worst:.1f} dB, {kernels[0]}")
    assert worst > floor_db


@pytest.mark.parametrize("name", PROBED)
def test_the_probe_covers_the_whole_menu(name):
    probed = {(kind, label) for target, kind, label, _ in ENTRIES if target == name}
    linear = LayerShape("l", "linear", (64, 128), True)
    conv = LayerShape("c", "conv1d", (64, 32, 8), True)
    grouped_conv = {"int4-g32", "int4-g64", "int4-g128", "fp16"}
    for shape in (linear, conv):
        for spec in load_target(name).menu(shape):
            if name == PORTABLE and spec.label in grouped_conv:
                continue  # the same expansion kernels as for linear layers
            assert (shape.kind, spec.label) in probed or spec == FLOAT32, spec.label


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.usefixtures("tflite_runtime")
def test_mixed_plan_comes_back_from_the_file_bit_for_bit(name, seed, tmp_path):
    target, model = load_target(name), traced_once(seed, seed != 1)
    codes = random_codes(model, target, random_specs(model, target, seed))
    path = tmp_path / f"mixed{target.suffix}"
    order = target.write(model, codes, path, OPTIONS)
    assert set(order) == set(codes)
    stored = target.read(path)
    assert compare(stored, codes, order, model) == []
    waveform = noise(16_000, seed=1)
    expected = run_module(build_reference(model, codes), waveform)
    assert signal_to_noise_db(expected, run_file(path, waveform, name)) > 30


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (XNNPACK, "int8-a8d"),
        (XNNPACK, "int4-g32-a8d"),
        (PORTABLE, "int8"),
        ("litert", "int8-a8d"),
        ("litert", "int4-g32-a8d"),
        ("tflite-runtime", "int4-a8s"),
        (ONNX, "int8-a8d"),
        (ONNX, "int4-g32"),
    ],
)
def test_one_changed_code_in_the_file_is_seen_and_the_layer_named(name, label, tmp_path):
    target, model, spec = load_target(name), traced_once(0), QuantSpec.from_label(label)
    specs = {
        layer: spec if spec in target.menu(shape) and shape.kind == "linear" else FLOAT32
        for layer, shape in layer_shapes(model).items()
    }
    codes = random_codes(model, target, specs)
    path = tmp_path / f"file{target.suffix}"
    order = target.write(model, codes, path, OPTIONS)
    victim = "wav2vec2.encoder.layers.1.feed_forward.intermediate_dense"
    packed = codes[victim].codes
    if spec.bits == 4:
        # Only nibbles of whole bytes are searched for: low nibble first, offset by the zero point.
        offset = 0 if target.suffix.endswith(".tflite") else 8
        flat = (packed.flatten().to(torch.int16) + offset & 15).reshape(-1, 2)
        needle = bytes((flat[:, 0] | (flat[:, 1] << 4)).tolist())[:32]
    else:
        needle = packed.numpy().tobytes()[:64]
    data = bytearray(path.read_bytes())
    place = data.find(needle)
    assert place > 0, "the codes lie in the file as they are"
    data[place + 5] ^= 0x11
    path.write_bytes(bytes(data))
    mismatches = compare(target.read(path), codes, order, model)
    assert [mismatch.layer for mismatch in mismatches] == [victim]
    assert "wrong" in mismatches[0].reason


def test_file_of_another_plan_is_seen(tmp_path):
    target, model = load_target(XNNPACK), traced_once(0)
    codes = random_codes(model, target, random_specs(model, target, 0))
    path = tmp_path / "file.pte"
    order = target.write(model, codes, path, OPTIONS)
    other = dict(codes)
    changed = next(name for name, layer in codes.items() if layer.codes is not None)
    scales = codes[changed].scales
    other[changed] = LayerCodes(
        codes[changed].spec,
        codes[changed].codes,
        scales * 1.5,
        codes[changed].input_range,
        codes[changed].output_range,
    )
    reasons = compare(target.read(path), other, order, model)
    assert [mismatch.layer for mismatch in reasons] == [changed]
    assert "scale" in reasons[0].reason
    missing = compare(target.read(path)[:-1], codes, order, model)
    assert missing[-1].reason == "is not in the file"


def test_input_longer_than_stated_is_rejected_not_garbled(tmp_path):
    target, model = load_target(XNNPACK), traced_once(0)
    codes = {name: LayerCodes(FLOAT32) for name in model.layers()}
    path = tmp_path / "file.pte"
    target.write(model, codes, path, OPTIONS)
    with pytest.raises(UserError, match="can't run 40000 samples"):
        run_file(path, noise(40_000))


@pytest.mark.parametrize("name", FILES)
def test_bytes_of_a_plan_are_known_before_it_is_written(name, tmp_path):
    target, model = load_target(name), traced_once(0, layers=3)
    shapes = layer_shapes(model)
    overheads = []
    for seed in range(4):
        specs = random_specs(model, target, seed)
        path = tmp_path / f"{seed}{target.suffix}"
        target.write(model, random_codes(model, target, specs), path, OPTIONS)
        layers = sum(target.layer_bytes(shapes[layer], spec) for layer, spec in specs.items())
        overheads.append(path.stat().st_size - layers)
    assert max(overheads) - min(overheads) < 8_000


@pytest.mark.parametrize("name", [target.name for target in all_targets() if target.suits is None])
def test_precision_outside_the_menu_is_refused_naming_the_layer(name, tmp_path):
    target, model = load_target(name), traced_once(0)
    codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
    codes["lm_head"] = LayerCodes(QuantSpec(3), torch.zeros(32, 64, dtype=torch.int8))
    with pytest.raises(UserError, match="lm_head at int3"):
        target.write(model, codes, tmp_path / "file.pte", OPTIONS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [XNNPACK, "litert", ONNX])
@pytest.mark.parametrize("keep", [0, 10, 5_000, -1])
def test_truncated_or_foreign_file_is_named(name, keep, tmp_path):
    target, model = load_target(name), traced_once(0)
    path = tmp_path / f"file{target.suffix}"
    if keep == -1:
        path.write_bytes(b"PK\x03\x04 this is a zip" * 100)
    else:
        codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
        target.write(model, codes, path, OPTIONS)
        path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"file\."):
        target.read(path)


def test_exporting_one_model_after_the_other_takes_no_more_memory_each_time(tmp_path):
    """A list that doubled with every program had a process of thirty exports out of memory."""
    from myqasr.exporters.executorch import edge_program

    options = ExportOptions(1_300, 32_000)
    before = list(edge_program.CONFIG.preserve_ops)
    for seed in range(3):
        edge_program.edge_programs(tiny_ctc(seed), options)
    assert edge_program.CONFIG.preserve_ops == before
