"""Whisper as whisper.cpp reads it: sizes, mel filters, vocabulary, then tensors, all of one type of weights.

Layout: whisper.cpp, `whisper_model_load`. A file has one type for its matrices; norms, biases and
positions are float32, convolutions float16.
"""

import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.blocks import BlockFormat
from myqasr.core.storage import write_bytes
from myqasr.speech.decoding import byte_alphabet

MAGIC = 0x67676D6C
TEXT_TOKENS = 50_257
"""Tokens that the file lists: those of text; whisper.cpp makes up the special ones."""
FLOAT32, FLOAT16 = 0, 1

_NAMES = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"^encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^decoder\.layer_norm\.", "decoder.ln."),
    (r"\.embed_tokens\.", ".token_embedding."),
    (r"\.embed_positions\.weight$", ".positional_embedding"),
)
"""Parts of transformers' names -> of OpenAI's."""

Weights = Mapping[str, NDArray[np.float32]]


def write_ggml(
    path: Path,
    weights: Weights,
    heads: int,
    filters: NDArray[np.float32],
    symbols: tuple[str, ...],
    kind: BlockFormat,
) -> None:
    """Write a file, whole or not at all.

    weights: by their names in transformers, without the head. filters: [mels, frequencies]. symbols: text of
    every token, in GPT-2's byte alphabet.
    """
    parts = [_sizes(weights, heads, filters, kind), _filters(filters), _vocabulary(symbols)]
    parts += (_tensor(_name(name), values, kind) for name, values in weights.items())
    write_bytes(path, b"".join(parts))


def _sizes(weights: Weights, heads: int, filters: NDArray[np.float32], kind: BlockFormat) -> bytes:
    sizes: list[int] = [len(weights["model.decoder.embed_tokens.weight"])]
    for half in ("encoder", "decoder"):
        positions = weights[f"model.{half}.embed_positions.weight"]
        sizes += [*positions.shape, heads, _layers(weights, half)]
    return struct.pack("<I11i", MAGIC, *sizes, len(filters), kind.file_type)


def _layers(weights: Weights, half: str) -> int:
    found = (re.match(rf"model\.{half}\.layers\.(\d+)\.", name) for name in weights)
    return 1 + max(int(match[1]) for match in found if match)


def _filters(filters: NDArray[np.float32]) -> bytes:
    return struct.pack("<2i", *filters.shape) + filters.astype(np.float32).tobytes()


def _vocabulary(symbols: tuple[str, ...]) -> bytes:
    values = {symbol: byte for byte, symbol in enumerate(byte_alphabet())}
    tokens = [bytes(values[each] for each in symbol) for symbol in symbols[:TEXT_TOKENS]]
    listed = (struct.pack("<I", len(token)) + token for token in tokens)
    return struct.pack("<i", len(tokens)) + b"".join(listed)


def _name(ours: str) -> str:
    for pattern, replacement in _NAMES:
        ours = re.sub(pattern, replacement, ours)
    return ours


def _tensor(name: str, values: NDArray[np.float32], kind: BlockFormat) -> bytes:
    """Header, name and data; sizes are innermost first."""
    if re.search(r"\.conv\d\.bias$", name):
        values = values[:, None]  # added to rows of frames
    shape, number, data = values.shape, kind.tensor_type, b""
    if re.search(r"\.conv\d\.weight$", name):
        number, data = FLOAT16, values.astype(np.float16).tobytes()
    elif values.ndim == 1 or name.endswith(("positional_embedding", ".bias")):
        number, data = FLOAT32, values.astype(np.float32).tobytes()
    else:
        data = kind.encode(values)
    header = struct.pack("<3i", len(shape), len(name), number)
    return header + struct.pack(f"<{len(shape)}i", *reversed(shape)) + name.encode() + data
