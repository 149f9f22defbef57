"""ONNX files beyond what every target is tested for: Whisper, what else loads them, a missing onnx."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.core.storage import size_of
from myqasr.exporters.export import export_options
from myqasr.exporters.manifest import load_artifact
from myqasr.exporters.onnx.onnxruntime import NAME, TARGET
from myqasr.exporters.onnx.sherpa import token_lines, why_not, write_sherpa_folder
from myqasr.exporters.target import ExportOptions
from myqasr.personalize.planning.plan import FLOAT32, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.speech.decoding import Tokens
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from tests.conftest import invoke
from tests.material.model_folders import save_model
from tests.material.tiny_models import layer_shapes, noise, random_codes, random_specs, tiny_ctc
from tests.material.token_files import opened, worst_db, write

OPTIONS = ExportOptions(650, 32_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whisper")
    save_model("whisper", path)
    return path


@functools.cache
def loaded(folder: Path) -> SpeechModel:
    return load_model(str(folder))


@functools.cache
def tiny() -> SpeechModel:
    """Traced once."""
    return tiny_ctc(0)


ENTRIES = [
    ("embedding", "int4-g32", 100.0),
    ("embedding", "int4-g64", 100.0),
    ("embedding", "int8", 100.0),
    ("embedding", "fp16", 100.0),
    ("embedding", "fp32", 100.0),
    ("linear", "int4-g32", 100.0),
    ("linear", "int8-a8d", 40.0),
]


@pytest.mark.parametrize(("kind", "label", "floor_db"), ENTRIES)
def test_both_files_of_a_whisper_compute_what_the_plan_says(
    kind, label, floor_db, folder, tmp_path
):
    model, spec = loaded(folder), QuantSpec.from_label(label)
    specs = {
        layer: spec if shape.kind == kind and spec in TARGET.menu(shape) else FLOAT32
        for layer, shape in layer_shapes(model).items()
    }
    assert spec in specs.values()
    codes, path = random_codes(model, TARGET, specs), tmp_path / "a.onnx"
    write(model, NAME, codes, path)
    assert {each.name for each in path.iterdir()} == {"encode.onnx", "decode.onnx"}
    assert worst_db(model, opened(model, NAME, path), codes) > floor_db


def test_every_precision_of_an_embedding_is_probed(folder):
    (shape,) = (each for each in layer_shapes(loaded(folder)).values() if each.kind == "embedding")
    probed = {label for kind, label, _ in ENTRIES if kind == "embedding"}
    assert {spec.label for spec in TARGET.menu(shape)} == probed


@pytest.mark.parametrize(("head", "table"), [("int8-a8d", "int8"), ("fp16", "fp16"), ("fp32",) * 2])
def test_head_and_token_embedding_lie_in_the_file_once_and_both_read_them(
    head, table, folder, tmp_path
):
    model, shapes = loaded(folder), layer_shapes(loaded(folder))
    specs = dict.fromkeys(shapes, FLOAT32)
    (embedding,) = (name for name, shape in shapes.items() if shape.kind == "embedding")
    specs |= {"proj_out": QuantSpec.from_label(head), embedding: QuantSpec.from_label(table)}
    codes, path = random_codes(model, TARGET, specs), tmp_path / "a.onnx"
    write(model, NAME, codes, path)
    assert worst_db(model, opened(model, NAME, path), codes) > 40
    held = onnx.load(path / "decode.onnx").graph.initializer
    matrix = shapes[embedding].weights * specs["proj_out"].bits // 8
    assert [len(each.raw_data) for each in held].count(matrix) == 1
    foretold = sum(TARGET.layer_bytes(shapes[name], spec) for name, spec in specs.items())
    rest = size_of(path) - foretold
    plain = dict.fromkeys(shapes, FLOAT32)
    write(model, NAME, random_codes(model, TARGET, plain), tmp_path / "b.onnx")
    foretold = sum(TARGET.layer_bytes(shapes[name], spec) for name, spec in plain.items())
    assert abs(rest - (size_of(tmp_path / "b.onnx") - foretold)) < 8_000


def test_matrices_of_different_precisions_are_each_in_the_file(folder, tmp_path):
    model, shapes = loaded(folder), layer_shapes(loaded(folder))
    specs = dict.fromkeys(shapes, FLOAT32) | {"proj_out": QuantSpec.from_label("int4-g32")}
    codes, path = random_codes(model, TARGET, specs), tmp_path / "a.onnx"
    write(model, NAME, codes, path)
    assert worst_db(model, opened(model, NAME, path), codes) > 100


def test_audio_that_is_not_a_window_is_refused_and_the_next_clip_is_still_right(folder, tmp_path):
    model, path = loaded(folder), tmp_path / "a.onnx"
    codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
    write(model, NAME, codes, path)
    runner = opened(model, NAME, path)
    with pytest.raises(UserError, match="can't run 7777 samples"):
        runner.logits(np.zeros(7_777, np.float32))
    assert worst_db(model, runner, codes) > 100


@pytest.mark.parametrize("lost", ["encode.onnx", "decode.onnx"])
def test_a_folder_that_lost_a_file_is_refused_by_name(lost, folder, tmp_path):
    model, path = loaded(folder), tmp_path / "a.onnx"
    write(model, NAME, {layer: LayerCodes(FLOAT32) for layer in model.layers()}, path)
    (path / lost).unlink()
    with pytest.raises(UserError, match=r"a\.onnx can't be loaded by ONNX Runtime"):
        opened(model, NAME, path)


def test_quiet_rows_and_silence_are_rounded_as_the_reference_does(tmp_path):
    """A row of zeros has no grid: dividing by its span makes the whole clip nan."""
    model, path = tiny(), tmp_path / "a.onnx"
    spec = QuantSpec.from_label("int8-a8d")
    specs = {
        name: spec if shape.kind == "linear" else FLOAT32
        for name, shape in layer_shapes(model).items()
    }
    codes = random_codes(model, TARGET, specs)
    TARGET.write(model, codes, path, OPTIONS)
    runner, reference = opened(model, NAME, path), build_reference(model, codes)
    for loudness in (0.0, 1e-30, 1e-12, 1e4):
        waveform = (loudness * noise(6_400)[0]).numpy()
        with torch.inference_mode():
            expected = reference.module(torch.from_numpy(waveform)[None])[0].numpy()
        assert signal_to_noise_db(expected, runner.logits(waveform)) > 60, loudness


def test_activations_of_4_bit_layers_stay_float_because_the_file_says_so(tmp_path):
    """The same file with the runtime's other accuracy level rounds them, which nobody measured."""
    model, path = tiny(), tmp_path / "a.onnx"
    spec = QuantSpec.from_label("int4-g32")
    specs = {
        name: spec if spec in TARGET.menu(shape) else FLOAT32
        for name, shape in layer_shapes(model).items()
    }
    codes = random_codes(model, TARGET, specs)
    TARGET.write(model, codes, path, OPTIONS)
    waveform = noise(16_000)[0].numpy()
    right = opened(model, NAME, path).logits(waveform)
    file = onnx.load(path)
    for node in file.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                assert attribute.i == 1
                attribute.i = 4
    onnx.save(file, path)
    assert signal_to_noise_db(right, opened(model, NAME, path).logits(waveform)) < 60


def test_the_format_of_mobile_builds_computes_the_same(tmp_path):
    """As written for x86, where a processor without VNNI saturates unless the weights lie there unsigned."""
    import onnxruntime

    model, path, small = tiny(), tmp_path / "a.onnx", tmp_path / "a.ort"
    codes = random_codes(model, TARGET, random_specs(model, TARGET, 0))
    TARGET.write(model, codes, path, OPTIONS)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(small)
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    waveform = noise(16_000)[0].numpy()
    expected = opened(model, NAME, path).logits(waveform)
    found = opened(model, NAME, small).logits(waveform)
    assert signal_to_noise_db(expected, found) > 60


SHERPA = """
import sys
import sherpa_onnx, soundfile
folder = sys.argv[1]
recognizer = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
    model=f"{folder}/model.int8.onnx", tokens=f"{folder}/tokens.txt", num_threads=1
)
stream = recognizer.create_stream()
samples, rate = soundfile.read(f"{folder}/test_wavs/0.wav", dtype="float32")
stream.accept_waveform(rate, samples)
recognizer.decode_stream(stream)
print(stream.result.text)
"""


def test_sherpa_onnx_loads_its_folder_as_it_is_and_writes_what_we_do(tmp_path):
    pytest.importorskip("sherpa_onnx")
    model, path = load_model("default"), tmp_path / "alice.onnx"
    specs = {
        name: TARGET.menu(shape)[-3] if shape.kind == "linear" else FLOAT32
        for name, shape in layer_shapes(model).items()
    }
    assert {spec.label for spec in specs.values()} == {"int8-a8d", "fp32"}
    codes = random_codes(model, TARGET, specs)
    TARGET.write(model, codes, path, export_options(model, 10))
    said = write_sherpa_folder(model, path)
    place = tmp_path / "alice.sherpa"
    assert str(place) in said
    # Its runtime and ours in one process would be two of one kind.
    done = subprocess.run(
        [sys.executable, "-c", SHERPA, place], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "PLEASE MOVE THE KEY TOMORROW"


def test_tokens_for_sherpa_onnx_have_a_blank_it_knows_a_name_each_and_no_spaces():
    tokens = Tokens(("", " ", "a", " the", "", "'"), blank=4)
    lines = token_lines(tokens)
    assert lines == "<0> 0\n▁ 1\na 2\n▁the 3\n<blk> 4\n' 5\n"


def test_models_that_sherpa_onnx_would_get_wrong_have_no_folder(folder, tmp_path):
    assert "Whisper" in why_not(loaded(folder))
    said = write_sherpa_folder(loaded(folder), tmp_path / "a.onnx")
    assert said.startswith("No folder for sherpa-onnx") and not list(tmp_path.iterdir())


def test_the_whole_chain_makes_a_folder_of_a_whisper_within_its_budget(
    folder, tune_clips, tmp_path
):
    run = tmp_path / "alice"
    asked = ("--budget", "1.2MB", "--target", NAME, "--clips", 2, "--out", run)
    for command in (("personalize", folder, tune_clips, *asked), ("export", run)):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    path = run / "exports" / "alice.onnx"
    _, artifact = load_artifact(path)
    assert size_of(path) == artifact.size_bytes <= artifact.budget_bytes
    assert abs(artifact.size_bytes - artifact.predicted_bytes) < 8_000
    for command in (("inspect", path), ("transcribe", path, next(tune_clips.iterdir()))):
        done = invoke(*command)
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_onnx_the_error_says_what_to_install(package, tmp_path, monkeypatch):
    for name in [each for each in sys.modules if each.startswith("myqasr.exporters.onnx.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    model = tiny_ctc(5)
    codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
    with pytest.raises(NotInstalledError, match=f"onnx needs {package}") as caught:
        TARGET.write(model, codes, tmp_path / "a.onnx", OPTIONS)
    assert caught.value.mend == "pip install 'myqasr[onnx]'"
    assert not list(tmp_path.iterdir())
