"""SpeechBrain's `EncoderASR` folders: a wav2vec 2.0 encoder with a network and CTC head of SpeechBrain's.

SpeechBrain (Ravanelli et al., 2021) is an extra and imported only here. Its `hyperparams.yaml` names the code
that builds the model: load folders that you trust.
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

from myqasr.core.children import scratch_folder
from myqasr.core.errors import ModelError, NotInstalledError
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SpeechModel, min_input_samples
from myqasr.speech.models.pretrained import batch_norm_terms, fold_weight_norm, plain_layer_norm
from myqasr.speech.models.wav2vec2 import check_vocabulary


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local savedir; raises UserError when SpeechBrain isn't there or can't build the model."""
    try:
        from speechbrain.inference.ASR import EncoderASR
    except (ImportError, OSError) as error:
        raise NotInstalledError(
            f"{model_id} is a SpeechBrain model ({error})", "pip install 'myqasr[speechbrain]'"
        ) from error
    try:
        with scratch_folder("model") as scratch:
            # Without a savedir of its own, SpeechBrain writes links into the working directory.
            asr = EncoderASR.from_hparams(source=source, savedir=str(scratch))
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{model_id} can't be loaded as {architecture}: {reason}") from error
    stages = list(asr.mods.encoder.values())
    lobe = stages[0]
    config = getattr(getattr(lobe, "model", None), "config", None)
    if config is None or not hasattr(config, "conv_stride"):
        raise ModelError(
            f"{model_id}: its encoder starts with a {type(lobe).__name__}; supported are encoders that "
            "start with a wav2vec 2.0 or HuBERT of transformers"
        )
    if lobe.output_all_hiddens:
        raise ModelError(
            f"{model_id} reads all hidden layers of its encoder, which isn't supported"
        )
    lobe.model.set_attn_implementation("eager")
    fold_weight_norm(lobe.model)
    module = WaveformToLogits(lobe, stages[1:]).eval().requires_grad_(False)
    tokens = _tokens(asr, model_id)
    shortest = min_input_samples(config.conv_kernel, config.conv_stride)
    with torch.inference_mode():
        outputs = module(torch.zeros(1, shortest)).shape[2]
    check_vocabulary(model_id, outputs, tokens)
    return SpeechModel(
        model_id=model_id,
        module=module,
        layer_prefix="",
        tokens=tokens,
        normalize=False,
        stride_samples=math.prod(config.conv_stride),
        min_samples=shortest,
    )


class WaveformToLogits(nn.Module):
    """SpeechBrain's encoder for one utterance without a mask."""

    def __init__(self, lobe: Any, stages: list[nn.Module]) -> None:
        super().__init__()
        self.wav2vec2 = lobe.model
        self.normalize: bool = lobe.normalize_wav
        self.output_norm: bool = lobe.output_norm
        self.stages = nn.ModuleList(stages)
        for stage in self.stages:
            _replace_norms(stage)

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, vocab]."""
        if self.normalize:
            waveform = plain_layer_norm(waveform, (1,))
        hidden = self.wav2vec2(waveform).last_hidden_state
        if self.output_norm:
            hidden = plain_layer_norm(hidden, (1, 2))
        for stage in self.stages:
            hidden = stage(hidden)
        logits: Tensor = hidden
        return logits


class ScaleAndShift(nn.Module):
    """Batch norm in evaluation, over the last dimension."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        scale, shift = batch_norm_terms(norm)
        self.scale = nn.Parameter(scale.float(), requires_grad=False)
        self.shift = nn.Parameter(shift.float(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[1, frames, channels] in and out."""
        return x * self.scale + self.shift


def _replace_norms(module: nn.Module) -> None:
    """SpeechBrain's BatchNorm1d reshapes around the norm of every frame's features."""
    for name, child in list(module.named_children()):
        norm = getattr(child, "norm", None)
        if isinstance(norm, nn.BatchNorm1d) and not getattr(child, "skip_transpose", False):
            setattr(module, name, ScaleAndShift(norm))
        else:
            _replace_norms(child)


def _tokens(asr: Any, model_id: str) -> Tokens:
    """What SpeechBrain's tokenizer writes for each output."""
    tokenizer, decoding = asr.tokenizer, asr.hparams.decoding_function
    blank = decoding.keywords.get("blank_id") if isinstance(decoding, functools.partial) else None
    if blank is None:
        blank = getattr(asr.hparams, "blank_index", 0)
    if hasattr(tokenizer, "id_to_piece"):
        pieces = [tokenizer.id_to_piece(index) for index in range(tokenizer.get_piece_size())]
        return Tokens(tuple(_written(piece).replace("▁", " ") for piece in pieces), blank)
    if hasattr(tokenizer, "ind2lab"):
        labels = [str(tokenizer.ind2lab[index]) for index in range(len(tokenizer.ind2lab))]
        return Tokens(tuple(_written(label) for label in labels), blank)
    raise ModelError(f"{model_id} has a tokenizer that isn't supported: {type(tokenizer).__name__}")


def _written(label: str) -> str:
    """Nothing for SpeechBrain's and SentencePiece's own labels, such as <bos> and <unk>."""
    return "" if len(label) > 2 and label[0] + label[-1] == "<>" else label
