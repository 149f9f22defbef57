"""Every model class that users bring goes from its folder to a file that computes the same."""

import pytest
import torch
import transformers

from exporters.audit import compare
from exporters.target import ExportOptions, load_target
from personalize.reference import build_reference
from runtime_bench.runners.base import System, open_system
from speech.errors import UserError
from speech.models import ARCHITECTURES, load_model
from tests.test_exporters import snr_db
from tests.tiny_models import TOKENS, noise, random_codes, random_specs

DIMENSIONS = {
    "vocab_size": len(TOKENS.symbols),
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "conv_dim": (32, 32, 64),
    "conv_kernel": (10, 8, 8),
    "conv_stride": (10, 8, 8),
    "pad_token_id": 0,
}
POSITIONS = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
BUCKETS = {"num_buckets": 32, "max_bucket_distance": 40}
CASES = {
    "wav2vec2 base": ("Wav2Vec2ForCTC", {**POSITIONS, "feat_extract_norm": "group"}),
    "wav2vec2 large": (
        "Wav2Vec2ForCTC",
        {**POSITIONS, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
    ),
    "hubert base": ("HubertForCTC", {**POSITIONS, "feat_extract_norm": "group"}),
    "hubert large": (
        "HubertForCTC",
        {**POSITIONS, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
    ),
    "data2vec": (
        "Data2VecAudioForCTC",
        {
            "conv_pos_kernel_size": 5,
            "num_conv_pos_embeddings": 3,
            "num_conv_pos_embedding_groups": 4,
        },
    ),
    "wavlm base": ("WavLMForCTC", {**POSITIONS, **BUCKETS, "feat_extract_norm": "group"}),
    "wavlm large": (
        "WavLMForCTC",
        {**POSITIONS, **BUCKETS, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
    ),
    "conformer, relative": (
        "Wav2Vec2ConformerForCTC",
        {**POSITIONS, "position_embeddings_type": "relative", "hidden_act": "swish"},
    ),
    "conformer, rotary": (
        "Wav2Vec2ConformerForCTC",
        {**POSITIONS, "position_embeddings_type": "rotary", "hidden_act": "swish"},
    ),
}
"""Name -> class and the part of its configuration that makes it what it is."""

MIXED_PLAN_DB = 30
"""fp16 layers, which the CPU sums as it likes, flip roundings of the integer layers after them."""

OPTIONS = ExportOptions(1_300, 32_000)


def save_model(case, folder, tiny_model):
    """A folder as `save_pretrained` and a processor leave it."""
    architecture, options = CASES[case]
    torch.manual_seed(0)
    model_class = getattr(transformers, architecture)
    model_class(model_class.config_class(**DIMENSIONS, **options)).save_pretrained(folder)
    for name in ("vocab.json", "preprocessor_config.json"):
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    return model_class


def test_every_supported_class_is_tried():
    assert {architecture for architecture, _ in CASES.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("case", CASES)
def test_a_model_loaded_from_its_folder_computes_what_transformers_computes(
    case, tiny_model, tmp_path
):
    theirs = save_model(case, tmp_path, tiny_model).from_pretrained(tmp_path).float().eval()
    ours = load_model(str(tmp_path))
    for samples in (1_300, 7_777, 16_000):
        with torch.inference_mode():
            expected = theirs(noise(samples)).logits
            torch.testing.assert_close(ours.module(noise(samples)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target_name", ["xnnpack", "executorch"])
@pytest.mark.parametrize("case", CASES)
def test_its_file_holds_the_plan_and_computes_it_at_every_length(
    case, target_name, tiny_model, tmp_path
):
    save_model(case, tmp_path, tiny_model)
    model, target = load_model(str(tmp_path)), load_target(target_name)
    codes = random_codes(model, target, random_specs(model, target, seed=1))
    path = tmp_path / f"file{target.SUFFIX}"
    order = target.write(model, codes, path, OPTIONS)
    assert compare(target.read(path), codes, order, model) == []
    runner = open_system(System("file", "executorch", str(path)), threads=1)
    reference = build_reference(model, codes)
    for samples in (1_300, 7_777, 32_000):
        with torch.inference_mode():
            expected = reference.module(noise(samples))[0].numpy()
        assert snr_db(expected, runner.logits(noise(samples)[0].numpy())) > MIXED_PLAN_DB


def test_weights_that_a_class_needs_but_the_file_lacks_are_not_made_up(tiny_model, tmp_path):
    from safetensors.torch import load_file, save_file

    save_model("hubert base", tmp_path, tiny_model)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"no lm_head\.weight"):
        load_model(str(tmp_path))
