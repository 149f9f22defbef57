"""From a folder or hub id to a transformers model in memory that is whole, float32 and ready to measure."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import AutoFeatureExtractor, AutoTokenizer
from transformers.utils import logging as transformers_logging

from myqasr.core.errors import ModelError
from myqasr.core.reading import json_object, reading
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import need_sample_rate

LAYER_NORM_EPSILON = 1e-5
"""torch's default."""

NOT_NEEDED = ".masked_spec_embed"
"""How the names of weights end that only training uses."""


class WaveformToLogits(nn.Module):
    """The forward pass that is measured and exported: one waveform, no mask, logits only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, vocab]."""
        logits: Tensor = self.model(waveform).logits
        return logits


def load_pretrained(source: str, model_id: str, architecture: str) -> Any:
    """A transformers model, all of whose weights come from its files.

    architecture: name of the transformers class.
    Raises UserError when files are missing or don't fit the class.
    """
    transformers_logging.disable_progress_bar()
    with refused(model_id, architecture):
        model, found = getattr(transformers, architecture).from_pretrained(
            source, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    missing = sorted(key for key in found["missing_keys"] if not key.endswith(NOT_NEEDED))
    if missing:
        raise ModelError(
            f"{model_id}: the weights file has no {missing[0]} ({len(missing)} weights missing); they "
            "would be random: pass a fine-tuned checkpoint, saved whole"
        )
    return model


@contextlib.contextmanager
def refused(model_id: str, architecture: str) -> Iterator[None]:
    """Turn what transformers raises on files that are missing or don't fit into a UserError."""
    what = f"can't be loaded as {architecture}"
    with reading(model_id, what, "fetch it again if its files were whole before", ModelError):
        yield


def feature_extractor(source: str) -> Any:
    """The model's feature extractor; raises UserError when it wants another rate than 16 kHz."""
    extractor = AutoFeatureExtractor.from_pretrained(source)
    need_sample_rate(source, extractor.sampling_rate)
    return extractor


def character_tokens(source: str) -> Tokens:
    """Tokens in id order of a wav2vec 2.0 kind of tokenizer: characters, blank is the padding."""
    vocabulary_file = Path(source) / "vocab.json"
    if vocabulary_file.is_file():
        vocabulary: dict[str, int] = json_object(vocabulary_file, kind=ModelError)
        blank, delimiter = vocabulary.get("<pad>", vocabulary.get("[PAD]", 0)), "|"
    else:
        tokenizer = AutoTokenizer.from_pretrained(source)
        vocabulary = tokenizer.get_vocab()
        blank, delimiter = tokenizer.pad_token_id, tokenizer.word_delimiter_token
    return Tokens(in_id_order(vocabulary, source), blank, delimiter)


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
