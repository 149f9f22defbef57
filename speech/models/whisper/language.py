"""Which language a multilingual Whisper is told to write: asked for, or heard in the recordings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from myqasr.core.errors import ModelError
from myqasr.speech.caching import token_steps
from myqasr.speech.models.base import Source, SpeechModel
from myqasr.speech.models.whisper.network import Whisper
from myqasr.speech.models.whisper.vocabulary import language_code


def detect_language(
    model: SpeechModel, waveforms: Sequence[NDArray[np.float32]]
) -> tuple[str, float]:
    """The language that the recordings together are most probably in, and its mean probability.

    As OpenAI's decoding does for one, of its first 30 s: the start token alone, then the languages' tokens.
    waveforms: [samples], 16 kHz. Raises ModelError for a model without languages.
    """
    module, how = model.module, model.tokens.autoregression
    if not isinstance(module, Whisper) or how is None or not model.languages:
        raise ModelError(f"{model.model_id} knows one language only")
    codes, ids = list(model.languages), list(model.languages.values())
    with torch.inference_mode():
        logits = []
        for waveform in waveforms:
            heard = module.encode(model.features(waveform[: model.max_samples]))
            logits.append(token_steps(module.decode, heard, how.max_tokens)(how.prompt[0], 0)[ids])
    every = torch.from_numpy(np.stack(logits)).log_softmax(1)
    best = int(every.sum(0).argmax())
    return codes[best], float(every[:, best].exp().mean())


def in_language(model: SpeechModel, language: str) -> SpeechModel:
    """The same weights, told to write `language`: a code, or its English name.

    Raises ModelError for a language or a model that doesn't have it.
    """
    how = model.tokens.autoregression
    code = language_code(language, model.model_id)
    if how is None or code not in model.languages:
        raise ModelError(f"{model.model_id} can't be told to write {language}")
    told = replace(how, prompt=(how.prompt[0], model.languages[code], *how.prompt[2:]))
    return replace(
        model,
        model_id=str(replace(Source.parse(model.model_id), language=code)),
        tokens=replace(model.tokens, autoregression=told),
        language=code,
    )
