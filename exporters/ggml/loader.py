"""What the installed whisper.cpp takes: which types of weights, and whether a file may mix them.

Known of the version that the extra `whisper-cpp` installs; of any other it is found out, by files of a few
kilobytes in processes of their own, when a menu is first asked for. A loader that takes more than this one
therefore opens the menu by itself. That a type computes what it should is for the tests to say, which hold
every one against the reference; that it loads is not enough.
"""

import functools
import importlib.metadata
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from myqasr.core import children
from myqasr.core.children import scratch_folder
from myqasr.core.errors import UserError
from myqasr.exporters.ggml import library
from myqasr.exporters.ggml.container import (
    Sizes,
    Tensor,
    float_tensor,
    front,
    is_matrix,
    write_file,
)
from myqasr.exporters.ggml.types import BLOCK_TYPES, FILE_TYPES, bytes_of
from myqasr.speech.decoding import byte_alphabet

SECONDS = 60
WIDTH, MELS, POSITIONS = 256, 80, 32


@dataclass(frozen=True, slots=True)
class Loader:
    """types: names of the types in blocks that it takes. mixes: whether a file may have several."""

    types: frozenset[str]
    mixes: bool


KNOWN_VERSION = "1.5.1"
KNOWN = Loader(frozenset(each.name for each in BLOCK_TYPES), mixes=False)


@functools.cache
def loader() -> Loader:
    """Of the installed wheel; of `KNOWN_VERSION` where none is."""
    try:
        found = library.version()
    except importlib.metadata.PackageNotFoundError:
        return KNOWN
    return KNOWN if found == KNOWN_VERSION else probed()


def probed() -> Loader:
    """Tried now: each type alone, and one matrix of another type among those of the first."""
    with scratch_folder("ggml") as folder:
        path = folder / "probe.bin"
        taken = []
        for each in BLOCK_TYPES:
            write_probe(path, each.number, each.number)
            if loads(path):
                taken.append(each)
        mixes = False
        if len(taken) > 1:
            write_probe(path, taken[0].number, taken[1].number)
            mixes = loads(path)
    return Loader(frozenset(each.name for each in taken), mixes)


def loads(path: Path) -> bool:
    """Whether a file is taken, by a process of its own. Raises UserError when that can't be said."""
    command = [sys.executable, "-P", "-m", "myqasr.exporters.ggml.library", str(path)]
    try:
        done = children.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"whisper.cpp doesn't load a small file in {SECONDS} s") from error
    return done.returncode == 0


def write_probe(path: Path, number: int, other: int) -> None:
    """A Whisper of one layer and zeros, its matrices of one type but for one of another."""
    symbols = byte_alphabet()
    sizes = Sizes(
        len(symbols), POSITIONS, WIDTH, 2, 1, POSITIONS, WIDTH, 2, 1, MELS, FILE_TYPES[number]
    )
    filters = np.zeros((MELS, 201), np.float32)
    tensors = []
    for name, shape in _shapes(len(symbols)).items():
        tensor = float_tensor(name, np.zeros(shape, np.float32))
        if is_matrix(tensor.name, len(shape)):
            kind = other if name.endswith("decoder.layers.0.fc2.weight") else number
            data = bytes(bytes_of(kind, int(np.prod(shape))))
            tensor = Tensor(tensor.name, shape, kind, data)
        tensors.append(tensor)
    write_file(path, front(sizes, filters, symbols), tensors)


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Of every tensor, by its name in transformers."""
    found: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (WIDTH, MELS, 3),
        "encoder.conv2.weight": (WIDTH, WIDTH, 3),
        "decoder.embed_tokens.weight": (vocabulary, WIDTH),
    }
    found |= {f"encoder.{name}.bias": (WIDTH,) for name in ("conv1", "conv2")}
    for half in ("encoder", "decoder"):
        found[f"{half}.embed_positions.weight"] = (POSITIONS, WIDTH)
        layer = f"{half}.layers.0"
        seen = ["self_attn", *(["encoder_attn"] if half == "decoder" else [])]
        norms = [f"{layer}.{each}_layer_norm" for each in (*seen, "final")]
        for norm in (*norms, f"{half}.layer_norm"):
            found |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
        for attention in seen:
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                found[f"{layer}.{attention}.{part}.weight"] = (WIDTH, WIDTH)
                if part != "k_proj":
                    found[f"{layer}.{attention}.{part}.bias"] = (WIDTH,)
        for part, shape in (("fc1", (4 * WIDTH, WIDTH)), ("fc2", (WIDTH, 4 * WIDTH))):
            found[f"{layer}.{part}.weight"], found[f"{layer}.{part}.bias"] = shape, shape[:1]
    return found
