"""wav2vec 2.0 and its kin with a CTC head, as transformers implements them.

wav2vec 2.0 (Baevski et al., NeurIPS 2020), HuBERT (Hsu et al., TASLP 2021) and data2vec (Baevski et al., ICML
2022) take the same waveform and differ in normalisation and position embedding, which one path handles.
"""

import difflib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from myqasr.core.errors import ModelError
from myqasr.core.reading import json_object
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SpeechModel, min_input_samples
from myqasr.speech.models.files.checkpoint import read_file
from myqasr.speech.models.pretrained import (
    WaveformToLogits,
    ctc_tokens,
    feature_extractor,
    fold_weight_norm,
    load_pretrained,
    refused,
)


def load(source: str, model_id: str, architecture: str, language: str | None = None) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit.

    architecture: name of the transformers class. language: one of those of a vocabulary by language (MMS);
    else the one that its tokenizer names.
    """
    target = spoken(source, language, model_id)
    adapter = None if target is None else adapter_of(Path(source), target, model_id)
    model = load_pretrained(source, model_id, architecture, adapter)
    return replace(with_processor(model, source, model_id, target), language=target)


def has_languages(folder: Path) -> bool:
    """Whether the vocabulary is one for each language."""
    path = folder / "vocab.json"
    vocabulary = _json(path) if path.is_file() else {}
    return bool(vocabulary) and all(isinstance(each, dict) for each in vocabulary.values())


def spoken(source: str, language: str | None, model_id: str) -> str | None:
    """The language of a vocabulary that has several; None of one that doesn't.

    Raises ModelError for a language that isn't there, or when none is named.
    """
    path = Path(source) / "vocab.json"
    if not has_languages(path.parent):
        if language is not None:
            raise ModelError(f"{model_id} can't be told a language: its vocabulary has only one")
        return None
    vocabulary = _json(path)
    named = language or _own_language(path.parent)
    if named is None and len(vocabulary) == 1:
        named = next(iter(vocabulary))
    if named not in vocabulary:
        known = sorted(vocabulary)
        near = difflib.get_close_matches(named or "", known, 8, cutoff=0.4)
        known = [*near, *(each for each in known if each not in near)]
        more = f" and {len(known) - 8} more" if len(known) > 8 else ""
        raise ModelError(
            f"{model_id}: its vocabulary is one for each language, and {named or 'none'} isn't among them; "
            f"name one as MODEL?language=CODE: {', '.join(known[:8])}{more}"
        )
    return str(named)


def _json(path: Path) -> dict[str, Any]:
    return json_object(path, "is not JSON of names and values", "fetch it again", ModelError)


def _own_language(folder: Path) -> str | None:
    """The language that the tokenizer's settings name, whose head the weights hold."""
    config = folder / "tokenizer_config.json"
    named = _json(config).get("target_lang") if config.is_file() else None
    return named if isinstance(named, str) else None


def adapter_of(folder: Path, target: str, model_id: str) -> dict[str, Tensor] | None:
    """The weights of one language that lie beside those of the model; None where the model has them itself.

    Raises ModelError when they are damaged, or when the model's own are another language's.
    """
    for suffix in (".safetensors", ".bin"):
        path = folder / f"adapter.{target}{suffix}"
        if path.is_file():
            return read_file(path)
    own = _own_language(folder)
    if own not in (None, target) or (own is None and any(folder.glob("adapter.*.*"))):
        raise ModelError(
            f"{model_id}: no adapter.{target}.safetensors in {folder}, and its own weights are those of "
            f"{own or 'another language'}; put that file of the hub's there"
        )
    return None


def with_processor(
    model: Any, source: str, model_id: str, target_lang: str | None = None
) -> SpeechModel:
    """Wrap a loaded model with the tokens and feature extractor that lie beside its weights."""
    with refused(model_id, type(model).__name__):
        tokens = ctc_tokens(source, model.config, model_id, target_lang)
        normalize = feature_extractor(source).do_normalize
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
