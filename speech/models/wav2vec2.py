"""wav2vec 2.0 and its kin with a CTC head, as transformers implements them.

wav2vec 2.0 (Baevski et al., NeurIPS 2020), HuBERT (Hsu et al., TASLP 2021) and data2vec (Baevski et al., ICML
2022) take the same waveform and differ in normalisation and position embedding, which one path handles.
"""

import math
from typing import Any

from myqasr.core.errors import ModelError
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SpeechModel, min_input_samples
from myqasr.speech.models.pretrained import (
    WaveformToLogits,
    character_tokens,
    feature_extractor,
    fold_weight_norm,
    load_pretrained,
    refused,
)


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit.

    architecture: name of the transformers class.
    """
    return with_processor(load_pretrained(source, model_id, architecture), source, model_id)


def with_processor(model: Any, source: str, model_id: str) -> SpeechModel:
    """Wrap a loaded model with the tokens and feature extractor that lie beside its weights."""
    with refused(model_id, type(model).__name__):
        tokens, normalize = character_tokens(source), feature_extractor(source).do_normalize
    return from_module(model, tokens, normalize, model_id)


def from_module(model: Any, tokens: Tokens, normalize: bool, model_id: str) -> SpeechModel:
    """Wrap a transformers CTC model (float32) that is already in memory; its weight norm is folded."""
    config = model.config
    check_vocabulary(model_id, config.vocab_size, tokens)
    model.eval().requires_grad_(False)
    fold_weight_norm(model)
    return SpeechModel(
        model_id=model_id,
        module=WaveformToLogits(model).eval(),
        layer_prefix="model.",
        tokens=tokens,
        normalize=normalize,
        stride_samples=math.prod(config.conv_stride),
        min_samples=min_input_samples(config.conv_kernel, config.conv_stride),
    )


def check_vocabulary(model_id: str, outputs: int, tokens: Tokens) -> None:
    """Raise UserError when the head and the tokenizer don't fit."""
    if outputs != len(tokens.symbols):
        raise ModelError(
            f"{model_id}: the head has {outputs} outputs but the tokenizer {len(tokens.symbols)} tokens"
        )
