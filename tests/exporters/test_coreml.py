"""Core ML packages on Linux: what lies in them, what they weigh, and what the saved program computes."""

import itertools
import random
import sys

import numpy as np
import pytest
import torch

from myqasr.core import packing
from myqasr.core.errors import UserError
from myqasr.core.storage import sha256_of, size_of
from myqasr.exporters.audit import compare
from myqasr.exporters.coreml import ios18 as coreml
from myqasr.exporters.coreml.mlpackage import MODEL, WEIGHTS
from myqasr.exporters.target import ExportOptions, load_target
from myqasr.personalize.planning.plan import FLOAT32, LayerShape, QuantSpec
from myqasr.personalize.rounding.reference import build_half_reference
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.coreml.reference import reference_of
from myqasr.speech.datasets import find_clips, read_clips
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model
from tests.conftest import USERS
from tests.material.model_folders import save_model
from tests.material.tiny_models import layer_shapes, noise, random_codes, tiny_ctc

TARGET = load_target("coreml")
OPTIONS = ExportOptions(min_samples=650, max_samples=32_000)
LENGTHS = (1_290, 7_777, 32_000)
FLOAT32_SUMS = 1e-5
"""What the order of float32 sums makes of logits about as large as one."""


@pytest.fixture(scope="module")
def model():
    """One model for all tests, as its conversion is kept."""
    return tiny_ctc(0)


def precisions(shape: LayerShape) -> list[QuantSpec]:
    return [spec for spec in TARGET.menu(shape) if spec != FLOAT32]


def drawn(model, seed: int) -> dict[str, QuantSpec]:
    draw = random.Random(seed)
    return {name: draw.choice(precisions(shape)) for name, shape in layer_shapes(model).items()}


def written(model, specs, path):
    codes = random_codes(model, TARGET, specs)
    return codes, TARGET.write(model, codes, path, OPTIONS)


def worst_difference(model, codes, path, rounded: bool = False) -> float:
    how = model.tokens.autoregression
    reference, runner = build_half_reference(model, codes), reference_of(path, rounded, how)
    differences = []
    for samples in LENGTHS:
        waveform = noise(samples)[0].numpy()
        found = runner.logits(model.features(waveform)[0].numpy())
        differences.append(np.abs(found - reference.logits(waveform)).max())
    return float(max(differences))


def test_every_precision_of_the_menu_comes_back_bit_for_bit_and_computes_what_it_says(
    model, tmp_path
):
    shapes = layer_shapes(model)
    wanted = {(shape.kind, spec) for shape in shapes.values() for spec in precisions(shape)}
    turns = {
        kind: itertools.cycle(sorted({s.label for k, s in wanted if k == kind}))
        for kind in ("linear", "conv1d")
    }
    tried = set()
    for turn in itertools.count():
        specs = {}
        for name, shape in shapes.items():
            labels = {spec.label: spec for spec in precisions(shape)}
            label = next(label for label in turns[shape.kind] if label in labels)
            specs[name] = labels[label]
            tried.add((shape.kind, specs[name]))
        path = tmp_path / f"{turn}.mlpackage"
        codes, order = written(model, specs, path)
        assert compare(TARGET.read(path), codes, order, model) == []
        assert worst_difference(model, codes, path) < FLOAT32_SUMS
        if wanted <= tried:
            break
    assert {spec.bits for _, spec in tried if spec.scheme == "lut"} == {1, 2, 3, 4, 6, 8}


def test_bytes_of_weight_bin_are_foretold_exactly_on_twenty_random_plans(model, tmp_path):
    shapes = layer_shapes(model)
    rests, programs = set(), []
    for seed in range(20):
        specs = drawn(model, seed)
        path = tmp_path / "a.mlpackage"
        written(model, specs, path)
        layers = sum(coreml.weight_bytes(shapes[name], spec) for name, spec in specs.items())
        rests.add((path / WEIGHTS).stat().st_size - layers)
        graph = sum(TARGET.layer_bytes(shapes[n], s) for n, s in specs.items()) - layers
        programs.append((path / MODEL).stat().st_size - graph)
        assert size_of(path) >= (path / WEIGHTS).stat().st_size + (path / MODEL).stat().st_size
    assert len(rests) == 1
    assert max(programs) - min(programs) < 200


def test_the_embedded_model_says_in_core_ml_what_its_reference_says(tmp_path):
    model = load_model("default")
    codes = random_codes(model, TARGET, drawn(model, 3))
    path = tmp_path / "a.mlpackage"
    order = TARGET.write(model, codes, path, ExportOptions(model.min_samples, 240_000))
    assert compare(TARGET.read(path), codes, order, model) == []
    reference, runner = build_half_reference(model, codes), reference_of(path)
    recordings, _ = read_clips(find_clips(USERS / "synth-ada" / "test"))
    heard = set()
    for recording in recordings:
        logits = runner.logits(model.features(recording.waveform)[0].numpy())
        text = greedy_text(logits, model.tokens)
        assert text == reference.transcribe(recording.waveform)
        heard.add(text)
    assert len(heard) > 10


def test_packages_for_ios_16_hold_and_compute_their_plans(model, tmp_path):
    target, shapes = load_target("coreml-ios16"), layer_shapes(model)
    labels = {spec.label for spec in target.menu(shapes["lm_head"])}
    assert labels == {"lut1", "lut2", "lut4", "lut6", "lut8", "int8", "fp16", "fp32"}
    rests = set()
    for seed in range(3):
        draw = random.Random(seed)
        specs = {name: draw.choice(target.menu(shape)[:-1]) for name, shape in shapes.items()}
        codes = random_codes(model, target, specs)
        path = tmp_path / f"a{target.suffix}"
        order = target.write(model, codes, path, OPTIONS)
        assert compare(target.read(path), codes, order, model) == []
        assert worst_difference(model, codes, path) < FLOAT32_SUMS
        layers = sum(coreml.weight_bytes(shapes[name], spec) for name, spec in specs.items())
        rests.add((path / WEIGHTS).stat().st_size - layers)
    assert len(rests) == 1


def test_layers_that_stay_in_float32_are_float32_in_the_file_with_their_bias(tmp_path):
    model = tiny_ctc(1, stable_layer_norm=False)
    shapes = layer_shapes(model)
    rests = set()
    for wide in (("lm_head", "wav2vec2.feature_projection.projection"), ()):
        specs = {name: FLOAT32 if name in wide else QuantSpec(8) for name in shapes}
        path = tmp_path / "a.mlpackage"
        codes, order = written(model, specs, path)
        stored = TARGET.read(path)
        assert compare(stored, codes, order, model) == []
        assert worst_difference(model, codes, path) < FLOAT32_SUMS
        layers = sum(coreml.weight_bytes(shapes[name], spec) for name, spec in specs.items())
        rests.add((path / WEIGHTS).stat().st_size - layers)
    assert len(rests) == 1


def test_equal_weights_of_two_layers_stay_two_layers(tmp_path):
    model = tiny_ctc(2)
    layers = model.layers()
    one, other = (f"wav2vec2.encoder.layers.0.attention.{name}_proj" for name in "qk")
    layers[other].weight.data.copy_(layers[one].weight.data)
    specs = {**dict.fromkeys(layers, QuantSpec(16, "float")), other: QuantSpec(2, "lut")}
    codes, order = written(model, specs, tmp_path / "a.mlpackage")
    assert compare(TARGET.read(tmp_path / "a.mlpackage"), codes, order, model) == []


def test_one_changed_byte_of_the_weights_is_seen_and_the_layer_named(model, tmp_path):
    path = tmp_path / "a.mlpackage"
    victim = "wav2vec2.encoder.layers.1.feed_forward.intermediate_dense"
    codes, order = written(model, dict.fromkeys(layer_shapes(model), QuantSpec(3, "lut")), path)
    data = bytearray((path / WEIGHTS).read_bytes())
    place = data.find(packing.pack(codes[victim].codes.numpy(), 3, first="low").tobytes())
    assert place > 0, "the indices lie in the file as they are"
    data[place + 5] ^= 0x10
    (path / WEIGHTS).write_bytes(bytes(data))
    mismatches = compare(TARGET.read(path), codes, order, model)
    assert [mismatch.layer for mismatch in mismatches] == [victim]
    assert "code" in mismatches[0].reason


@pytest.mark.parametrize(
    ("part", "keep"),
    [(MODEL, 0), (MODEL, 5_000), (WEIGHTS, 10), (WEIGHTS, 20_000), (WEIGHTS, None)],
)
def test_truncated_package_is_named(model, part, keep, tmp_path):
    path = tmp_path / "a.mlpackage"
    written(model, dict.fromkeys(layer_shapes(model), QuantSpec(8)), path)
    if keep is None:
        (path / part).unlink()
    else:
        (path / part).write_bytes((path / part).read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.mlpackage"):
        TARGET.read(path)


def test_an_operation_that_the_evaluator_does_not_know_is_named_before_anything_runs(
    model, tmp_path
):
    path = tmp_path / "a.mlpackage"
    written(model, dict.fromkeys(layer_shapes(model), QuantSpec(8)), path)
    data = (path / MODEL).read_bytes()
    assert b"softmax" in data
    (path / MODEL).write_bytes(data.replace(b"softmax", b"hardmax"))
    with pytest.raises(UserError, match="doesn't know the operation hardmax"):
        open_system(System("file", "coreml", str(path)), threads=1)


def test_the_same_plan_gives_the_same_bytes(model, tmp_path):
    hashes = set()
    for name in ("a", "b"):
        written(model, drawn(model, 5), tmp_path / f"{name}.mlpackage")
        hashes.add(sha256_of(tmp_path / f"{name}.mlpackage"))
    assert len(hashes) == 1


def test_float16_results_are_near_float32_ones_but_not_the_same(model, tmp_path):
    path = tmp_path / "a.mlpackage"
    codes, _ = written(model, dict.fromkeys(layer_shapes(model), QuantSpec(8)), path)
    assert 1e-5 < worst_difference(model, codes, path, rounded=True) < 1e-2


def test_scales_that_float16_cannot_hold_are_refused_not_rounded_again(model, tmp_path):
    codes = random_codes(model, TARGET, dict.fromkeys(layer_shapes(model), QuantSpec(8)))
    codes["lm_head"].scales.mul_(1.0001)
    with pytest.raises(UserError, match="lm_head has scales that float16 can't hold"):
        TARGET.write(model, codes, tmp_path / "a.mlpackage", OPTIONS)
    assert not list(tmp_path.iterdir())


def test_a_missing_coremltools_says_what_to_install(model, tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.startswith("myqasr.exporters.coreml."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    codes = random_codes(model, TARGET, dict.fromkeys(layer_shapes(model), QuantSpec(8)))
    with pytest.raises(UserError, match=r"pip install 'myqasr\[coreml\]'"):
        TARGET.write(model, codes, tmp_path / "a.mlpackage", OPTIONS)


@pytest.mark.parametrize(
    "case", ["conformer, relative", "conformer, rotary", "parakeet", "whisper"]
)
def test_a_model_class_comes_back_bit_for_bit_and_computes_its_plan(case, tmp_path):
    save_model(case, tmp_path)
    model = load_model(str(tmp_path))
    specs = {
        name: FLOAT32
        if shape.fixed
        else random.Random(name).choice(TARGET.menu(shape)[:-1] or [FLOAT32])
        for name, shape in layer_shapes(model).items()
    }
    codes = random_codes(model, TARGET, specs)
    path = tmp_path / "a.mlpackage"
    order = TARGET.write(model, codes, path, ExportOptions(1_300, 32_000))
    assert compare(TARGET.read(path), codes, order, model) == []
    assert worst_difference(model, codes, path) < FLOAT32_SUMS


def test_the_runner_for_macs_asks_core_ml_for_the_right_functions(tmp_path, monkeypatch):
    """`predict` is answered by the evaluator, as there is no Core ML here."""
    from myqasr.runtime_bench.runners.coreml import device as coreml_device

    save_model("whisper", tmp_path)
    model = load_model(str(tmp_path))
    how = model.tokens.autoregression
    path = tmp_path / "a.mlpackage"
    codes = random_codes(
        model, TARGET, {n: TARGET.menu(s)[-1] for n, s in layer_shapes(model).items()}
    )
    TARGET.write(model, codes, path, OPTIONS)
    here = reference_of(path, autoregression=how)

    class Model:
        def __init__(self, path, compute_units, function_name):
            self.function = here.functions[function_name]

        def predict(self, inputs):
            tensors = [torch.from_numpy(inputs[name]) for name in self.function.program.inputs]
            found = self.function.outputs(*tensors)
            return dict(zip(self.function.program.outputs, (f.numpy() for f in found), strict=True))

    monkeypatch.setattr("coremltools.models.MLModel", Model)
    runner = coreml_device.open_device(System("file", "coreml", str(path), autoregression=how), 1)
    features = model.features(noise(16_000)[0].numpy())[0].numpy()
    assert np.array_equal(runner.logits(features), here.logits(features))
    with pytest.raises(UserError, match=r"b\.mlpackage"):
        coreml_device.open_device(System("file", "coreml", str(tmp_path / "b.mlpackage")), 1)
