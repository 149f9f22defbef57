"""TFLite files of models that write token by token: two signatures, one text, on both runtimes."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.exporters.export import export_options
from myqasr.exporters.manifest import load_artifact
from myqasr.exporters.target import load_target
from myqasr.exporters.tflite import container, litert, tflite_runtime
from myqasr.personalize.planning.plan import FLOAT32, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.runtime_bench.devices.tflite_worker import Greedy
from myqasr.speech.decoding import Autoregression, greedy_logits
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from tests.conftest import invoke
from tests.material.model_folders import save_model
from tests.material.tiny_models import layer_shapes, random_codes, random_specs
from tests.material.token_files import opened, worst_db, write

LITERT, OLD = litert.NAME, tflite_runtime.NAME

pytestmark = pytest.mark.usefixtures("tflite_runtime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whisper")
    save_model("whisper", path)
    return path


@functools.cache
def loaded(folder: Path) -> SpeechModel:
    return load_model(str(folder))


ENTRIES = [
    (LITERT, "embedding", "int2", 100.0),
    (LITERT, "embedding", "int4", 100.0),
    (LITERT, "embedding", "int4-g32", 100.0),
    (LITERT, "embedding", "int8", 100.0),
    (LITERT, "embedding", "fp16", 100.0),
    (LITERT, "embedding", "fp32", 100.0),
    (LITERT, "linear", "int4-a8d", 40.0),
    (LITERT, "linear", "int8-a8d", 40.0),
    (OLD, "embedding", "int8", 100.0),
    (OLD, "embedding", "fp16", 100.0),
    (OLD, "embedding", "fp32", 100.0),
    (OLD, "linear", "int8-a8s", 30.0),
    (OLD, "linear", "int8", 100.0),
]
"""Target, kind of layer, precision, and the least decibels between runtime and reference."""


@pytest.mark.parametrize(("name", "kind", "label", "floor_db"), ENTRIES)
def test_layers_of_both_signatures_compute_what_the_plan_says(
    name, kind, label, floor_db, folder, tmp_path
):
    model, target, spec = loaded(folder), load_target(name), QuantSpec.from_label(label)
    specs = {
        layer: spec if shape.kind == kind and spec in target.menu(shape) else FLOAT32
        for layer, shape in layer_shapes(model).items()
    }
    assert spec in specs.values()
    codes, path = random_codes(model, target, specs), tmp_path / f"a{target.suffix}"
    write(model, name, codes, path)
    assert worst_db(model, opened(model, name, path), codes) > floor_db


@pytest.mark.parametrize("name", [LITERT, OLD])
def test_the_probe_covers_what_an_embedding_is_offered(name, folder):
    (shape,) = (each for each in layer_shapes(loaded(folder)).values() if each.kind == "embedding")
    probed = {label for target, kind, label, _ in ENTRIES if (target, kind) == (name, "embedding")}
    assert {spec.label for spec in load_target(name).menu(shape)} == probed


@pytest.mark.parametrize("label", ["int2", "int4", "int4-g32", "int8"])
def test_the_old_runtime_does_not_look_rows_of_codes_up(label, folder, tmp_path):
    model, spec, path = loaded(folder), QuantSpec.from_label(label), tmp_path / "a.tflite"
    specs = {
        layer: spec if shape.kind == "embedding" else FLOAT32
        for layer, shape in layer_shapes(model).items()
    }
    codes, options = random_codes(model, litert, specs), export_options(model, 2.0)
    version = tflite_runtime.FULLY_CONNECTED_VERSION
    container.write(model, codes, path, options, OLD, litert.menu, version, looks_up_codes=True)
    try:
        decibels = worst_db(model, opened(model, OLD, path), codes)
    except UserError:
        return
    assert decibels < 30


@pytest.mark.parametrize("name", [LITERT, OLD])
def test_bytes_of_two_signatures_are_known_and_no_weight_lies_in_the_file_twice(
    name, folder, tmp_path
):
    model, target = loaded(folder), load_target(name)
    shapes, rests = layer_shapes(model), []
    plans = [random_specs(model, target, seed) for seed in range(3)]
    # Embedding and head hold the same numbers then; each is paid for.
    plans.append(dict.fromkeys(shapes, FLOAT32))
    for specs in plans:
        path = tmp_path / f"a{target.suffix}"
        write(model, name, random_codes(model, target, specs), path)
        layers = sum(target.layer_bytes(shapes[layer], spec) for layer, spec in specs.items())
        rests.append(path.stat().st_size - layers)
        file = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        held = [
            graph.tensors[index].buffer
            for graph in file.subgraphs
            for index in range(len(graph.tensors))
            if graph.tensors[index].name.endswith(b".weight")
        ]
        assert len(held) == len(set(held)) == len(shapes)
    assert max(rests) - min(rests) < 8_000


def test_the_signatures_are_named_as_the_methods_of_other_files_and_decode_comes_first(
    folder, tmp_path
):
    model, path = loaded(folder), tmp_path / "a.litert.tflite"
    write(model, LITERT, {layer: LayerCodes(FLOAT32) for layer in model.layers()}, path)
    file = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    found = {
        each.signatureKey.decode(): (
            each.subgraphIndex,
            [entry.name.decode() for entry in each.inputs],
            [entry.name.decode() for entry in each.outputs],
        )
        for each in file.signatureDefs
    }
    caches, heard, rows = ([f"{name}_{i}" for i in range(4)] for name in ("cache", "heard", "row"))
    decode = (0, ["token", "position", *caches, *heard], ["logits", *rows])
    assert found == {"decode": decode, "encode": (1, ["waveform"], heard)}


@pytest.mark.parametrize("name", [LITERT, OLD])
def test_audio_that_is_not_a_window_is_refused_and_the_next_clip_is_still_right(
    name, folder, tmp_path
):
    model, target = loaded(folder), load_target(name)
    codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
    path = tmp_path / f"a{target.suffix}"
    write(model, name, codes, path)
    runner = opened(model, name, path)
    with pytest.raises(UserError, match="32000"):
        runner.logits(np.zeros(7_777, np.float32))
    if name == LITERT:  # the other's process ends with its first error
        assert worst_db(model, runner, codes) > 100


def test_a_file_without_the_signatures_is_refused_by_name(folder, tmp_path):
    model = loaded(folder)
    path = tmp_path / "a.litert.tflite"
    write(model, LITERT, {layer: LayerCodes(FLOAT32) for layer in model.layers()}, path)
    path.write_bytes(path.read_bytes().replace(b"encode", b"encore"))
    with pytest.raises(UserError, match=r"a\.litert\.tflite can't be loaded by LiteRT"):
        opened(model, LITERT, path)


SOME_IDS = st.lists(st.integers(0, 5), max_size=2)


@given(st.integers(0, 2**32 - 1), st.integers(3, 60), SOME_IDS, SOME_IDS)
def test_the_worker_writes_as_everyone_does(seed, most, suppressed, more_ends):
    """It can't import the rule, so it has its own."""
    how = Autoregression((3, 4), 0, most, tuple(suppressed), (0,), tuple(more_ends))
    lists = (how.prompt, how.suppressed, how.suppressed_first, how.more_ends)
    numbers = [how.end, how.max_tokens, *(n for ids in lists for n in (len(ids), *ids))]
    table = np.random.default_rng(seed).normal(size=(6, 6)).astype(np.float32)
    table[:, 0] -= seed % 3  # does it end, or go round in circles?

    def next_logits(token: int, position: int) -> np.ndarray:
        return table[token] + np.float32(position % (1 + seed % 4))

    expected = greedy_logits(next_logits, how)
    np.testing.assert_array_equal(Greedy(numbers).logits(next_logits), expected)


def test_personalize_export_bench_inspect_and_transcribe_take_a_whisper_for_litert(
    folder, tune_clips, test_clips, tmp_path
):
    run = tmp_path / "out"
    fast = ("--limit", 2, "--runs", 2, "--seconds", 0, "--json")
    for command in (
        ("personalize", folder, tune_clips, "--budget", "1.2MB", "--target", LITERT, "--out", run),
        ("export", run),
        ("bench", run, "--data", test_clips, *fast),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["task"] == "transcription"
    (file,) = (run / "exports").glob("*.litert.tflite")
    _, artifact = load_artifact(file)
    plan = json.loads((run / f"plan.{LITERT}.json").read_text())
    assert file.stat().st_size <= plan["budget_bytes"]
    done = invoke("inspect", file, "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert "EMBEDDING_LOOKUP" in json.dumps(shown)
    assert {"decoder.embed_tokens", "encoder.layers.0.fc1"} <= set(artifact.layers)
    clip = next(path for path in sorted(Path(test_clips).rglob("*.ogg")))
    done = invoke("transcribe", file, clip)
    assert done.exit_code == 0, done.output
