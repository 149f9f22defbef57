"""Every model class that users bring goes from its folder to a file that computes the same."""

import json

import pytest
import torch
import transformers

from myqasr.core.errors import UserError
from myqasr.speech.models import ARCHITECTURES, load_model
from myqasr.speech.models.m5 import M5
from tests.material.model_folders import CASES, save_model
from tests.material.round_trips import LONGEST, SHORTEST, assert_its_file_computes_the_plan
from tests.material.tiny_models import noise

OTHERWISE_COMPARED = ("M5", "WhisperForConditionalGeneration")


def test_every_supported_class_is_tried():
    elsewhere = {"EncoderASR"}  # test_speechbrain.py
    tried = {architecture for architecture, _ in CASES.values()}
    assert tried | elsewhere == set(ARCHITECTURES)


@pytest.mark.parametrize(
    "case", [case for case, (name, _) in CASES.items() if name not in OTHERWISE_COMPARED]
)
def test_a_model_loaded_from_its_folder_computes_what_transformers_computes(case, tmp_path):
    theirs = save_model(case, tmp_path).from_pretrained(tmp_path).float().eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    ours = load_model(str(tmp_path))
    # transformers lets a masked half frame at the end leak into an adapter; an even number has none.
    for samples in (1_300, 7_600 if "adapter" in case else 7_777, 16_000):
        waveform = 0.1 * noise(samples)[0].numpy()
        inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            expected = theirs(**inputs).logits
            if expected.dim() == 2:  # a classifier's
                expected = expected[:, None]
            frames = expected.shape[1]
            if "attention_mask" in inputs:
                # Masked frames at the end are not part of the answer.
                frames = ours.logits(waveform).shape[0]
                assert 0 <= expected.shape[1] - frames <= 1
            found = torch.from_numpy(ours.logits(waveform))
        torch.testing.assert_close(found, expected[0, :frames], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("target_name", ["xnnpack", "executorch"])
@pytest.mark.parametrize("case", CASES)
def test_its_file_holds_the_plan_and_computes_it_at_every_length(case, target_name, tmp_path):
    save_model(case, tmp_path)
    model = load_model(str(tmp_path))
    assert_its_file_computes_the_plan(model, target_name, tmp_path, (SHORTEST, 7_777, LONGEST))


def test_weights_that_a_class_needs_but_the_file_lacks_are_not_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    save_model("hubert base", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"no lm_head\.weight"):
        load_model(str(tmp_path))


def test_an_m5_with_folded_norms_tells_the_labels_that_the_trained_one_tells(tmp_path):
    from safetensors.torch import load_file

    save_model("m5", tmp_path)
    ours, theirs = load_model(str(tmp_path)), M5(3, 16, 4).eval()
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"))
    for samples in (ours.min_samples, 7_777):
        with torch.inference_mode():
            hidden = noise(samples)[:, None]
            for block in "1234":
                hidden = theirs.get_submodule(f"bn{block}")(
                    theirs.get_submodule(f"conv{block}")(hidden)
                )
                hidden = torch.nn.functional.max_pool1d(hidden.relu(), 4)
            expected = theirs.fc1(hidden.mean(2))[:, None]
            torch.testing.assert_close(ours.module(noise(samples)), expected)
    assert ours.transcribe(noise(7_777)[0].numpy()) in ("yes", "no", "up")


def test_an_m5_for_another_rate_is_refused_instead_of_hearing_everything_an_octave_off(tmp_path):
    save_model("m5", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "sample_rate": 8000}))
    with pytest.raises(UserError, match="8000 Hz"):
        load_model(str(tmp_path))
