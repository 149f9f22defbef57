"""wav2vec 2.0 with Conformer blocks and a CTC head, relative or rotary positions.

Wang et al., "fairseq S2T", 2020; Gulati et al., "Conformer", Interspeech 2020.
"""

from typing import Any

from torch import Tensor, nn
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
    Wav2Vec2ConformerSelfAttention,
)

from myqasr.speech.models.base import SpeechModel
from myqasr.speech.models.pretrained import fold_batch_norm, load_pretrained
from myqasr.speech.models.relative_positions import (
    Rotations,
    SinusoidsOfDistance,
    relative_attention,
    rotated,
    split_heads,
)
from myqasr.speech.models.wav2vec2 import with_processor


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit."""
    model = load_pretrained(source, model_id, architecture).eval()
    encoder = model.wav2vec2_conformer.encoder
    # Every checkpoint has this convolution; no forward pass runs it.
    encoder.pos_conv_embed = nn.Identity()
    encoder.embed_positions = positions(model.config)
    for layer in encoder.layers:
        kind = ATTENTION.get(model.config.position_embeddings_type)
        if kind is not None:
            layer.self_attn.__class__ = kind
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


class RelativeAttention(Wav2Vec2ConformerSelfAttention):
    """The same attention with relative positions, for one utterance without a mask.

    Serves wav2vec 2.0 BERT as well, whose attention has projections of the same names.
    """

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: None = None,
        relative_position_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """[1, frames, hidden], positions [1, 2 * frames - 1, hidden] -> [1, frames, hidden]."""
        return attend(self, hidden_states, relative_position_embeddings), None


class RotaryAttention(Wav2Vec2ConformerSelfAttention):
    """The same attention with rotary positions, for one utterance without a mask; BERT's as well."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: None = None,
        relative_position_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """[1, frames, hidden], rotations [2, 1, frames, 1, head_size] -> [1, frames, hidden]."""
        return attend_rotated(self, hidden_states, relative_position_embeddings), None


ATTENTION = {"relative": RelativeAttention, "rotary": RotaryAttention}


def attend(layer: Any, hidden_states: Tensor, positions: Tensor | None) -> Tensor:
    """Relative attention through the layers of `layer`, by the names that they have in transformers."""
    query, key, value, distances = (
        split_heads(project(rows), layer.head_size)
        for project, rows in (
            (layer.linear_q, hidden_states),
            (layer.linear_k, hidden_states),
            (layer.linear_v, hidden_states),
            (layer.linear_pos, positions),
        )
    )
    biases = (layer.pos_bias_u, layer.pos_bias_v)
    mixed = relative_attention((query, key, value), distances, biases, layer.scaling)
    result: Tensor = layer.linear_out(mixed)
    return result


def attend_rotated(layer: Any, hidden_states: Tensor, rotations: Any) -> Tensor:
    """Rotary attention through the layers of `layer`, by the names that they have in transformers."""
    turned = rotated(hidden_states, rotations, layer.head_size)
    query, key, value = (
        split_heads(project(rows), layer.head_size)
        for project, rows in (
            (layer.linear_q, turned),
            (layer.linear_k, turned),
            (layer.linear_v, hidden_states),
        )
    )
    scores = query @ key.transpose(2, 3) * layer.scaling
    result: Tensor = layer.linear_out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    return result
