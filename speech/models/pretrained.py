"""From a folder or hub id to a transformers model in memory that is whole, float32 and ready to measure."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import AutoFeatureExtractor
from transformers.utils import logging as transformers_logging

from myqasr.core.errors import ModelError
from myqasr.core.reading import json_object, reading
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import need_sample_rate
from myqasr.speech.models.files.checkpoint import (
    ONLY_TRAINING,
    check_folder,
    fitted_names,
    read_weights,
    refuse_adapters,
    refuse_other_shapes,
    refuse_unused,
    weight_files,
    weight_shapes,
)
from myqasr.speech.models.writing import check_size, check_text, tokenizer_of, written_by

LAYER_NORM_EPSILON = 1e-5
"""torch's default."""


EXTRACTORS = ("preprocessor_config.json", "processor_config.json")
"""Where transformers keeps a feature extractor: by itself, or with the tokenizer's settings."""


class WaveformToLogits(nn.Module):
    """The forward pass that is measured and exported: one waveform, no mask, logits only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, vocab]."""
        logits: Tensor = self.model(waveform).logits
        return logits


def load_pretrained(
    source: str, model_id: str, architecture: str, more: Mapping[str, Tensor] | None = None
) -> Any:
    """A transformers model, all of whose weights come from its files, and all of which it has a place for.

    architecture: name of the transformers class. more: weights that take the place of those in the files.
    Raises UserError when files are missing or don't fit the class.
    """
    transformers_logging.disable_progress_bar()
    kind = getattr(transformers, architecture)
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager"}
    folder = Path(source)
    with refused(model_id, architecture):
        config = kind.config_class.from_pretrained(source)
        if more is not None and "lm_head.weight" in more:
            config.vocab_size = len(more["lm_head.weight"])
        state = _state(folder, kind, config, more, model_id) if folder.is_dir() else None
        where = source if state is None else None
        with _silent():  # what it says in many lines is checked, and said in one
            model, found = kind.from_pretrained(
                where, config=config, state_dict=state, output_loading_info=True, **options
            )
    missing = sorted(key for key in found["missing_keys"] if not ONLY_TRAINING.search(key))
    if missing:
        raise ModelError(
            f"{model_id}: the weights file has no {missing[0]} ({len(missing)} weights missing); they "
            "would be random: pass a fine-tuned checkpoint, saved whole with model.save_pretrained"
        )
    refuse_unused(found["unexpected_keys"], model_id, architecture)
    told = folder / "generation_config.json"
    if kind.can_generate() and told.is_file():
        # transformers passes over one that it can't read, and over any where weights don't come by file.
        json_object(told, mend="fetch it again", kind=ModelError)
        with refused(model_id, architecture):
            model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return model


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _state(
    folder: Path, kind: Any, config: Any, more: Mapping[str, Tensor] | None, model_id: str
) -> dict[str, Tensor] | None:
    """Weights by the class's own names; None where transformers reads the files as they are."""
    check_folder(folder, config.to_dict(), model_id)
    with torch.device("meta"):
        wanted = {name: tuple(each.shape) for name, each in kind(config).state_dict().items()}
    stored = weight_shapes(folder, model_id)
    refuse_adapters(stored, model_id)
    names = fitted_names(stored, set(wanted))
    kept = {name: shape for name, shape in stored.items() if names[name] not in (more or {})}
    refuse_other_shapes(kept, wanted, names, model_id)
    as_they_are = all(name == own for name, own in names.items())
    if as_they_are and more is None and weight_files(folder, model_id)[0].suffix != ".bin":
        return None
    read = read_weights(folder, model_id)
    return {**{names[name]: tensor for name, tensor in read.items()}, **(more or {})}


@contextlib.contextmanager
def refused(model_id: str, architecture: str) -> Iterator[None]:
    """Turn whatever transformers raises on files that are missing or don't fit into a UserError."""
    what = f"can't be loaded as {architecture}"
    with reading(model_id, what, "fetch it again if its files were whole before", ModelError):
        yield


def feature_extractor(source: str) -> Any:
    """The model's feature extractor; raises UserError when there is none, or it wants another rate."""
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in EXTRACTORS):
        raise ModelError(
            f"{source}: nothing in it says how audio becomes input; put the {EXTRACTORS[0]} there that it "
            "was trained with (processor.save_pretrained writes it)"
        )
    extractor = AutoFeatureExtractor.from_pretrained(source)
    need_sample_rate(source, extractor.sampling_rate)
    return extractor


def ctc_tokens(source: str, config: Any, model_id: str, target_lang: str | None = None) -> Tokens:
    """What each output of a CTC model writes, and which is the blank, as tokenizer and configuration say.

    Raises UserError when there is no tokenizer, when the two disagree, or don't fit the head.
    """
    _need_vocabulary(source, model_id)
    tokenizer = tokenizer_of(source, target_lang)
    outputs: int = config.vocab_size
    check_size(model_id, outputs, len(tokenizer))
    blank = _blank(tokenizer, config, model_id)
    symbols, byte_level, tidied = written_by(tokenizer, outputs, model_id, ctc=True)
    silent = tuple("" if index == blank else symbol for index, symbol in enumerate(symbols))
    tokens = Tokens(silent, blank, None, byte_level, tidied, _language_model(Path(source)))
    if blank == tokenizer.pad_token_id:
        check_text(tokenizer, tokens, model_id)
    return tokens


_VOCABULARIES = ("vocab.json", "tokenizer.json", "tokenizer.model", "vocab.txt", "spm.model")


def _need_vocabulary(source: str, model_id: str) -> None:
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in _VOCABULARIES):
        raise ModelError(
            f"{model_id}: nothing in {folder} says what its outputs write; put the vocab.json or "
            "tokenizer.json there that it was trained with (processor.save_pretrained writes it)"
        )


def _language_model(folder: Path) -> tuple[str, ...]:
    """Of transformers' Wav2Vec2ProcessorWithLM, which decodes with beams and n-grams."""
    return ("the n-grams of language_model/",) if (folder / "language_model").is_dir() else ()


def _blank(tokenizer: Any, config: Any, model_id: str) -> int:
    """The CTC blank: the tokenizer's padding, on which the configuration has to agree."""
    symbol, trained = tokenizer.pad_token, config.pad_token_id
    blank = tokenizer.pad_token_id
    outputs = config.vocab_size
    base = getattr(tokenizer, "encoder", None)
    if symbol is None or blank is None or blank >= outputs or (base and symbol not in base):
        # The tokenizer's own padding is none of the outputs: it was never told which symbol is.
        added = getattr(tokenizer, "added_tokens_encoder", {})
        if not (symbol in added and added[symbol] < outputs and added[symbol] == trained):
            blank = None
    if blank is None and isinstance(trained, int) and 0 <= trained < outputs:
        name = tokenizer.convert_ids_to_tokens(trained)
        if len(name) > 1 or not name.isalnum():
            return trained
    if blank is None:
        raise ModelError(
            f"{model_id}: no token is the CTC blank: the tokenizer's pad_token {symbol!r} isn't one of the "
            f"{outputs} outputs; name it in tokenizer_config.json, and its id as pad_token_id in config.json"
        )
    if isinstance(trained, int) and trained != blank:
        raise ModelError(
            f"{model_id}: config.json says that the CTC blank is id {trained} (pad_token_id), the tokenizer "
            f"that it is {blank} ({symbol!r}); set the one that it was trained with in both"
        )
    return int(blank)


def in_id_order(vocabulary: dict[str, int], source: str) -> tuple[str, ...]:
    """Symbols of a vocabulary by id; raises UserError when an id has no symbol."""
    if not all(type(index) is int for index in vocabulary.values()):
        raise ModelError(f"{source}: its tokens' ids aren't all whole numbers")
    by_id = {index: symbol for symbol, index in vocabulary.items()}
    if sorted(by_id) != list(range(len(by_id))):
        raise ModelError(f"{source}: token ids have gaps")
    return tuple(by_id[index] for index in range(len(by_id)))


def fold_weight_norm(model: nn.Module) -> None:
    """Replace every weight-norm parametrisation by the plain weight that it stands for.

    The norms are summed exactly: torch's own sums depend on the number of threads, and a weight that
    changes in its last bit between two commands would count as another model.
    """
    for module in model.modules():
        if not parametrize.is_parametrized(module):
            continue
        for name, chain in list(module.parametrizations.items()):  # type: ignore[operator, union-attr]
            magnitude, direction, dim = chain.original0, chain.original1, chain[0].dim
            slices = direction.detach().double().square().movedim(dim, 0).flatten(1)
            norms = torch.tensor(
                [math.fsum(row.tolist()) for row in slices], dtype=torch.float64
            ).sqrt()
            shape = [-1 if axis == dim else 1 for axis in range(direction.dim())]
            weight = direction.detach().double() * (magnitude.detach().double() / norms.view(shape))
            parametrize.remove_parametrizations(module, name)
            getattr(module, name).data = weight.float()


def fold_batch_norm(convolution: nn.Conv1d, norm: nn.BatchNorm1d) -> None:
    """Give `convolution` the scale and shift that `norm` applies to its output; `norm` is then not needed.

    In float64, rounded once. Raises UserError when the norm keeps no running statistics.
    """
    gain, shift = batch_norm_terms(norm)
    before = convolution.bias.double() if convolution.bias is not None else 0.0
    weight = convolution.weight.double() * gain[:, None, None]
    convolution.weight.data = weight.float()
    convolution.bias = nn.Parameter((before * gain + shift).float(), requires_grad=False)


def batch_norm_terms(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift [channels] that a batch norm applies in evaluation, float64.

    Raises UserError when it keeps no running statistics.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ModelError("a batch norm without running statistics can't be exported")
    gain = (variance.double() + norm.eps).rsqrt()
    shift = -mean.double() * gain
    if norm.affine:
        gain, shift = gain * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    return gain, shift


def plain_layer_norm(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Zero mean and unit variance over `axes`, whatever their lengths: layer norm without weights."""
    centred = x - x.mean(dim=axes, keepdim=True)
    variance = (centred * centred).mean(dim=axes, keepdim=True)
    return centred * torch.rsqrt(variance + LAYER_NORM_EPSILON)
