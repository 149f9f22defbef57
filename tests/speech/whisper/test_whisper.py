"""Whisper: two methods in one file, and the loop that writes token by token."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from myqasr.core.errors import UserError
from myqasr.exporters.export import export_options
from myqasr.exporters.manifest import load_artifact
from myqasr.exporters.target import load_target, measured_together
from myqasr.personalize.measuring.sensitivity import ProfileOptions, measure
from myqasr.personalize.planning.plan import FLOAT32
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.runtime_bench.measure.kernels import profile_kernels
from myqasr.runtime_bench.measure.transcription import model_inputs
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.caching import token_steps
from myqasr.speech.decoding import (
    Autoregression,
    Tokens,
    best_tokens,
    greedy_logits,
    greedy_text,
    repeats,
    spelled,
)
from myqasr.speech.models import load_model
from tests.conftest import invoke
from tests.material.model_folders import WHISPER, save_model
from tests.material.tiny_models import noise
from tools.random_whisper import save_whisper

HOW = Autoregression((3, 4), end=0, max_tokens=7, suppressed=(5,), suppressed_first=(0,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whisper")
    save_model("whisper", path)
    return path


def theirs(folder: Path) -> transformers.WhisperForConditionalGeneration:
    return transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()


def test_what_it_thinks_of_every_token_is_what_transformers_computes(folder):
    model, reference = load_model(str(folder)), theirs(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    for samples in (1_300, 20_000, 32_000):
        waveform = 0.1 * noise(samples)[0].numpy()
        mel = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
        audio, ids = model.inputs(waveform)
        prompt = len(model.tokens.autoregression.prompt)
        with torch.inference_mode():
            expected = reference(mel, decoder_input_ids=ids).logits[:, prompt - 1 :]
            found = model.module(audio, ids)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
        # Step by step and all at once are the same computation.
        np.testing.assert_allclose(model.logits(waveform), found[0].numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("language", ["english", "de"])
def test_it_writes_the_text_that_transformers_generates(folder, tmp_path, language):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "language": language}))
    waveform = 0.1 * noise(20_000)[0].numpy()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    mel = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
    ids = theirs(tmp_path).generate(mel, language=language, task="transcribe", num_beams=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = tokenizer.decode(ids[0], skip_special_tokens=True)
    assert expected.strip()
    assert load_model(str(tmp_path)).transcribe(waveform) == " ".join(expected.split())


def test_a_tokenizer_that_is_not_whispers_is_refused_by_the_token_it_lacks(folder, tmp_path):
    for file in folder.iterdir():
        text = file.read_bytes()
        (tmp_path / file.name).write_bytes(text.replace(b"<|transcribe|>", b"<|transcrybe|>"))
    with pytest.raises(UserError, match=r"no token <\|transcribe\|>"):
        load_model(str(tmp_path))


def test_an_extractor_for_another_window_is_refused_instead_of_shifting_positions(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    transformers.WhisperFeatureExtractor(80, chunk_length=3).save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=r"chunk_length for 150 positions, config.json max_source_positions 100"
    ):
        load_model(str(tmp_path))


def test_personalize_export_and_bench_take_a_whisper_and_write_with_two_methods(
    folder, tune_clips, test_clips, tmp_path
):
    run = tmp_path / "out"
    for command in (
        ("personalize", folder, tune_clips, "--budget", "1.3MB", "--out", run),
        ("export", run),
        ("bench", run, "--data", test_clips, "--limit", 2, "--runs", 2, "--seconds", 0, "--json"),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["task"] == "transcription"
    assert len(report["systems"]) == 4
    (file,) = (run / "exports").glob("*.pte")
    manifest, artifact = load_artifact(file)
    assert manifest.tokens.autoregression.prompt
    assert {"decoder.embed_tokens", "decoder.layers.0.encoder_attn.k_proj"} <= set(artifact.layers)
    # Longer than the window: cut, every piece padded to a whole one.
    pieces = model_inputs(noise(70_000)[0].numpy(), exported_file(file).audio)
    assert len(pieces) > 2
    assert {len(piece) for piece in pieces} == {32_000}
    python, cpp = (
        open_system(exported_file(file, runner=name).system, 1)
        for name in ("executorch", "executorch-cpp")
    )
    np.testing.assert_array_equal(cpp.logits(pieces[0]), python.logits(pieces[0]))
    ran = profile_kernels(file, pieces[0], repeats=2)
    assert {one.layer: one.planned for one in ran if one.layer is not None} == artifact.layers
    assert all(one.right for one in ran)
    assert sum(one.layer == "decoder.embed_tokens" for one in ran) == 1


@pytest.mark.usefixtures("tflite_runtime")
@pytest.mark.parametrize("name", ["xnnpack", "executorch", "litert", "tflite-runtime"])
def test_a_file_that_reads_one_token_at_a_time_says_what_all_at_once_gives(folder, tmp_path, name):
    model, target = load_model(str(folder)), load_target(name)
    codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
    path = tmp_path / f"a{target.suffix}"
    target.write(model, codes, path, export_options(model, 2.0))
    how = model.tokens.autoregression
    runner = open_system(System("file", target.runner, str(path), autoregression=how), 1)
    for seed in (0, 1):  # the second finds the first one's caches
        audio, ids = model.inputs(0.1 * noise(20_000, seed=seed)[0].numpy())
        found = runner.logits(audio[0].numpy())
        with torch.inference_mode():
            expected = model.module(audio, ids)[0].numpy()
        assert best_tokens(found, how) == best_tokens(expected, how)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("tflite_runtime")
def test_every_runner_stops_a_model_that_goes_round_in_circles_or_ends_at_the_same_token(tmp_path):
    torch.manual_seed(0)
    save_whisper({**WHISPER, "max_target_positions": 100}, tmp_path)
    model = load_model(str(tmp_path))
    with torch.no_grad():
        model.module.decoder.embed_positions.weight.zero_()  # it can't tell how far it is
    codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
    how, waveform = model.tokens.autoregression, 0.1 * noise(20_000)[0].numpy()
    expected = best_tokens(model.logits(waveform), how)
    assert repeats(expected)
    assert len(expected) < how.max_tokens - len(how.prompt)
    paths = {}
    for name in ("xnnpack", "litert", "tflite-runtime"):
        target = load_target(name)
        paths[target.runner] = tmp_path / f"a{target.suffix}"
        target.write(model, codes, paths[target.runner], export_options(model, 2.0))
    for name, path in {**paths, "executorch-cpp": paths["executorch"]}.items():
        runner = open_system(System("file", name, str(path), autoregression=how), 1)
        found = runner.logits(model.features(waveform)[0].numpy())
        assert best_tokens(found, how) == expected
        other = replace(how, more_ends=(how.prompt[0], expected[2]))
        runner = open_system(System("file", name, str(path), autoregression=other), 1)
        found = runner.logits(model.features(waveform)[0].numpy())
        assert best_tokens(found, how) == expected[: expected.index(expected[2]) + 1]


def test_costs_come_from_the_tokens_it_writes_and_every_layer_has_one(folder):
    model = load_model(str(folder))
    clips = [0.1 * noise(20_000)[0].numpy()]
    measured = measure(
        model,
        clips,
        measured_together().menu,
        measured_together().scale_dtype,
        "clips",
        ProfileOptions(label_draws=4),
    )
    profile = measured.profile
    assert profile.frames == len(model.logits(clips[0]))
    assert {layer.shape.name for layer in profile.layers} == set(model.layers())
    coarse = {
        layer.shape.name: layer.costs["int4"]
        for layer in profile.layers
        if "int4" in layer.costs and not layer.shape.fixed
    }
    assert min(coarse.values()) > 0
    embedding = next(layer for layer in profile.layers if layer.shape.kind == "embedding")
    assert embedding.costs["int8"] < embedding.costs["int4"]


def steps(row_of: dict[int, list[float]]):
    """Logits after a position; of the prompt's but its last token they aren't asked for."""
    return lambda token, position: np.array(row_of.get(position, [0] * 6), dtype=np.float32)


def test_greedy_writing_stops_at_the_end_token_and_leaves_out_what_is_suppressed():
    rows = {
        1: [9, 1, 0, 0, 0, 8],  # the end is suppressed at first, 5 always
        2: [1, 0, 2, 0, 0, 9],
        3: [9, 1, 0, 0, 0, 0],
    }
    logits = greedy_logits(steps(rows), HOW)
    assert best_tokens(logits, HOW) == [1, 2, 0]
    tokens = Tokens(("", "a", "b", "", "", "x"), None, autoregression=HOW)
    assert greedy_text(logits, tokens) == "ab"


def test_every_token_is_read_once_at_its_place_the_prompt_first():
    asked = []

    def next_logits(token, position):
        asked.append((token, position))
        return np.eye(6, dtype=np.float32)[1 + len(asked) % 2]

    logits = greedy_logits(next_logits, HOW)
    assert len(logits) == HOW.max_tokens - len(HOW.prompt)
    assert [position for _, position in asked] == list(range(HOW.max_tokens - 1))
    written = best_tokens(logits, HOW)
    assert [token for token, _ in asked] == [*HOW.prompt, *written[:-1]]


@pytest.mark.parametrize(
    ("group", "most"), [((7,), 24), ((7, 8), 24), ((7, 8, 7, 9, 6), 24), (tuple(range(5, 20)), 60)]
)
def test_a_text_that_goes_round_in_circles_is_stopped_and_not_before(group, most):
    how = Autoregression((3, 4), end=0, max_tokens=400)
    text = [20, 21, 22, *group * 100]
    logits = greedy_logits(lambda token, position: np.eye(30)[text[position - 1]], how)
    assert best_tokens(logits, how) == text[: len(logits)]
    assert len(logits) == 3 + most


def test_speech_that_repeats_itself_is_written_to_its_end():
    sentence = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    for text in ([*sentence * 3, 15], [5] * 23, [5, 6] * 11, [*range(5, 300)]):
        assert not any(repeats(text[:count]) for count in range(len(text) + 1))


@given(st.lists(st.integers(0, 2), max_size=60))
def test_the_rule_for_repetition_is_the_one_that_is_documented(text):
    def repeated(size):
        count = max(4 * size, 24)
        tail = text[-count:]
        return len(tail) == count and all(a == b for a, b in zip(tail[size:], tail, strict=False))

    assert repeats(text) == any(repeated(size) for size in range(1, 16))


def test_what_is_in_a_cache_from_an_earlier_clip_is_not_heard(folder):
    module = load_model(str(folder)).module
    with torch.inference_mode():
        heard = module.encode(0.1 * noise(32_000))
        clean = [torch.zeros(2, 24, 32) for _ in heard]
        used = [torch.full((2, 24, 32), 5.0) for _ in heard]
        token, first = torch.tensor([[3]]), torch.tensor([0])
        for one, other in zip(
            module.decode(token, first, *clean, *heard),
            module.decode(token, first, *used, *heard),
            strict=True,
        ):
            assert torch.equal(one, other)


def test_a_file_of_the_time_before_caches_is_refused_with_the_way_out():
    heard = [torch.zeros(1, 2, 100, 32)]
    with pytest.raises(UserError, match="export the file again"):
        token_steps(lambda *inputs: inputs, heard, 24)


@given(st.text())
def test_text_spelled_in_gpt2s_alphabet_is_read_back(text):
    symbols = "".join(
        piece
        for piece, _ in pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=False
        ).pre_tokenize_str(text)
    )
    assert spelled(symbols) == text


def test_a_prompt_that_fills_all_there_is_room_for_is_refused():
    with pytest.raises(UserError, match="room for one more"):
        Autoregression((1, 2, 3), end=0, max_tokens=3)
