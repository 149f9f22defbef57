"""wav2vec 2.0 BERT (Communication et al., "Seamless", 2023) with a CTC head, from the waveform on."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertSelfAttention

from myqasr.speech.models.base import SpeechModel
from myqasr.speech.models.pretrained import (
    ctc_tokens,
    feature_extractor,
    load_pretrained,
    refused,
)
from myqasr.speech.models.relative_positions import split_heads
from myqasr.speech.models.spectrogram import (
    MelSpectrogram,
    emphasised,
    fourier,
    standardised,
    without_offset,
)
from myqasr.speech.models.wav2vec2_conformer import RelativeAttention, RotaryAttention, positions

FRAME, HOP, TRANSFORM = 400, 160, 512
INT16 = 2.0**15
PRE_EMPHASIS = 0.97
MEL_FLOOR = 1.192092955078125e-07
VARIANCE_FLOOR = 1e-7


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit."""
    model = load_pretrained(source, model_id, architecture).eval().requires_grad_(False)
    with refused(model_id, architecture):
        tokens = ctc_tokens(source, model.config, model_id)
        extractor = feature_extractor(source)
    config = model.config
    encoder = model.wav2vec2_bert.encoder
    encoder.embed_positions = positions(config)
    for layer in encoder.layers:
        kind = ATTENTION.get(config.position_embeddings_type)
        if kind is not None:
            layer.self_attn.__class__ = kind
    stacked = extractor.stride
    adapted = config.adapter_stride**config.num_adapter_layers if config.add_adapter else 1
    return SpeechModel(
        model_id=model_id,
        module=FeaturesToLogits(model, extractor).eval(),
        layer_prefix="",
        tokens=tokens,
        normalize=False,
        stride_samples=HOP * stacked * adapted,
        # Two frames of output: the variance of one is not defined.
        min_samples=FRAME + HOP * (2 * stacked - 1),
    )


class FeaturesToLogits(nn.Module):
    """Kaldi's log-mel features, standardised and stacked in pairs, then the model without a mask."""

    def __init__(self, model: nn.Module, extractor: Any) -> None:
        super().__init__()
        frame = fourier(FRAME, TRANSFORM) * np.asarray(extractor.window, np.float64)
        frame = INT16 * frame @ emphasised(FRAME, PRE_EMPHASIS) @ without_offset(FRAME)
        self.features = MelSpectrogram(frame, np.asarray(extractor.mel_filters).T, HOP, (0, 0))
        self.model = model
        self.stacked: int = extractor.stride

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, vocab]."""
        energies = self.features(waveform).clamp_min(MEL_FLOOR).log()
        even = standardised(energies, lambda variance: (variance + VARIANCE_FLOOR).sqrt())
        # Neighbours side by side; frames at the end that are too few for another row are left out.
        rows = [
            even[:, at : even.shape[1] - self.stacked + 1 + at : self.stacked]
            for at in range(self.stacked)
        ]
        logits: Tensor = self.model(torch.cat(rows, 2)).logits
        return logits


class NearbyAttention(Wav2Vec2BertSelfAttention):
    """The same attention with an embedding for each clipped distance.

    Every query meets the few embeddings there are, and reads its score at each key's distance: the
    [frames, frames, head] tensor of embeddings that transformers builds would not fit on a phone.
    """

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: None = None,
        relative_position_embeddings: None = None,
    ) -> tuple[Tensor, None]:
        """[1, frames, hidden] -> [1, frames, hidden]."""
        query, key, value = (
            split_heads(project(hidden_states), self.head_size)
            for project in (self.linear_q, self.linear_k, self.linear_v)
        )
        left, right = self.left_max_position_embeddings, self.right_max_position_embeddings
        frames = hidden_states.shape[1]
        places = torch.arange(frames, device=hidden_states.device)
        distance = (places[None, :] - places[:, None]).clamp(-left, right) + left
        by_distance = query @ self.distance_embedding.weight.T  # [1, heads, frames, distances]
        position = by_distance.gather(3, distance.expand(1, self.num_heads, frames, frames))
        scores = (query @ key.transpose(2, 3) + position) * self.scaling
        mixed = (scores.softmax(-1) @ value).transpose(1, 2)
        return self.linear_out(mixed.flatten(2)), None


ATTENTION = {
    "relative": RelativeAttention,
    "relative_key": NearbyAttention,
    "rotary": RotaryAttention,
}
