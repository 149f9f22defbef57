"""What takes part: the float model, the rivals with their files made from the same weights, and our files."""

import hashlib
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

from benchmarks.peers.blocks import FORMATS
from benchmarks.peers.ctranslate2_int8 import write_int8
from benchmarks.peers.ggml import write_ggml
from benchmarks.peers.onnx_int8 import HALVES
from benchmarks.results import ROOT
from myqasr.core.errors import UserError
from myqasr.core.storage import sha256_of_file, to_json, write_bytes
from myqasr.speech.models import load_model
from myqasr.speech.models.whisper import ctranslate2
from myqasr.speech.models.whisper.packages import located

WORKERS = "benchmarks.peers.workers"
MODELS = {"tiny.en": "whisper-tiny.en", "base": "whisper-base"}
"""As this benchmark names them -> as myqasr does."""
FLOAT, CTRANSLATE2, ONNX = "float (torch)", "CTranslate2 int8", "ONNX Runtime int8"
WHISPER_CPP = {name: f"whisper.cpp {name}" for name in FORMATS}
RIVALS = (*WHISPER_CPP.values(), CTRANSLATE2, ONNX)


@dataclass(frozen=True, slots=True)
class System:
    """One that takes part. worker: module that runs it, with `settings`. files: those whose bytes count."""

    name: str
    worker: str
    settings: dict[str, Any]
    files: tuple[Path, ...] = ()
    python: str | None = field(default=None)

    @property
    def size_bytes(self) -> int | None:
        """Of its files; None without any."""
        return sum(file.stat().st_size for file in self.files) or None

    def fingerprint(self) -> str:
        """Of what it runs: another one, and kept results aren't its own."""
        digest = hashlib.sha256(f"{self.worker} {self.settings.get('runner')}".encode())
        for file in self.files:
            digest.update(sha256_of_file(file).encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's weights by their names in transformers, and as CTranslate2 stores them."""

    state: dict[str, NDArray[np.float32]]
    variables: ctranslate2.Variables
    heads: int
    folder: Path


def spoken_model(model: str) -> str:
    """The model that myqasr loads, told its language where it knows more than one."""
    name = MODELS[model]
    return name if name.endswith(".en") else f"{name}?language=en"


def float_system(model: str, threads: int) -> System:
    """The float model in torch: what all texts are held against."""
    return System(FLOAT, f"{WORKERS}.ours", {"model": spoken_model(model), "threads": threads})


def our_file(name: str, path: Path, runner: str, threads: int) -> System:
    """An exported file, which lies beside its manifest.json."""
    settings = {"path": str(path), "runner": runner, "threads": threads}
    return System(name, f"{WORKERS}.ours", settings, (path,))


def rival_systems(
    model: str, wanted: Sequence[str], folder: Path, python: str, threads: int
) -> list[System]:
    """The rivals by their names in `RIVALS`; files that aren't in `folder` yet are made.

    python: interpreter with the extra `peers`, which runs them. Raises UserError for an unknown name.
    """
    unknown = sorted(set(wanted) - set(RIVALS))
    if unknown:
        raise UserError(f"unknown rivals {', '.join(unknown)}; known: {', '.join(RIVALS)}")
    if not wanted:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    loaded = load_model(spoken_model(model))
    tokens, filters = folder / "tokens.json", folder / "mel_filters.npy"
    write_bytes(tokens, to_json(loaded.tokens).encode())
    mels = WhisperFeatureExtractor().mel_filters.T.astype(np.float32)
    np.save(filters, mels)
    common = {"threads": threads, "tokens": str(tokens), "filters": str(filters)}
    weights = _weights(model)
    found = []
    for kind, name in WHISPER_CPP.items():
        if name in wanted:
            path = folder / f"ggml-{model}-{kind}.bin"
            if not path.is_file():
                symbols, form = loaded.tokens.symbols, FORMATS[kind]
                write_ggml(path, weights.state, weights.heads, mels, symbols, form)
            settings = {"path": str(path), "threads": threads}
            found.append(System(name, f"{WORKERS}.whisper_cpp", settings, (path,), python))
    if CTRANSLATE2 in wanted:
        place = folder / "ctranslate2"
        _made(place / "model.bin", lambda path: _write_ctranslate2(path, weights))
        settings = {"path": str(place), **common}
        files = (place / "model.bin",)
        found.append(System(CTRANSLATE2, f"{WORKERS}.ctranslate2", settings, files, python))
    if ONNX in wanted:
        place = folder / "onnx"
        _made(place / HALVES[1], lambda path: _write_onnx(path.parent, model, python))
        settings = {"path": str(place), "halves": HALVES, **common}
        files = tuple(place / half for half in HALVES)
        found.append(System(ONNX, f"{WORKERS}.onnx_runtime", settings, files, python))
    return sorted(found, key=lambda system: RIVALS.index(system.name))


def _made(path: Path, make: Callable[[Path], None]) -> None:
    if not path.is_file():
        make(path)


def _weights(model: str) -> Weights:
    folder, parts = located(MODELS[model])
    variables = ctranslate2.read_variables(parts)
    name = str(folder)
    state = ctranslate2.state_dict(variables, name)
    arrays = {key: tensor.numpy() for key, tensor in state.items()}
    return Weights(arrays, variables, ctranslate2.heads(variables, name), folder)


def _write_ctranslate2(path: Path, weights: Weights) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in weights.folder.iterdir():
        if file.suffix in (".json", ".txt"):
            write_bytes(path.parent / file.name, file.read_bytes())
    write_int8(path, weights.variables)


def _write_onnx(folder: Path, model: str, python: str) -> None:
    command = [python, "-m", "benchmarks.peers.onnx_int8", spoken_model(model), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"{ONNX}: its files can't be made: {last}; needs {python} with myqasr[peers]"
        )
