"""wav2vec 2.0 and its kin with a CTC head, as transformers implements them.

wav2vec 2.0 (Baevski et al., NeurIPS 2020), HuBERT (Hsu et al., TASLP 2021) and data2vec (Baevski et al., ICML
2022) take the same waveform and differ in normalisation and position embedding, which one path handles.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import AutoFeatureExtractor, AutoTokenizer
from transformers.utils import logging as transformers_logging

from speech.decoding import Tokens
from speech.errors import UserError
from speech.models.base import SAMPLE_RATE, SpeechModel, min_input_samples

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


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit.

    architecture: name of the transformers class.
    """
    transformers_logging.disable_progress_bar()
    try:
        model, found = getattr(transformers, architecture).from_pretrained(
            source, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        tokens, normalize = _processor(source)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{model_id} can't be loaded as {architecture}: {reason}") from error
    missing = sorted(key for key in found["missing_keys"] if not key.endswith(NOT_NEEDED))
    if missing:
        raise UserError(
            f"{model_id}: the weights file has no {missing[0]} ({len(missing)} weights missing); they "
            "would be random: pass a fine-tuned CTC checkpoint, saved whole"
        )
    return from_module(model, tokens, normalize, model_id)


def from_module(model: Any, tokens: Tokens, normalize: bool, model_id: str) -> SpeechModel:
    """Wrap a transformers CTC model (float32) that is already in memory; its weight norm is folded."""
    config = model.config
    if config.vocab_size != len(tokens.symbols):
        raise UserError(
            f"{model_id}: the head has {config.vocab_size} outputs but the tokenizer "
            f"{len(tokens.symbols)} tokens"
        )
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


def _processor(source: str) -> tuple[Tokens, bool]:
    """Tokens in id order, and whether the waveform is normalised."""
    extractor = AutoFeatureExtractor.from_pretrained(source)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise UserError(
            f"{source} wants {extractor.sampling_rate} Hz audio; only 16 kHz is supported"
        )
    vocabulary_file = Path(source) / "vocab.json"
    if vocabulary_file.is_file():
        vocabulary: dict[str, int] = json.loads(vocabulary_file.read_text())
        blank, delimiter = vocabulary.get("<pad>", vocabulary.get("[PAD]", 0)), "|"
    else:
        tokenizer = AutoTokenizer.from_pretrained(source)
        vocabulary = tokenizer.get_vocab()
        blank, delimiter = tokenizer.pad_token_id, tokenizer.word_delimiter_token
    by_id = {index: symbol for symbol, index in vocabulary.items()}
    if sorted(by_id) != list(range(len(by_id))):
        raise UserError(f"{source}: token ids have gaps")
    return Tokens(
        tuple(by_id[i] for i in range(len(by_id))), blank, delimiter
    ), extractor.do_normalize
