"""wav2vec 2.0 with Conformer blocks and a CTC head, relative or rotary positions.

Wang et al., "fairseq S2T", 2020; Gulati et al., "Conformer", Interspeech 2020.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
    Wav2Vec2ConformerSelfAttention,
)

from speech.models.base import SpeechModel
from speech.models.pretrained import fold_batch_norm, load_pretrained
from speech.models.wav2vec2 import with_processor


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit."""
    model = load_pretrained(source, model_id, architecture).eval()
    encoder = model.wav2vec2_conformer.encoder
    # Every checkpoint has this convolution; no forward pass runs it.
    encoder.pos_conv_embed = nn.Identity()
    encoder.embed_positions = positions(model.config)
    for layer in encoder.layers:
        if model.config.position_embeddings_type == "relative":
            layer.self_attn.__class__ = RelativeAttention
        fold_batch_norm(layer.conv_module.depthwise_conv, layer.conv_module.batch_norm)
        layer.conv_module.batch_norm = nn.Identity()
    return with_processor(model, source, model_id)


def positions(config: Any) -> nn.Module | None:
    """What the encoder takes its position embeddings from; None when it has none."""
    if config.position_embeddings_type == "relative":
        return SinusoidsOfDistance(config.hidden_size)
    if config.position_embeddings_type == "rotary":
        head_size = config.hidden_size // config.num_attention_heads
        return Rotations(head_size, config.rotary_embedding_base)
    return None


def by_distance(scores: Tensor) -> Tensor:
    """Scores of every query against every distance, read at the distance of every key.

    [1, heads, frames, 2 * frames - 1], distances from frames - 1 down -> [1, heads, frames, frames].
    A gather: the usual padding and reshaping can't be traced with an unknown number of frames.
    """
    _, heads, frames, _ = scores.shape
    places = torch.arange(frames, device=scores.device)
    distance = (frames - 1) - places[:, None] + places[None, :]
    return scores.gather(3, distance.expand(1, heads, frames, frames))


class RelativeAttention(Wav2Vec2ConformerSelfAttention):
    """The same attention with relative positions, for one utterance without a mask."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: None = None,
        relative_position_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """[1, frames, hidden], positions [1, 2 * frames - 1, hidden] -> [1, frames, hidden]."""
        query, key, value = (
            self._heads(project(hidden_states))
            for project in (self.linear_q, self.linear_k, self.linear_v)
        )
        distances = self._heads(self.linear_pos(relative_position_embeddings))
        content = (query + self.pos_bias_u[None, :, None]) @ key.transpose(2, 3)
        position = (query + self.pos_bias_v[None, :, None]) @ distances.transpose(2, 3)
        scores = (content + by_distance(position)) * self.scaling
        mixed = (scores.softmax(-1) @ value).transpose(1, 2)
        return self.linear_out(mixed.flatten(2)), None

    def _heads(self, rows: Tensor) -> Tensor:
        """[1, rows, hidden] -> [1, heads, rows, head_size]."""
        return rows.unflatten(2, (self.num_heads, self.head_size)).transpose(1, 2)


class SinusoidsOfDistance(nn.Module):
    """Sines and cosines of the distances frames - 1 ... 1 - frames (Dai et al., "Transformer-XL", 2019).

    Computed for the length at hand, where transformers keeps a table that it extends as it goes.
    """

    frequencies: Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        frequencies = 10_000.0 ** (-torch.arange(0, hidden_size, 2).double() / hidden_size)
        self.register_buffer("frequencies", frequencies.float())

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[1, frames, hidden] -> [1, 2 * frames - 1, hidden]."""
        frames = hidden_states.shape[1]
        distances = (frames - 1) - torch.arange(2 * frames - 1, device=hidden_states.device)
        angles = distances[:, None].float() * self.frequencies
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[None]


class Rotations(nn.Module):
    """Cosines and sines of rotary positions (Su et al., "RoFormer", 2021), for the length at hand."""

    frequencies: Tensor

    def __init__(self, head_size: int, base: float) -> None:
        super().__init__()
        frequencies = float(base) ** (-torch.arange(0, head_size, 2).double() / head_size)
        self.register_buffer("frequencies", frequencies.float())

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[1, frames, hidden] -> [2, frames, 1, 1, head_size]."""
        frames = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        angles = frames[:, None].float() * self.frequencies
        angles = torch.cat((angles, angles), -1)
        return torch.stack((angles.cos(), angles.sin()))[:, :, None, None]
