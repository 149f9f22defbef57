"""Whisper's ggml file (whisper.cpp, `whisper_model_load`): sizes, mel filters, vocabulary, then tensors.

Nothing is aligned. Names are OpenAI's; a tensor's sizes are listed innermost first.
"""

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import BrokenFileError
from myqasr.core.placing import replacing
from myqasr.core.reading import reading
from myqasr.exporters.ggml.types import BLOCK_TYPES, F16, F32, bytes_of
from myqasr.speech.decoding import byte_alphabet

MAGIC = 0x67676D6C
TEXT_TOKENS = 50_257
"""Tokens that a file lists at most: those of text; whisper.cpp makes up the special ones."""

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

TABLE = "decoder.token_embedding.weight"
_SIZES = "<I11i"


def name_of(ours: str) -> str:
    """A tensor's name in the file, from that in transformers."""
    for pattern, replacement in _NAMES:
        ours = re.sub(pattern, replacement, ours)
    return ours


def is_matrix(name: str, rank: int) -> bool:
    """Whether a tensor of the file has the file's type; norms, biases and positions are float32."""
    return rank == 2 and not name.endswith(("positional_embedding", ".bias"))


def is_convolution(name: str) -> bool:
    """Whether it is a convolution's weight, which is float16 in every file."""
    return re.search(r"\.conv\d\.weight$", name) is not None


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the header says, in its order."""

    tokens: int
    audio_positions: int
    audio_size: int
    audio_heads: int
    audio_layers: int
    text_positions: int
    text_size: int
    text_heads: int
    text_layers: int
    mels: int
    file_type: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """name: OpenAI's. shape: outermost first. number: of its type. data: as it lies in the file."""

    name: str
    shape: tuple[int, ...]
    number: int
    data: bytes | memoryview

    @property
    def header(self) -> bytes:
        """What lies before the data."""
        sizes = struct.pack(f"<{len(self.shape)}i", *reversed(self.shape))
        return (
            struct.pack("<3i", len(self.shape), len(self.name), self.number)
            + sizes
            + self.name.encode()
        )


def float_tensor(ours: str, values: NDArray[np.float32]) -> Tensor:
    """A tensor that has no codes, by its name in transformers: float16 for convolutions, else float32."""
    name = name_of(ours)
    if re.search(r"\.conv\d\.bias$", name):
        values = values[:, None]  # added to rows of frames
    number = F16 if is_convolution(name) else F32
    kind = np.float16 if number == F16 else np.float32
    return Tensor(name, values.shape, number, values.astype(kind).tobytes())


def front(sizes: Sizes, filters: NDArray[np.float32], symbols: Sequence[str]) -> bytes:
    """All before the tensors.

    filters: [mels, frequencies]. symbols: text of every token, in GPT-2's byte alphabet; the special ones,
    which come last, needn't be there.
    """
    fields = (getattr(sizes, name) for name in Sizes.__slots__)
    return b"".join(
        (
            struct.pack(_SIZES, MAGIC, *fields),
            struct.pack("<2i", *filters.shape),
            filters.astype(np.float32).tobytes(),
            _vocabulary(symbols),
        )
    )


def _vocabulary(symbols: Sequence[str]) -> bytes:
    values = {symbol: byte for byte, symbol in enumerate(byte_alphabet())}
    tokens = [
        bytes(values[each] for each in symbol if each in values) for symbol in symbols[:TEXT_TOKENS]
    ]
    listed = (struct.pack("<I", len(token)) + token for token in tokens)
    return struct.pack("<i", len(tokens)) + b"".join(listed)


def write_file(path: Path, begin: bytes, tensors: Iterable[Tensor]) -> None:
    """Write a file, whole or not at all. begin: from `front`."""
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(begin)
        for tensor in tensors:
            file.write(tensor.header)
            file.write(tensor.data)


@dataclass(frozen=True, slots=True)
class GgmlFile:
    """What is in a file. filters: float32 [mels, frequencies]."""

    sizes: Sizes
    filters: NDArray[np.float32]
    tensors: tuple[Tensor, ...]


def read_file(path: Path) -> GgmlFile:
    """Raises BrokenFileError naming the file when it is none of Whisper's, or doesn't end with a tensor."""
    with reading(path, "isn't a whole ggml file of Whisper", "run `myqasr export` again"):
        return _parsed(memoryview(path.read_bytes()), path)


def _parsed(data: memoryview, path: Path) -> GgmlFile:
    magic, *fields = struct.unpack_from(_SIZES, data)
    if magic != MAGIC:
        raise BrokenFileError(f"{path} isn't a ggml file; run `myqasr export` again")
    sizes, place = Sizes(*fields), struct.calcsize(_SIZES)
    mels, frequencies = struct.unpack_from("<2i", data, place)
    filters = np.frombuffer(data, np.float32, mels * frequencies, place + 8)
    place += 8 + filters.nbytes
    (count,) = struct.unpack_from("<i", data, place)
    place += 4
    for _ in range(count):
        place += 4 + struct.unpack_from("<I", data, place)[0]
    known = {F32, F16, *(each.number for each in BLOCK_TYPES)}
    tensors = []
    while place < len(data):
        rank, length, number = struct.unpack_from("<3i", data, place)
        shape = struct.unpack_from(f"<{rank}i", data, place + 12)[::-1]
        place += 12 + 4 * rank
        name = bytes(data[place : place + length]).decode()
        place += length
        size = bytes_of(number, int(np.prod(shape)))
        if number not in known or size < 0 or place + size > len(data):
            raise BrokenFileError(
                f"{path}: tensor {name} of type {number} doesn't end within the file; run `myqasr export` "
                "again"
            )
        tensors.append(Tensor(name, shape, number, data[place : place + size]))
        place += size
    return GgmlFile(sizes, filters.reshape(mels, frequencies), tuple(tensors))
