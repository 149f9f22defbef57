"""Whisper from whatever holds it: a transformers folder or hub id, CTranslate2's folders, OpenAI's `.pt`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from myqasr.core.errors import ModelError
from myqasr.speech.decoding import Autoregression, Tokens
from myqasr.speech.models.base import SAMPLE_RATE, Source, SpeechModel, need_sample_rate
from myqasr.speech.models.pretrained import in_id_order, load_pretrained, refused
from myqasr.speech.models.whisper import ctranslate2, openai_pt
from myqasr.speech.models.whisper.network import Whisper
from myqasr.speech.models.whisper.vocabulary import (
    ENGLISH,
    LANGUAGES,
    READERS,
    complete,
    language_code,
    not_speech,
    read_symbols,
    vocabulary_file,
)

LANGUAGE = "en"
MAX_TOKENS = 448
LEAST_WINDOW = 1
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How a checkpoint wants its text written. None where its files don't say.

    language: that it is told to write. suppressed, suppressed_first: ids never written, and not at first.
    """

    multilingual: bool
    language: str | None = None
    suppressed: tuple[int, ...] | None = None
    suppressed_first: tuple[int, ...] | None = None
    max_tokens: int = MAX_TOKENS


def load(name: str, architecture: str, asked: Source) -> SpeechModel:
    """Load from a local folder or hub id as transformers saves it.

    asked: also the language that is spoken, for multilingual models; else it is the one that
    generation_config.json names. Raises ModelError when files are missing or don't fit.
    """
    source, model_id = name, str(asked)
    model = load_pretrained(source, model_id, architecture)
    with refused(model_id, architecture):
        symbols = _symbols(source, model.config.vocab_size, model_id)
        extractor = _extractor(source, model.config)
    return from_parts(model, symbols, extractor, _writing(model), asked)


def load_ctranslate2(parts: Sequence[Path], folder: Path, asked: Source) -> SpeechModel:
    """Load a `model.bin`, which may lie in parts, with the files beside it in `folder`. Errors as `load`."""
    name, model_id = str(folder), str(asked)
    variables = ctranslate2.read_variables(parts)
    model = _network(
        ctranslate2.state_dict(variables, name), ctranslate2.heads(variables, name), model_id
    )
    symbols = _listed_symbols(vocabulary_file(folder), folder, model.config.vocab_size, model_id)
    never = ctranslate2.suppressed(folder)
    writing = Writing(len(symbols) != ENGLISH, None, *(never or (None, None)))
    extractor = _extractor(name, model.config)
    return from_parts(model, symbols, extractor, writing, asked)


def load_openai(path: Path, asked: Source) -> SpeechModel:
    """Load a `.pt`; its tokens are listed beside it or by openai-whisper. Errors as `load`."""
    model_id = str(asked)
    sizes, state = openai_pt.read_checkpoint(path)
    model = _network(state, int(sizes["n_text_head"]), model_id)
    outputs = model.config.vocab_size
    multilingual = outputs != ENGLISH
    listed = vocabulary_file(path.parent) or openai_pt.listed_tokens(multilingual)
    symbols = _listed_symbols(listed, path.parent, outputs, model_id)
    extractor = _extractor(str(path.parent), model.config)
    return from_parts(model, symbols, extractor, Writing(multilingual), asked)


def from_parts(
    model: Any,
    symbols: tuple[str, ...],
    extractor: Any,
    writing: Writing,
    asked: Source,
) -> SpeechModel:
    """Put a transformers Whisper, the text of its tokens and its feature extractor together."""
    model_id, language = str(asked), asked.language
    model.eval().requires_grad_(False)
    need_sample_rate(model_id, extractor.sampling_rate)
    samples, stride = extractor.n_samples, 2 * extractor.hop_length
    frames = samples // stride
    if frames != model.config.max_source_positions:
        raise ModelError(
            f"{model_id}: the feature extractor gives {frames} positions, the encoder wants "
            f"{model.config.max_source_positions}"
        )
    if asked.window is not None:
        samples = cut_window(model, asked.window, samples, stride, model_id)
    most = min(writing.max_tokens, model.config.max_target_positions)
    how = autoregression(symbols, replace(writing, max_tokens=most), model_id, language)
    named = (language or writing.language) if writing.multilingual else None
    return SpeechModel(
        model_id=model_id,
        module=Whisper(model, extractor, len(how.prompt)).eval(),
        layer_prefix="",
        tokens=Tokens(symbols, None, autoregression=how, byte_level=True),
        normalize=False,
        stride_samples=stride,
        min_samples=samples,
        max_samples=samples,
        languages=_languages(symbols) if writing.multilingual else (),
        language=named and language_code(named, model_id),
    )


def cut_window(model: Any, seconds: float, samples: int, stride: int, model_id: str) -> int:
    """Give a transformers Whisper positions for the first seconds only; samples of the new window.

    Raises ModelError for a window that is longer than the model's own, or shorter than a word.
    """
    window = round(seconds * SAMPLE_RATE) // stride * stride
    if not LEAST_WINDOW * SAMPLE_RATE <= window <= samples:
        raise ModelError(
            f"{model_id}: a window is {LEAST_WINDOW} to {samples / SAMPLE_RATE:g} s long, not {seconds:g}"
        )
    places = model.model.encoder.embed_positions
    places.weight = nn.Parameter(places.weight[: window // stride].clone(), requires_grad=False)
    return window


def autoregression(
    symbols: tuple[str, ...], writing: Writing, model_id: str, language: str | None
) -> Autoregression:
    """Prompt for a transcript without timestamps, and the tokens that generation leaves out.

    Raises ModelError naming the token that the tokenizer doesn't have.
    """
    ids = {symbol: index for index, symbol in enumerate(symbols)}

    def token(name: str) -> int:
        if f"<|{name}|>" not in ids:
            raise ModelError(
                f"{model_id}: the tokenizer has no token <|{name}|>; pass a folder with Whisper's own"
            )
        return ids[f"<|{name}|>"]

    prompt = [token("startoftranscript")]
    if writing.multilingual:
        spoken = language_code(language or writing.language or LANGUAGE, model_id)
        prompt += [token(spoken), token("transcribe")]
    elif language is not None and language_code(language, model_id) != LANGUAGE:
        raise ModelError(
            f"{model_id} hears English only; use a multilingual Whisper for {language}"
        )
    prompt.append(token("notimestamps"))
    end = token("endoftext")
    never, first = writing.suppressed, writing.suppressed_first
    return Autoregression(
        prompt=tuple(prompt),
        end=end,
        max_tokens=writing.max_tokens,
        suppressed=not_speech(symbols) if never is None else never,
        suppressed_first=(ids["Ġ"], end) if first is None else first,
    )


def _languages(symbols: tuple[str, ...]) -> tuple[str, ...]:
    listed = set(symbols)
    return tuple(code for code in LANGUAGES if f"<|{code}|>" in listed)


def _writing(model: Any) -> Writing:
    """As generation_config.json, or an older config.json, says."""
    config, generation = model.config, model.generation_config
    forced = dict(getattr(generation, "forced_decoder_ids", None) or ())
    codes = {index: code for code, index in (getattr(generation, "lang_to_id", None) or {}).items()}
    return Writing(
        multilingual=getattr(generation, "is_multilingual", config.vocab_size != ENGLISH),
        language=getattr(generation, "language", None) or codes.get(forced.get(1)),
        suppressed=_ids(generation.suppress_tokens),
        suppressed_first=_ids(generation.begin_suppress_tokens),
        max_tokens=generation.max_length or MAX_TOKENS,
    )


def _ids(listed: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if listed is None else tuple(listed)


def _symbols(source: str, outputs: int, model_id: str) -> tuple[str, ...]:
    folder = Path(source)
    if folder.is_dir():
        return _listed_symbols(vocabulary_file(folder), folder, outputs, model_id)
    vocabulary = transformers.AutoTokenizer.from_pretrained(source).get_vocab()
    found = dict(enumerate(in_id_order(vocabulary, source)))
    return complete(found, outputs, model_id)


def _listed_symbols(
    path: Path | None, folder: Path, outputs: int, model_id: str
) -> tuple[str, ...]:
    if path is None:
        raise ModelError(
            f"{model_id}: nothing in {folder} lists its tokens; put the model's own "
            f"{', '.join(READERS)} there (one of them)"
        )
    return read_symbols(path, outputs, model_id)


def _extractor(source: str, config: Any) -> Any:
    """The feature extractor that lies in a folder; Whisper's own where none does."""
    if Path(source).is_dir() and not (Path(source) / "preprocessor_config.json").is_file():
        return transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    return transformers.AutoFeatureExtractor.from_pretrained(source)


def _network(state: dict[str, Tensor], heads: int, model_id: str) -> Any:
    """A transformers model of these weights, its sizes read off them; raises ModelError if some lack."""
    try:
        embedding, convolution = (
            state["model.decoder.embed_tokens.weight"],
            state["model.encoder.conv1.weight"],
        )
        inner = state["model.encoder.layers.0.fc1.weight"]
        config = transformers.WhisperConfig(
            vocab_size=embedding.shape[0],
            pad_token_id=None,  # the one by default lies outside small vocabularies
            d_model=embedding.shape[1],
            num_mel_bins=convolution.shape[1],
            encoder_layers=_layers(state, "encoder"),
            decoder_layers=_layers(state, "decoder"),
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=inner.shape[0],
            decoder_ffn_dim=inner.shape[0],
            max_source_positions=len(state["model.encoder.embed_positions.weight"]),
            max_target_positions=len(state["model.decoder.embed_positions.weight"]),
        )
    except KeyError as error:
        raise ModelError(f"{model_id} has no {error.args[0]}") from error
    with torch.device("meta"):
        model = transformers.WhisperForConditionalGeneration(config)
    try:
        model.load_state_dict({**state, "proj_out.weight": embedding}, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{model_id} isn't a whole Whisper: {reason}") from error
    model.tie_weights()
    return model


def _layers(state: dict[str, Tensor], half: str) -> int:
    prefix = f"model.{half}.layers."
    return len({key.split(".")[3] for key in state if key.startswith(prefix)})
