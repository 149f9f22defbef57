"""TFLite files on both runtimes: what is on the menus computes right, what isn't doesn't."""

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.core.storage import record_hash
from myqasr.exporters.audit import compare
from myqasr.exporters.target import ExportOptions, load_target
from myqasr.exporters.tflite import litert, tflite_runtime
from myqasr.personalize.planning.plan import FLOAT32, LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.layers import round_weight
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.devices.session import open_session
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS
from myqasr.runtime_bench.runners.process import new_folder
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from tests.conftest import invoke
from tests.material.model_folders import save_model
from tests.material.tiny_models import layer_shapes, noise, random_codes, tiny_ctc

OPTIONS = ExportOptions(min_samples=1_300, max_samples=32_000)
LENGTHS = (1_300, 7_777, 32_000)
RIGHT_DB = 45
"""Above this a runtime computes the reference's arithmetic, but for roundings that go the other way."""
Menu = Callable[[LayerShape], tuple[QuantSpec, ...]]

LITERT, OLD = litert.NAME, tflite_runtime.NAME

pytestmark = pytest.mark.usefixtures("tflite_runtime")


@functools.cache
def wav2vec2() -> SpeechModel:
    return tiny_ctc(1)


@functools.cache
def conformer(kind: str, folder: Path) -> SpeechModel:
    save_model(f"conformer, {kind}", folder)
    return load_model(str(folder))


def kind_of_layer(shape: LayerShape) -> str:
    """`linear`, `windows` (a convolution that has rows) or `conv1d`."""
    return "windows" if shape.kind == "conv1d" and shape.has_rows else shape.kind


def run(path: Path, target_name: str, waveform: torch.Tensor) -> np.ndarray:
    system = System("file", TARGET_RUNNERS[target_name], str(path))
    return open_system(system, threads=1).logits(waveform[0].numpy())


def worst_db(path: Path, target_name: str, reference: SpeechModel) -> float:
    """Least agreement of a file with the reference over several lengths."""
    found = []
    for samples in LENGTHS:
        waveform = noise(samples, seed=1)
        with torch.inference_mode():
            expected = reference.module(waveform)[0].numpy()
        found.append(signal_to_noise_db(expected, run(path, target_name, waveform)))
    return min(found)


def reference_of(model: SpeechModel, codes: dict[str, LayerCodes]) -> SpeechModel:
    """Both runtimes expand float16 weights when they load them, and compute in float32."""
    return build_reference(model, codes, half_activations=False)


ENTRIES = [
    (LITERT, "linear", "int2-a8d", 50.0),
    (LITERT, "linear", "int4-a8d", 50.0),
    (LITERT, "linear", "int4-g32-a8d", 50.0),
    (LITERT, "linear", "int4-g64-a8d", 50.0),
    (LITERT, "linear", "int4-g128-a8d", 50.0),
    (LITERT, "linear", "int8-a8d", 50.0),
    (LITERT, "linear", "fp16", 100.0),
    (LITERT, "linear", "fp32", 100.0),
    (LITERT, "windows", "int2-a8d", 50.0),
    (LITERT, "windows", "int4-a8d", 50.0),
    (LITERT, "windows", "int8-a8d", 50.0),
    (LITERT, "windows", "fp16", 100.0),
    (LITERT, "windows", "fp32", 100.0),
    (LITERT, "conv1d", "int2", 100.0),
    (LITERT, "conv1d", "int4", 100.0),
    (LITERT, "conv1d", "int4-a8s", 50.0),
    (LITERT, "conv1d", "int8", 100.0),
    (LITERT, "conv1d", "int8-a8s", 60.0),
    (LITERT, "conv1d", "fp16", 100.0),
    (LITERT, "conv1d", "fp32", 100.0),
    (OLD, "linear", "int4-a8s", 50.0),
    (OLD, "linear", "int8-a8s", 50.0),
    (OLD, "linear", "int8", 100.0),
    (OLD, "linear", "fp16", 100.0),
    (OLD, "linear", "fp32", 100.0),
    (OLD, "windows", "int4-a8s", 40.0),
    (OLD, "windows", "int8-a8s", 50.0),
    (OLD, "windows", "int8", 100.0),
    (OLD, "windows", "fp16", 100.0),
    (OLD, "windows", "fp32", 100.0),
    (OLD, "conv1d", "int8", 100.0),
    (OLD, "conv1d", "int4-a8s", RIGHT_DB),
    (OLD, "conv1d", "int8-a8s", RIGHT_DB),
    (OLD, "conv1d", "fp16", 100.0),
    (OLD, "conv1d", "fp32", 100.0),
]
"""Target, kind of layer, precision, and the least decibels between runtime and reference."""

WRONG = [
    (LITERT, litert, "linear", "int2-g32-a8d"),
    (LITERT, litert, "conv1d", "int2-a8s"),
    (OLD, litert, "linear", "int8-a8d"),
    (OLD, tflite_runtime, "linear", "int8-a8d"),
    (OLD, tflite_runtime, "linear", "int4-a8d"),
    (OLD, tflite_runtime, "linear", "int4-g32-a8d"),
    (OLD, tflite_runtime, "linear", "int2-a8d"),
    (OLD, tflite_runtime, "windows", "int4-a8d"),
    (OLD, tflite_runtime, "conv1d", "int4"),
]
"""Target, the profile as which the file is written, kind of layer, and a precision that isn't on the menu."""


def uniform(model: SpeechModel, kind: str, spec: QuantSpec, menu: Menu) -> dict[str, QuantSpec]:
    """This precision for the layers of a kind that a menu has it for."""
    return {
        name: spec if kind_of_layer(shape) == kind and spec in menu(shape) else FLOAT32
        for name, shape in layer_shapes(model).items()
    }


def whatever(spec: QuantSpec) -> Menu:
    """A menu that has a precision for all layers that it can be written for."""
    group = spec.group_size or 1
    return lambda shape: (spec, FLOAT32) if shape.row_weights % group == 0 else (FLOAT32,)


@pytest.mark.parametrize(("target_name", "kind", "label", "floor_db"), ENTRIES)
def test_every_precision_on_the_menu_computes_what_it_promises(
    target_name, kind, label, floor_db, tmp_path, tmp_path_factory
):
    target, spec = load_target(target_name), QuantSpec.from_label(label)
    models = [wav2vec2()]
    assert spec in uniform(wav2vec2(), kind, spec, target.menu).values()
    if kind == "conv1d":  # grouped in one, depthwise in the other
        models.append(conformer("rotary", tmp_path_factory.getbasetemp() / "rotary"))
    for model in models:
        specs = uniform(model, kind, spec, target.menu)
        if spec not in specs.values():
            continue
        for some in alone(specs, spec) if kind != "conv1d" else [specs]:
            codes = random_codes(model, target, some)
            path = tmp_path / f"file{target.suffix}"
            order = target.write(model, codes, path, OPTIONS)
            assert compare(target.read(path), codes, order, model) == []
            decibels = worst_db(path, target_name, reference_of(model, codes))
            print(f"{target_name} {kind} {label}: {decibels:.1f} dB")
            assert decibels > floor_db


def alone(specs: dict[str, QuantSpec], spec: QuantSpec) -> list[dict[str, QuantSpec]]:
    """All layers together; static ones, whose codes carry each other's roundings on, three singly."""
    if spec.activation != "int8-static":
        return [specs]
    layers = [name for name, each in specs.items() if each == spec][:3]
    return [{each: spec if each == name else FLOAT32 for each in specs} for name in layers]


@pytest.mark.parametrize("name", [LITERT, OLD])
def test_the_probe_covers_the_whole_menu(name):
    probed = {(kind, label) for target, kind, label, _ in ENTRIES if target == name}
    shapes = (
        LayerShape("linear", "linear", (64, 128), True),
        LayerShape("windows", "conv1d", (64, 32, 8), True),
        LayerShape("grouped", "conv1d", (64, 32, 8), True, groups=2, has_rows=False),
    )
    offered = {
        (kind_of_layer(shape), spec.label)
        for shape in shapes
        for spec in load_target(name).menu(shape)
    }
    assert offered == probed


@pytest.mark.parametrize(("target_name", "profile", "kind", "label"), WRONG)
def test_what_is_not_on_the_menu_is_refused_or_wrong_on_the_runtime(
    target_name, profile, kind, label, tmp_path, monkeypatch
):
    target, spec, model = load_target(target_name), QuantSpec.from_label(label), wav2vec2()
    shapes = [shape for shape in layer_shapes(model).values() if kind_of_layer(shape) == kind]
    assert target_name != profile.NAME or all(spec not in target.menu(shape) for shape in shapes)
    monkeypatch.setattr(profile, "menu", whatever(spec))
    # Without the stamp, to see what it guards from.
    monkeypatch.setattr(litert, "FULLY_CONNECTED_VERSION", tflite_runtime.FULLY_CONNECTED_VERSION)
    codes = random_codes(model, litert, uniform(model, kind, spec, whatever(spec)))
    path = tmp_path / "file.tflite"
    profile.write(model, codes, path, OPTIONS)
    try:
        decibels = worst_db(path, target_name, reference_of(model, codes))
    except UserError as error:
        print(f"{target_name} {kind} {label}: {error}")
        return
    print(f"{target_name} {kind} {label}: {decibels:.1f} dB")
    assert decibels < RIGHT_DB


@pytest.fixture
def linear_plan() -> Callable[[str], dict[str, LayerCodes]]:
    """Codes of the tiny model with all linear layers at one precision, for LiteRT."""

    def codes(label: str) -> dict[str, LayerCodes]:
        specs = uniform(wav2vec2(), "linear", QuantSpec.from_label(label), litert.menu)
        return random_codes(wav2vec2(), litert, specs)

    return codes


def test_a_litert_file_is_refused_at_load_by_the_old_runtime(linear_plan, tmp_path):
    """Whatever the precisions: every file has a fully connected layer."""
    for label in ("fp32", "int8-a8d"):
        path = tmp_path / "file.litert.tflite"
        litert.write(wav2vec2(), linear_plan(label), path, OPTIONS)
        with pytest.raises(
            UserError, match=r"can't load .*file\.litert\.tflite.*FULLY_CONNECTED.*'12'"
        ):
            run(path, OLD, noise(7_777))


def test_a_plan_for_litert_is_refused_by_the_old_profile_with_all_the_layers(linear_plan, tmp_path):
    codes = linear_plan("int4-a8d")
    wrong = [name for name, layer in codes.items() if layer.spec.bits == 4]
    with pytest.raises(UserError) as caught:
        tflite_runtime.write(wav2vec2(), codes, tmp_path / "file.tflite", OPTIONS)
    assert f"{len(wrong)} layers" in str(caught.value)
    assert all(f"{name} at int4-a8d" in str(caught.value) for name in wrong[:6])
    assert f"and {len(wrong) - 6} more; make one for it" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.abort()", r"tflite-runtime crashed \(SIGABRT\) on some/file\.tflite"),
        ("import time; time.sleep(60)", r"no answer in 1 s on some/file\.tflite"),
        (
            "raise SystemExit('out of paper')",
            r"exit code 1 on some/file\.tflite \(out of paper\)",
        ),
    ],
)
def test_a_runtime_that_crashes_or_hangs_is_an_error_that_names_the_file(program, message):
    folder = new_folder(OLD, (sys.executable, "-c", program))
    begin = time.monotonic()
    with pytest.raises(UserError, match=message):
        open_session(folder, "some/file.tflite", 1, answer_seconds=1)
    assert time.monotonic() - begin < 5
    assert not folder.path.exists()


def test_a_missing_runtime_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MYQASR_ENVIRONMENTS", str(tmp_path))
    path = tmp_path / "file.tflite"
    path.write_bytes(b"")
    with pytest.raises(NotInstalledError, match="myqasr doctor --install tflite-runtime"):
        run(path, OLD, noise(7_777))


def test_a_missing_schema_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match=r"pip install 'myqasr\[tflite\]'"):
        litert.read(tmp_path / "file.litert.tflite")


def test_the_file_tells_what_it_is(linear_plan, tmp_path):
    codes = linear_plan("int8-a8d")
    path = tmp_path / "file.litert.tflite"
    litert.write(wav2vec2(), codes, path, OPTIONS)
    precisions = {name: layer.spec.label for name, layer in codes.items()}
    about = f"target=litert model=tiny-1 precisions={record_hash(precisions)}"
    assert about.encode() in path.read_bytes()


def test_an_unknown_runtime_can_not_be_installed():
    done = invoke("doctor", "--install", "abacus")
    assert done.exit_code == 2
    assert "known: tflite-runtime" in done.output


def test_group_scales_are_such_that_float16_holds_them():
    weight = torch.randn(4, 64) * torch.logspace(-9, 0, 4)[:, None]
    _, scales = round_weight(
        weight, QuantSpec(4, "int", 32), litert.scale_dtype(QuantSpec(4, "int", 32))
    )
    assert torch.equal(scales.half().float(), scales)
    assert torch.equal(scales.bfloat16().float(), scales)
