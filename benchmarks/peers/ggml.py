"""Whisper as whisper.cpp's own tools would write it: one type of weights, rounded as ggml rounds."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.blocks import BlockFormat
from myqasr.exporters.ggml.container import (
    Sizes,
    Tensor,
    float_tensor,
    front,
    is_matrix,
    write_file,
)

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
    write_file(
        path, front(_sizes(weights, heads, filters, kind), filters, symbols), _all(weights, kind)
    )


def _all(weights: Weights, kind: BlockFormat) -> Iterator[Tensor]:
    for name, values in weights.items():
        tensor = float_tensor(name, values)
        if is_matrix(tensor.name, values.ndim):
            tensor = Tensor(tensor.name, tensor.shape, kind.tensor_type, kind.encode(values))
        yield tensor


def _sizes(weights: Weights, heads: int, filters: NDArray[np.float32], kind: BlockFormat) -> Sizes:
    def of(half: str) -> tuple[int, int, int, int]:
        positions, size = weights[f"model.{half}.embed_positions.weight"].shape
        return positions, size, heads, _layers(weights, half)

    tokens = len(weights["model.decoder.embed_tokens.weight"])
    return Sizes(tokens, *of("encoder"), *of("decoder"), len(filters), kind.file_type)


def _layers(weights: Weights, half: str) -> int:
    found = (re.match(rf"model\.{half}\.layers\.(\d+)\.", name) for name in weights)
    return 1 + max(int(match[1]) for match in found if match)
