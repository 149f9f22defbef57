"""Folders of every supported model class, tiny and random, as transformers leaves them."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from myqasr.speech.models.m5 import M5
from tests.material.tiny_models import TOKENS, VOCABULARY
from tools.random_whisper import save_whisper
from tools.training.word_pieces import save_pieces

SIZES = {
    "vocab_size": len(TOKENS.symbols),
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "pad_token_id": 0,
}
WAVEFORM = {
    **SIZES,
    "conv_dim": (32, 32, 64),
    "conv_kernel": (10, 8, 8),
    "conv_stride": (10, 8, 8),
}
POSITIONS = {**WAVEFORM, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
GROUP = {**POSITIONS, "feat_extract_norm": "group"}
LAYER = {**POSITIONS, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
DATA2VEC = {**POSITIONS, "conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 3}
BUCKETS = {"num_buckets": 32, "max_bucket_distance": 40}
CONFORMER = {**POSITIONS, "hidden_act": "swish"}
BERT = {
    **SIZES,
    "output_hidden_size": 64,
    "left_max_position_embeddings": 9,
    "right_max_position_embeddings": 4,
}
ADAPTER = {"add_adapter": True, "num_adapter_layers": 1}
LABELS = {"id2label": {0: "yes", 1: "no", 2: "up"}, "classifier_proj_size": 32}
PARAKEET = {
    "vocab_size": len(TOKENS.symbols),
    "pad_token_id": len(TOKENS.symbols) - 1,
    "encoder_config": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "subsampling_conv_channels": 16,
    },
}

WHISPER = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_source_positions": 100,
    "max_target_positions": 24,
    "num_mel_bins": 80,
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2 base": ("Wav2Vec2ForCTC", GROUP),
    "wav2vec2 large": ("Wav2Vec2ForCTC", LAYER),
    "hubert base": ("HubertForCTC", GROUP),
    "hubert large": ("HubertForCTC", LAYER),
    "data2vec": ("Data2VecAudioForCTC", DATA2VEC),
    "wavlm base": ("WavLMForCTC", {**GROUP, **BUCKETS}),
    "wavlm large": ("WavLMForCTC", {**LAYER, **BUCKETS}),
    "conformer, relative": (
        "Wav2Vec2ConformerForCTC",
        {**CONFORMER, "position_embeddings_type": "relative"},
    ),
    "conformer, rotary": (
        "Wav2Vec2ConformerForCTC",
        {**CONFORMER, "position_embeddings_type": "rotary"},
    ),
    "bert, clipped distances": (
        "Wav2Vec2BertForCTC",
        {**BERT, "position_embeddings_type": "relative_key"},
    ),
    "bert, relative": ("Wav2Vec2BertForCTC", {**BERT, "position_embeddings_type": "relative"}),
    "bert, rotary, adapter": (
        "Wav2Vec2BertForCTC",
        {**BERT, **ADAPTER, "position_embeddings_type": "rotary"},
    ),
    "parakeet": ("ParakeetForCTC", PARAKEET),
    "whisper": ("WhisperForConditionalGeneration", WHISPER),
    "wav2vec2 classifier": ("Wav2Vec2ForSequenceClassification", {**GROUP, **LABELS}),
    "hubert classifier, weighted layers": (
        "HubertForSequenceClassification",
        {**LAYER, **LABELS, "use_weighted_layer_sum": True},
    ),
    "m5": ("M5", {"labels": ["yes", "no", "up"], "channels": 16, "stride": 4}),
}
"""Name -> class and the configuration that makes it what it is."""

WAVEFORM_EXTRACTOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "do_normalize": True,
    "sampling_rate": 16000,
    "feature_size": 1,
    "padding_value": 0.0,
    "return_attention_mask": False,
}


def save_model(case: str, folder: Path) -> Any:
    """Write model, tokenizer and feature extractor of a case; returns the transformers class."""
    architecture, options = CASES[case]
    torch.manual_seed(0)
    if architecture == "M5":
        return save_m5(options, folder)
    if architecture == "WhisperForConditionalGeneration":
        return save_whisper(options, folder)
    model_class = getattr(transformers, architecture)
    model = model_class(model_class.config_class(**options))
    with torch.no_grad():
        for tensor in [*model.parameters(), *norm_statistics(model)]:
            if tensor.dim() == 1:
                tensor.add_(0.1 * torch.rand_like(tensor))
    model.save_pretrained(folder)
    if architecture == "ParakeetForCTC":
        transformers.ParakeetFeatureExtractor().save_pretrained(folder)
        pieces = ["<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz'", "▁a", "▁t", "<pad>"]
        save_pieces(pieces, folder)
        return model_class
    vocabulary = {symbol: index for index, symbol in enumerate(VOCABULARY)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    if architecture == "Wav2Vec2BertForCTC":
        transformers.SeamlessM4TFeatureExtractor().save_pretrained(folder)
    else:
        (folder / "preprocessor_config.json").write_text(json.dumps(WAVEFORM_EXTRACTOR))
    return model_class


def save_m5(options: dict[str, Any], folder: Path) -> type[M5]:
    """A folder with one M5 that has heard something."""
    model = M5(len(options["labels"]), options["channels"], options["stride"])
    for tensor in norm_statistics(model):
        tensor.add_(0.1 * torch.rand_like(tensor))
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architectures": ["M5"], **options}))
    return M5


def norm_statistics(model: nn.Module) -> list[torch.Tensor]:
    """Running means and variances, which would be 0 and 1 in a new model."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    return [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)]
