"""A Whisper that is asked to listen to fewer seconds at a time."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from myqasr.core.errors import UserError
from myqasr.exporters.export import export_options
from myqasr.exporters.target import load_target
from myqasr.personalize.planning.plan import FLOAT32
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SAMPLE_RATE
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise, tiny_ctc


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whisper")
    save_model("whisper", path)
    return path


def test_a_shorter_window_hears_what_transformers_hears_with_as_few_positions(folder):
    model, reference = (
        load_model(f"{folder}?window=1"),
        transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval(),
    )
    assert (model.min_samples, model.max_samples) == (16_000, 16_000)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    places = reference.model.encoder.embed_positions
    places.weight = torch.nn.Parameter(places.weight[:50])
    places.num_embeddings = 50
    reference.config.max_source_positions = reference.model.encoder.config.max_source_positions = 50
    waveform = 0.1 * noise(12_000)[0].numpy()
    mel = torch.from_numpy(
        extractor(np.pad(waveform, (0, 4_000)), sampling_rate=16_000).input_features[0]
    )[None, :, :100]
    audio, ids = model.inputs(waveform)
    assert audio.shape == (1, 16_000)
    prompt = len(model.tokens.autoregression.prompt)
    with torch.inference_mode():
        expected = reference(mel, decoder_input_ids=ids).logits[:, prompt - 1 :]
    # The extractor's last frames reach over the end of the second into the padding; ours are reflected.
    torch.testing.assert_close(model.module(audio, ids), expected, rtol=1e-2, atol=1e-3)


def test_looking_into_a_window_less_padded_is_looking_into_a_shorter_window(folder):
    whole, cut = load_model(str(folder)), load_model(f"{folder}?window=1")
    waveform = 0.1 * noise(12_000)[0].numpy()
    audio, ids = cut.inputs(waveform)
    with torch.inference_mode():
        torch.testing.assert_close(whole.module(audio, ids), cut.module(audio, ids))


@pytest.mark.parametrize(
    ("seconds", "window"), [(1.0, 10), (8.0, 10), (8.1, 11), (20.0, 22), (27.9, 30), (30.0, 30)]
)
def test_what_is_left_of_the_padding_ends_well_after_the_clip(seconds, window):
    model = replace(tiny_ctc(0), max_samples=30 * SAMPLE_RATE, block_samples=SAMPLE_RATE)
    features = torch.zeros(1, 30 * SAMPLE_RATE)
    assert model.unpadded(features, round(seconds * SAMPLE_RATE)).shape == (1, window * SAMPLE_RATE)
    assert replace(model, block_samples=None).unpadded(features, 16_000) is features


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("window=3", "a window is 1 to 2 s long, not 3"),
        ("window=0.5", "a window is 1 to 2 s long, not 0.5"),
        ("window=nan", "seconds of audio"),
        ("window=short", "seconds of audio"),
        ("windows=1", "can't read 'windows=1'"),
        ("window=1&", "can't read ''"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_what_can(folder, asked, reason):
    with pytest.raises(UserError, match=re.escape(reason)):
        load_model(f"{folder}?{asked}")


def test_a_model_without_a_window_says_so():
    with pytest.raises(UserError, match=r"default has no window.*--max-seconds"):
        load_model("default?window=10")


def test_window_and_language_are_part_of_the_models_name(folder):
    assert load_model(f"{folder}?window=1&language=de").model_id == f"{folder}?language=de&window=1"


def test_a_file_with_a_short_window_cuts_long_clips_and_writes_what_its_model_writes(
    folder, tmp_path
):
    model, target = load_model(f"{folder}?window=1"), load_target("xnnpack")
    path = tmp_path / "a.pte"
    codes = {layer: LayerCodes(FLOAT32) for layer in model.layers()}
    target.write(model, codes, path, export_options(model, 15.0))
    system = System("", "executorch", str(path), autoregression=model.tokens.autoregression)
    runner = open_system(system, 1)
    waveform = 0.1 * noise(14_000)[0].numpy()
    features = model.features(waveform)[0].numpy()
    np.testing.assert_allclose(
        runner.logits(features), model.logits(waveform), rtol=1e-3, atol=1e-3
    )
