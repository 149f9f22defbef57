"""Whisper from whatever holds it: a transformers folder or hub id, CTranslate2's folders, OpenAI's `.pt`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from myqasr.core.errors import ModelError
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SAMPLE_RATE, Source, SpeechModel, need_sample_rate
from myqasr.speech.models.pretrained import EXTRACTORS, load_pretrained, refused
from myqasr.speech.models.whisper import ctranslate2, openai_pt
from myqasr.speech.models.whisper.evening import even
from myqasr.speech.models.whisper.network import Whisper
from myqasr.speech.models.whisper.start import (
    Writing,
    autoregression,
    existing,
    is_multilingual,
    writing_of,
)
from myqasr.speech.models.whisper.vocabulary import (
    ENGLISH,
    LANGUAGES,
    READERS,
    Vocabulary,
    asked,
    language_code,
    listed,
    vocabulary_file,
)

LEAST_WINDOW = 1
"""Seconds."""


def load(name: str, architecture: str, origin: Source) -> SpeechModel:
    """Load from a local folder or hub id as transformers saves it.

    origin: also the language that is spoken, for multilingual models; else it is the one that
    generation_config.json names. Raises ModelError when files are missing or don't fit.
    """
    source, model_id = name, str(origin)
    model = load_pretrained(source, model_id, architecture)
    with refused(model_id, architecture):
        vocabulary = _vocabulary(source, model.config.vocab_size, model_id)
        extractor = _extractor(source, model.config)
    writing = writing_of(model.config, model.generation_config, vocabulary, model_id)
    return from_parts(model, vocabulary, extractor, writing, origin)


def load_ctranslate2(parts: Sequence[Path], folder: Path, origin: Source) -> SpeechModel:
    """Load a `model.bin`, which may lie in parts, with the files beside it in `folder`. Errors as `load`."""
    name, model_id = str(folder), str(origin)
    variables = ctranslate2.read_variables(parts)
    model = _network(
        ctranslate2.state_dict(variables, name), ctranslate2.heads(variables, name), model_id
    )
    outputs = model.config.vocab_size
    vocabulary = _listed(vocabulary_file(folder), folder, outputs, model_id)
    lists = ctranslate2.suppressed(folder) or (None, None)
    never, first = (existing(ids, outputs) for ids in lists)
    writing = Writing(is_multilingual(vocabulary), None, never, first)
    extractor = _extractor(name, model.config)
    return from_parts(model, vocabulary, extractor, writing, origin)


def load_openai(path: Path, origin: Source) -> SpeechModel:
    """Load a `.pt`; its tokens are listed beside it or by openai-whisper. Errors as `load`."""
    model_id = str(origin)
    sizes, state = openai_pt.read_checkpoint(path)
    model = _network(state, int(sizes["n_text_head"]), model_id)
    outputs = model.config.vocab_size
    multilingual = outputs != ENGLISH
    file = vocabulary_file(path.parent) or openai_pt.listed_tokens(multilingual)
    vocabulary = _listed(file, path.parent, outputs, model_id)
    extractor = _extractor(str(path.parent), model.config)
    return from_parts(model, vocabulary, extractor, Writing(multilingual), origin)


def from_parts(
    model: Any,
    vocabulary: Vocabulary,
    extractor: Any,
    writing: Writing,
    origin: Source,
) -> SpeechModel:
    """Put a transformers Whisper, what its tokens write and its feature extractor together."""
    model_id, language = str(origin), origin.language
    model.eval().requires_grad_(False)
    _check_extractor(model.config, extractor, model_id)
    samples, stride = extractor.n_samples, 2 * extractor.hop_length
    if origin.window is not None:
        samples = cut_window(model, origin.window, samples, stride, model_id)
    most = min(writing.max_tokens, model.config.max_target_positions)
    writing = replace(writing, max_tokens=most)
    how = autoregression(vocabulary, writing, model_id, language)
    named = (language or writing.language) if writing.multilingual else None
    symbols = list(vocabulary.written)
    if writing.ends_silently:
        symbols[how.end] = ""
    module = Whisper(model, extractor, len(how.prompt)).eval()
    even(module, with_table=origin.table is None)
    return SpeechModel(
        model_id=model_id,
        module=module,
        layer_prefix="",
        tokens=Tokens(tuple(symbols), None, how, vocabulary.byte_level, unheeded=writing.unheeded),
        normalize=False,
        stride_samples=stride,
        min_samples=samples,
        max_samples=samples,
        block_samples=SAMPLE_RATE,
        languages=_languages(vocabulary) if writing.multilingual else {},
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


def _check_extractor(config: Any, extractor: Any, model_id: str) -> None:
    """Raise ModelError unless what the feature extractor makes is what the encoder takes."""
    need_sample_rate(model_id, extractor.sampling_rate)
    frames = extractor.n_samples // extractor.hop_length // 2
    for said, made, wanted, named in (
        ("feature_size", extractor.feature_size, config.num_mel_bins, "num_mel_bins"),
        ("chunk_length", frames, config.max_source_positions, "max_source_positions"),
    ):
        if made != wanted:
            what = (
                f"{said} {made}"
                if made == extractor.feature_size
                else f"{said} for {made} positions"
            )
            raise ModelError(
                f"{model_id}: preprocessor_config.json has {what}, config.json {named} {wanted}; copy the "
                "preprocessor_config.json of the model that it was trained from"
            )


def _languages(vocabulary: Vocabulary) -> dict[str, int]:
    found = {code: vocabulary.id_of(code) for code in LANGUAGES}
    return {code: index for code, index in found.items() if index is not None}


def _vocabulary(source: str, outputs: int, model_id: str) -> Vocabulary:
    """Asked of transformers' tokenizer; read from a file that lists it where there is only that."""
    folder = Path(source)
    whole = (folder / "tokenizer.json").is_file() or (folder / "merges.txt").is_file()
    if folder.is_dir() and not whole:
        return _listed(vocabulary_file(folder), folder, outputs, model_id)
    return asked(source, outputs, model_id)


def _listed(path: Path | None, folder: Path, outputs: int, model_id: str) -> Vocabulary:
    if path is None:
        raise ModelError(
            f"{model_id}: nothing in {folder} lists its tokens; put the model's own "
            f"{', '.join(READERS)} there (one of them)"
        )
    return listed(path, outputs, model_id)


def _extractor(source: str, config: Any) -> Any:
    """The feature extractor that lies in a folder; Whisper's own where none does."""
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in EXTRACTORS):
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
