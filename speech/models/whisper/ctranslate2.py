"""Whisper as CTranslate2 stores it: the folders that faster-whisper downloads.

`model.bin`, version 6, little endian: version, name of the specification, revision, variables (name, rank,
shape, type, bytes), and names that are aliases of others (python/ctranslate2/specs/model_spec.py there).
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core.errors import ModelError

MODEL = "model.bin"
SPECIFICATION = "WhisperSpec"
VERSIONS = (5, 6)
GELU = 3

_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
_LINEAR = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
"""A layer's matrices: the stored one -> those of transformers, stacked by rows."""
_NORMS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
}

Variables = dict[str, NDArray[np.generic]]


def is_ctranslate2(folder: Path) -> bool:
    """Whether a folder holds a Whisper of CTranslate2."""
    path = folder / MODEL
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return SPECIFICATION.encode() in file.read(64)


class _Reader:
    """Walks through the bytes; every error names the file."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.place = data, name, 0

    def take(self, count: int) -> bytes:
        if self.place + count > len(self.data):
            raise ModelError(f"{self.name} is cut off: fetch it again")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, form: str) -> int:
        (value,) = struct.unpack(f"<{form}", self.take(struct.calcsize(form)))
        return int(value)

    def text(self) -> str:
        return self.take(self.number("H"))[:-1].decode()


def read_variables(parts: Sequence[Path]) -> Variables:
    """Every variable of a `model.bin`, which may lie in several parts; aliases are left out.

    Raises ModelError naming the file when it isn't one, is cut off, or of a version that isn't read.
    """
    name = str(parts[0])
    reader = _Reader(b"".join(part.read_bytes() for part in parts), name)
    version, specification = reader.number("I"), reader.text()
    if specification != SPECIFICATION or version not in VERSIONS:
        raise ModelError(
            f"{name} is a {specification} of version {version}; only {SPECIFICATION} of version 6 is read"
        )
    reader.number("I")
    variables: Variables = {}
    for _ in range(reader.number("I")):
        key = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = reader.number("B")
        if kind >= len(_TYPES):
            raise ModelError(
                f"{name}: {key} is of a type that isn't read; use a float16 or int8 model"
            )
        values = np.frombuffer(reader.take(reader.number("I")), _TYPES[kind])
        if values.size != int(np.prod(shape)):
            raise ModelError(f"{name}: {key} has {values.size} values, its shape is {shape}")
        variables[key] = values.reshape(shape)
    return variables


def state_dict(variables: Variables, name: str) -> dict[str, Tensor]:
    """The weights by their names in transformers, float32. Raises ModelError naming what is missing."""

    def floats(key: str) -> Tensor:
        if key not in variables:
            raise ModelError(f"{name} has no {key}")
        values = variables[key]
        scales = variables.get(f"{key}_scale")
        if scales is not None:  # integers, a scale for each row: code = value * scale
            steps = scales.astype(np.float32).reshape(-1, *(1,) * (values.ndim - 1))
            return torch.from_numpy(values.astype(np.float32) / steps)
        return torch.from_numpy(values.astype(np.float32))

    state: dict[str, Tensor] = {}

    def both(ours: str, theirs: str) -> None:
        state[f"{ours}.weight"] = floats(f"{theirs}/weight")
        state[f"{ours}.bias"] = floats(f"{theirs}/bias")

    def norm(ours: str, theirs: str) -> None:
        state[f"{ours}.weight"] = floats(f"{theirs}/gamma")
        state[f"{ours}.bias"] = floats(f"{theirs}/beta")

    for half in ("encoder", "decoder"):
        for layer in range(layers(variables, half)):
            stored, ours = f"{half}/layer_{layer}", f"model.{half}.layers.{layer}"
            for part, names in _LINEAR.items():
                if f"{stored}/{part}/weight" not in variables:
                    continue  # an encoder looks nothing up
                weights = floats(f"{stored}/{part}/weight").chunk(len(names))
                biases = floats(f"{stored}/{part}/bias").chunk(len(names))
                for target, weight, bias in zip(names, weights, biases, strict=True):
                    state[f"{ours}.{target}.weight"] = weight.clone()
                    if not target.endswith("k_proj"):  # zero: keys have no bias
                        state[f"{ours}.{target}.bias"] = bias.clone()
            for part, target in _NORMS.items():
                if f"{stored}/{part}/gamma" in variables:
                    norm(f"{ours}.{target}", f"{stored}/{part}")
        norm(f"model.{half}.layer_norm", f"{half}/layer_norm")
        state[f"model.{half}.embed_positions.weight"] = floats(
            f"{half}/position_encodings/encodings"
        )
    for convolution in ("conv1", "conv2"):
        both(f"model.encoder.{convolution}", f"encoder/{convolution}")
    state["model.decoder.embed_tokens.weight"] = floats("decoder/embeddings/weight")
    return state


def layers(variables: Variables, half: str) -> int:
    """How many layers `encoder` or `decoder` has."""
    begins = {key.split("/")[1] for key in variables if key.startswith(f"{half}/layer_")}
    return sum(begin != "layer_norm" for begin in begins)


def heads(variables: Variables, name: str) -> int:
    """Attention heads; raises ModelError for a network that isn't Whisper's."""
    if int(variables.get("decoder/activation", np.array(GELU))) != GELU:
        raise ModelError(f"{name}: an activation that Whisper doesn't have")
    if "decoder/num_heads" not in variables:
        raise ModelError(f"{name} has no decoder/num_heads")
    return int(variables["decoder/num_heads"])


def suppressed(folder: Path) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Ids never written, and ids that no text starts with, as config.json lists them, if it does."""
    path = folder / "config.json"
    try:
        held = json.loads(path.read_text()) if path.is_file() else {}
        if "suppress_ids" not in held:
            return None
        return tuple(held["suppress_ids"]), tuple(held.get("suppress_ids_begin", ()))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
