"""Whisper for ONNX Runtime: an encoder, and a decoder of one token with its cache as input, in int8.

Quantised by `onnxruntime.quantization.quantize_dynamic`: int8 weights, activations rounded as they
come. Run as `python -m benchmarks.peers.onnx_int8 MODEL FOLDER`; needs the extra `peers`.
"""

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from myqasr.speech.models import load_model
from myqasr.speech.models.whisper.network import (
    attention,
    by_head,
    feed_forward,
    looked_up,
    projected,
)

HALVES = ENCODER, DECODER = "encoder.int8.onnx", "decoder.int8.onnx"
MELS, FRAMES, OPSET = 80, 3000, 17


class Encoder(nn.Module):
    """Listens once."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.decoder

    def forward(self, mel: Tensor) -> tuple[Tensor, ...]:
        """[1, mels, frames] -> by turns the keys and values that the decoder's layers look up."""
        hidden = functional.gelu(self.encoder.conv1(mel))
        hidden = functional.gelu(self.encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.encoder.embed_positions.weight
        for layer in self.encoder.layers:
            even = layer.self_attn_layer_norm(hidden)
            hidden = hidden + attention(layer.self_attn, even, *looked_up(layer.self_attn, even))
            hidden = hidden + feed_forward(layer, hidden)
        hidden = self.encoder.layer_norm(hidden)
        pairs = [looked_up(layer.encoder_attn, hidden) for layer in self.decoder.layers]
        return tuple(tensor for pair in pairs for tensor in pair)


class Decoder(nn.Module):
    """Writes a token.

    The embedding is kept once, transposed: a product's right-hand side can be quantised, and columns be
    looked up in it; any other way it is in the file twice.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.tied = nn.Parameter(model.decoder.embed_tokens.weight.T.contiguous())

    def forward(self, token: Tensor, position: Tensor, *both: Tensor) -> tuple[Tensor, ...]:
        """Token [1, 1], position [1], the cache, what was heard -> logits [1, vocab], longer cache."""
        decoder, count = self.decoder, len(both) // 2
        kept, heard = both[:count], both[count:]
        hidden = self.tied.index_select(1, token[0]).T[None]
        hidden = hidden + decoder.embed_positions.weight.index_select(0, position)
        longer: list[Tensor] = []
        for index, layer in enumerate(decoder.layers):
            pair = slice(2 * index, 2 * index + 2)
            module, even = layer.self_attn, layer.self_attn_layer_norm(hidden)
            keys = torch.cat((kept[pair][0], by_head(module.k_proj(even), module.head_dim)), 1)
            values = torch.cat((kept[pair][1], by_head(module.v_proj(even), module.head_dim)), 1)
            longer += keys, values
            queries = by_head(module.q_proj(even) * module.scaling, module.head_dim)
            scores = torch.bmm(queries, keys.transpose(1, 2)).softmax(-1)
            hidden = hidden + projected(module, torch.bmm(scores, values))
            even = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + attention(layer.encoder_attn, even, *heard[pair])
            hidden = hidden + feed_forward(layer, hidden)
        return torch.matmul(decoder.layer_norm(hidden)[0], self.tied), *longer


def write_onnx(model: str, folder: Path) -> None:
    """Export both halves and quantise them."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as place:
        write_float(model, Path(place))
        folder.mkdir(parents=True, exist_ok=True)
        for file in HALVES:
            quantize_dynamic(
                Path(place) / file,
                folder / file,
                op_types_to_quantize=["MatMul", "Gather"],
                per_channel=True,
                weight_type=QuantType.QInt8,
            )


def write_float(model: str, folder: Path) -> None:
    """Export both halves in float, under the names of those that are quantised."""
    # The weights as they were published: evening them out is ours.
    with mock.patch("myqasr.speech.models.whisper.load.even"):
        module: Any = load_model(model).module
    count = len(module.decoder.layers)
    heard = [f"{what}_{i}" for i in range(count) for what in ("heard_key", "heard_value")]
    kept = [f"{what}_{i}" for i in range(count) for what in ("key", "value")]
    mel = torch.zeros(1, MELS, FRAMES)
    with torch.no_grad():
        encoder = Encoder(module)
        given = encoder(mel)
        _export(encoder, (mel,), folder / ENCODER, ["mel"], heard, {})
        heads, _, size = given[1].shape
        cache = tuple(torch.zeros(heads, 3, size) for _ in kept)
        longer = [f"new_{name}" for name in kept]
        _export(
            Decoder(module),
            (torch.tensor([[0]]), torch.tensor([3]), *cache, *given),
            folder / DECODER,
            ["token", "position", *kept, *heard],
            ["logits", *longer],
            {name: {1: "places"} for name in kept} | {name: {1: "more"} for name in longer},
        )


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    names: list[str],
    outputs: list[str],
    lengths: dict[str, dict[int, str]],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other exporter needs onnxscript
        torch.onnx.export(
            module, inputs, str(path), input_names=names, output_names=outputs,
            dynamic_axes=lengths, opset_version=OPSET, dynamo=False,
        )  # fmt: skip


if __name__ == "__main__":
    write_onnx(sys.argv[1], Path(sys.argv[2]))
