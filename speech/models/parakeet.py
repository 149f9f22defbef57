"""Parakeet: FastConformer (Rekesh et al., ASRU 2023) with a CTC head, from the waveform on."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderAttention

from myqasr.speech.models.base import SpeechModel
from myqasr.speech.models.pretrained import (
    ctc_tokens,
    feature_extractor,
    fold_batch_norm,
    load_pretrained,
    refused,
)
from myqasr.speech.models.relative_positions import (
    SinusoidsOfDistance,
    relative_attention,
    split_heads,
)
from myqasr.speech.models.spectrogram import MelSpectrogram, fourier, standardised

LOG_GUARD = 2.0**-24
SPREAD_FLOOR = 1e-5


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit."""
    model = load_pretrained(source, model_id, architecture).eval().requires_grad_(False)
    with refused(model_id, architecture):
        extractor = feature_extractor(source)
        tokens = ctc_tokens(source, model.config, model_id)
    encoder = model.encoder
    encoder.encode_positions = SinusoidsOfDistance(encoder.config.hidden_size)
    for layer in encoder.layers:
        layer.self_attn.__class__ = RelativeAttention
        fold_batch_norm(layer.conv.depthwise_conv, layer.conv.norm)
        layer.conv.norm = nn.Identity()
    model.ctc_head = linear_head(model.ctc_head)
    return SpeechModel(
        model_id=model_id,
        module=FeaturesToLogits(model, extractor).eval(),
        layer_prefix="",
        tokens=tokens,
        normalize=False,
        stride_samples=extractor.hop_length * encoder.config.subsampling_factor,
        # The variance of a single frame of features is not defined.
        min_samples=2 * extractor.hop_length,
    )


def linear_head(convolution: nn.Conv1d) -> nn.Linear:
    """The head over one frame at a time as the linear layer that it is."""
    has_bias = convolution.bias is not None
    linear = nn.Linear(convolution.in_channels, convolution.out_channels, bias=has_bias)
    linear.weight = nn.Parameter(convolution.weight.detach()[:, :, 0], requires_grad=False)
    if convolution.bias is not None:
        linear.bias.data = convolution.bias.detach()
    return linear


class FeaturesToLogits(nn.Module):
    """NeMo's log-mel features, standardised, then the model without a mask."""

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__()
        taps: int = extractor.win_length
        window = torch.hann_window(taps, periodic=False, dtype=torch.float64).numpy()
        self.features = MelSpectrogram(
            fourier(taps, extractor.n_fft) * window,
            extractor.mel_filters.numpy(),
            extractor.hop_length,
            # Frames are centred on multiples of the hop; one that starts past the end is not used.
            (taps // 2, taps // 2 - extractor.hop_length),
        )
        self.model = model
        self.emphasis: float = extractor.preemphasis or 0.0

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, vocab]."""
        emphasised = waveform - self.emphasis * functional.pad(waveform, (1, 0))[:, :-1]
        energies = (self.features(emphasised) + LOG_GUARD).log()
        even = standardised(energies, lambda variance: variance.sqrt() + SPREAD_FLOOR)
        logits: Tensor = self.model(even).logits
        return logits


class RelativeAttention(ParakeetEncoderAttention):
    """The same attention for one utterance without a mask, at any number of frames."""

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: Tensor | None,
        attention_mask: None = None,
    ) -> tuple[Tensor, None]:
        """[1, frames, hidden], positions [1, 2 * frames - 1, hidden] -> [1, frames, hidden]."""
        query, key, value, distances = (
            split_heads(project(rows), self.head_dim)
            for project, rows in (
                (self.q_proj, hidden_states),
                (self.k_proj, hidden_states),
                (self.v_proj, hidden_states),
                (self.relative_k_proj, position_embeddings),
            )
        )
        biases = (self.bias_u, self.bias_v)
        mixed = relative_attention((query, key, value), distances, biases, self.scaling)
        return self.o_proj(mixed), None
