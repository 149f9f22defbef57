"""WavLM (Chen et al., JSTSP 2022) with a CTC head: wav2vec 2.0 with a gated relative position bias."""

import torch
from torch import Tensor
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from myqasr.speech.models.base import SpeechModel
from myqasr.speech.models.pretrained import load_pretrained
from myqasr.speech.models.wav2vec2 import with_processor


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit."""
    model = load_pretrained(source, model_id, architecture)
    for attention in model.modules():
        if isinstance(attention, WavLMAttention):
            attention.__class__ = PlainAttention
            attention.keep_distance_bias()
    return with_processor(model, source, model_id)


class PlainAttention(WavLMAttention):
    """The same attention through its own Linear modules, which transformers only takes the weights of."""

    def keep_distance_bias(self) -> None:
        """Replace the embedding of logarithmic buckets by the bias of every distance that has its own.

        Exact, and the runtime computes no logarithms whose rounding could fall into another bucket.
        """
        if not hasattr(self, "rel_attn_embed"):
            return
        distances = torch.arange(-self.max_distance, self.max_distance + 1)
        biases = self.rel_attn_embed(self._relative_positions_bucket(distances)).detach()
        self.register_buffer("distance_bias", biases)  # [2 * max_distance + 1, heads]
        del self.rel_attn_embed

    def compute_bias(self, query_length: int, key_length: int) -> Tensor:
        """[heads, query, key]; distances beyond the furthest bucket share its bias."""
        queries = torch.arange(query_length, device=self.distance_bias.device)[:, None]
        keys = torch.arange(key_length, device=self.distance_bias.device)[None, :]
        distance = (keys - queries).clamp(-self.max_distance, self.max_distance)
        bias: Tensor = self.distance_bias[distance + self.max_distance]
        return bias.permute(2, 0, 1)

    def torch_multi_head_self_attention(
        self, hidden_states: Tensor, attention_mask: None, gated_position_bias: Tensor
    ) -> tuple[Tensor, None]:
        """[1, frames, hidden] and [heads, frames, frames] -> [1, frames, hidden]; no mask."""
        frames = hidden_states.shape[1]
        shape = (1, frames, self.num_heads, self.head_dim)
        query = self.q_proj(hidden_states).view(shape).transpose(1, 2) * self.scaling
        key = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        scores = query @ key.transpose(2, 3) + gated_position_bias
        mixed = (scores.softmax(-1) @ value).transpose(1, 2)
        return self.out_proj(mixed.reshape(1, frames, self.embed_dim)), None
