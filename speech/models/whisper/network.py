"""Whisper (Radford et al., ICML 2023) from the waveform on, in two steps: listening once, then writing.

`encode` takes the whole window of audio (30 s, zeros after the clip) to the keys and values that every layer
of the decoder looks up: their projections run once a clip instead of once a token. `decode` takes one token,
its position, and the keys and values of the tokens before it and of the audio; it gives the logits of the
next token, and the token's own keys and values. Whoever calls it keeps them (`speech.caching`).

Tensors between the two are laid out for batched matrix products in which nothing is copied: no batch, heads
first. Keys of the audio have their positions last, as the right-hand side of a product wants it.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from myqasr.speech.models.base import TokenEmbedding
from myqasr.speech.models.spectrogram import MelSpectrogram, fourier

MEL_FLOOR = 1e-10
DECADES = 8.0  # features further below the loudest are cut off
UNSEEN = -1e9


class Whisper(nn.Module):
    """The layers by their names in transformers, run for one clip.

    prompt_tokens: ids before the first that the model writes. The head has its own copy of the weights that
    it shares with the token embedding, so that each is a layer; `matrix_of` says that they are one matrix.
    token_factors: what rows of the token table are multiplied by, [hidden]; see `whisper.evening`.
    """

    def __init__(self, model: Any, extractor: Any, prompt_tokens: int) -> None:
        super().__init__()
        taps: int = extractor.n_fft
        window = torch.hann_window(taps, dtype=torch.float64).numpy()
        self.features = MelSpectrogram(
            fourier(taps, taps) * window, extractor.mel_filters.T, extractor.hop_length, (0, 0)
        )
        self.reflected = taps // 2
        self.encoder, self.decoder = model.model.encoder, model.model.decoder
        self.decoder.embed_tokens.__class__ = TokenEmbedding
        self.proj_out = copy.deepcopy(model.proj_out)
        if torch.equal(self.proj_out.weight, self.decoder.embed_tokens.weight):
            self.decoder.embed_tokens.matrix_of = "proj_out"
        self.prompt_tokens = prompt_tokens
        self.token_factors: Tensor | None
        self.register_buffer("token_factors", None)

    def forward(self, waveform: Tensor, ids: Tensor) -> Tensor:
        """What the model thinks of each token that it wrote.

        [1, samples] and the prompt with all it wrote but the last token, [1, ids] ->
        [1, tokens written, vocab].
        """
        hidden = self.hidden(ids, self.encode(waveform))
        logits: Tensor = self.proj_out(hidden[:, self.prompt_tokens - 1 :])
        return logits

    def encode(self, waveform: Tensor) -> tuple[Tensor, ...]:
        """[1, samples] -> by turns keys [heads, size, positions], values [heads, positions, size].

        Of fewer samples than the window the first positions are used, as if the window were cut.
        """
        encoder = self.encoder
        hidden = functional.gelu(encoder.conv1(self.log_mel(waveform).transpose(1, 2)))
        hidden = functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        places, count = encoder.embed_positions.weight, hidden.shape[1]
        hidden = hidden + (places if len(places) == count else places[:count])
        for layer in encoder.layers:
            even = layer.self_attn_layer_norm(hidden)
            hidden = hidden + attention(layer.self_attn, even, *looked_up(layer.self_attn, even))
            hidden = hidden + feed_forward(layer, hidden)
        hidden = encoder.layer_norm(hidden)
        pairs = [looked_up(layer.encoder_attn, hidden) for layer in self.decoder.layers]
        return tuple(tensor for pair in pairs for tensor in pair)

    def decode(
        self, token: Tensor, position: Tensor, *kept_and_heard: Tensor
    ) -> tuple[Tensor, ...]:
        """Logits [1, vocab] of what follows a token [1, 1], and by turns its key and value [heads, 1, size].

        position: [1], of the token. kept_and_heard: for every layer keys and values of the tokens before,
        [heads, places, size], of which those from `position` on don't count; then what `encode` gave.
        """
        decoder, count = self.decoder, len(kept_and_heard) // 2
        kept, heard = kept_and_heard[:count], kept_and_heard[count:]
        hidden = self.embedded(token)
        hidden = hidden + decoder.embed_positions.weight.index_select(0, position)
        places = torch.arange(kept[0].shape[1], device=token.device)
        unwritten = (places - position + 1).clamp(0, 1)
        mask = unwritten.to(hidden.dtype) * UNSEEN
        rows: list[Tensor] = []
        for index, layer in enumerate(decoder.layers):
            pair = slice(2 * index, 2 * index + 2)
            even = layer.self_attn_layer_norm(hidden)
            keys, values = kept[pair]
            mixed, key, value = recollection(layer.self_attn, even, keys, values, mask)
            rows += key, value
            hidden = hidden + mixed
            even = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + attention(layer.encoder_attn, even, *heard[pair])
            hidden = hidden + feed_forward(layer, hidden)
        return self.proj_out(decoder.layer_norm(hidden)[:, -1]), *rows

    def hidden(self, ids: Tensor, heard: tuple[Tensor, ...]) -> Tensor:
        """[1, ids] -> [1, ids, hidden], all at once."""
        decoder, count = self.decoder, ids.shape[1]
        hidden = self.embedded(ids) + decoder.embed_positions.weight[:count]
        places = torch.arange(count, device=ids.device)
        ahead = (places[None, :] - places[:, None]).clamp(0, 1)
        mask = ahead.to(hidden.dtype) * UNSEEN
        for index, layer in enumerate(decoder.layers):
            even = layer.self_attn_layer_norm(hidden)
            seen = looked_up(layer.self_attn, even)
            hidden = hidden + attention(layer.self_attn, even, *seen, mask)
            even = layer.encoder_attn_layer_norm(hidden)
            pair = heard[2 * index : 2 * index + 2]
            hidden = hidden + attention(layer.encoder_attn, even, *pair)
            hidden = hidden + feed_forward(layer, hidden)
        result: Tensor = decoder.layer_norm(hidden)
        return result

    def embedded(self, ids: Tensor) -> Tensor:
        """[1, ids] -> [1, ids, hidden]: rows of the table, times what undoes the scaling of its channels."""
        rows: Tensor = self.decoder.embed_tokens(ids)
        return rows if self.token_factors is None else rows * self.token_factors

    def log_mel(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, mels], as Whisper's feature extractor scales them."""
        around = (self.reflected, self.reflected)
        padded = functional.pad(waveform[:, None], around, mode="reflect")[:, 0]
        powers = self.features(padded)[:, :-1].clamp_min(MEL_FLOOR).log10()
        return (torch.maximum(powers, powers.amax() - DECADES) + 4.0) / 4.0


def by_head(rows: Tensor, size: int) -> Tensor:
    """[1, rows, hidden] -> [heads, rows, size]."""
    return rows.reshape(rows.shape[1], -1, size).transpose(0, 1)


def looked_up(module: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Keys [heads, size, rows] and values [heads, rows, size] of rows [1, rows, hidden]."""
    keys, values = module.k_proj(hidden), module.v_proj(hidden)
    return (
        by_head(keys, module.head_dim).transpose(1, 2),
        by_head(values, module.head_dim),
    )


def attention(
    module: Any, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
) -> Tensor:
    """[1, rows, hidden] -> [1, rows, hidden]; keys and values as `looked_up` gives them."""
    queries = by_head(module.q_proj(hidden) * module.scaling, module.head_dim)
    scores = torch.bmm(queries, keys)
    if mask is not None:
        scores = scores + mask
    return projected(module, torch.bmm(scores.softmax(-1), values))


def recollection(
    module: Any, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of one token [1, 1, hidden] to those before it and to itself, and its key and value.

    keys, values: [heads, places, size]. mask: added to the places' scores, [places]. The token's own key and
    value [heads, 1, size] aren't among them: putting them there would copy all the others.
    """
    queries = by_head(module.q_proj(hidden) * module.scaling, module.head_dim)
    key = by_head(module.k_proj(hidden), module.head_dim)
    value = by_head(module.v_proj(hidden), module.head_dim)
    places = keys.shape[1]
    earlier = torch.bmm(keys, queries.transpose(1, 2)).transpose(1, 2) + mask
    weights = torch.cat((earlier, (queries * key).sum(-1, keepdim=True)), -1).softmax(-1)
    mixed = torch.bmm(weights[..., :places], values) + weights[..., places:] * value
    return projected(module, mixed), key, value


def projected(module: Any, mixed: Tensor) -> Tensor:
    """[heads, rows, size] -> [1, rows, hidden], through the layer's last projection."""
    result: Tensor = module.out_proj(mixed.transpose(0, 1).flatten(1)[None])
    return result


def feed_forward(layer: Any, hidden: Tensor) -> Tensor:
    """The second half of a layer, without its residual; [1, rows, hidden] in and out."""
    even = layer.final_layer_norm(hidden)
    mixed: Tensor = layer.fc2(layer.activation_fn(layer.fc1(even)))
    return mixed
