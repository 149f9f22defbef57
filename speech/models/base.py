"""The one view of a speech model that everything downstream works on."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.core.errors import AudioError, ModelError
from myqasr.speech.caching import token_steps
from myqasr.speech.decoding import Tokens, best_tokens, greedy_logits, greedy_text
from myqasr.speech.segments import split_at_pauses

SAMPLE_RATE = 16_000

NORMALIZE_EPSILON = 1e-7

PIECE_SECONDS = 15.0
"""Longer recordings are cut at pauses before they go into a model that hears any length: what it takes of
memory grows with the square of the length."""

LEAST_HEARD_SECONDS = 10
REST_SECONDS = 2
"""Of silence after a clip."""

PUBLISHED = "published"


class TokenEmbedding(nn.Embedding):
    """A table of token vectors: a layer, where other embeddings are small and stay as they are.

    matrix_of: the layer of the model that has the same weight; empty if none.
    """

    bias = None
    matrix_of: str = ""


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """A float32 model in eval mode: a recogniser, or a classifier that gives one frame.

    module: [1, samples] normalised waveform -> [1, frames, vocab] logits. Exportable: batch 1, no mask,
        eager attention, weight norm folded. A module that writes token by token also takes the ids so far
        [1, ids] and gives [1, tokens written, vocab]; it is exported as its methods `encode` and `decode`
        (see speech/models/whisper/network.py).
    layer_prefix: what stands before the architecture's own layer names inside `module`.
    normalize: the waveform is shifted and scaled to zero mean and unit variance first.
    stride_samples: samples per output frame. min_samples: shortest input that gives one frame.
    max_samples: longest input. None: any length.
    block_samples: of a model that takes one length: `module` by itself takes any multiple of so many.
    languages: code -> token id of those that it can be told to write, for models that are told.
    language: the one that it was told, by whoever named the model or by its own files; None when nobody did.
    adapted_from: `weights_hash` of the model that it was before it learned one person's speech; None for one
        that is as it was published.
    """

    model_id: str
    module: nn.Module
    layer_prefix: str
    tokens: Tokens
    normalize: bool
    stride_samples: int
    min_samples: int
    max_samples: int | None = None
    languages: Mapping[str, int] = field(default_factory=dict)
    language: str | None = None
    block_samples: int | None = None
    adapted_from: str | None = None

    def features(self, waveform: NDArray[np.float32]) -> Tensor:
        """Model input [1, samples] from a 16 kHz mono waveform [samples]; short ones are zero-padded.

        Raises UserError for one that is longer than the model hears.
        """
        if self.max_samples is not None and len(waveform) > self.max_samples:
            raise AudioError(
                f"{self.model_id} hears {self.max_samples / SAMPLE_RATE:g} s at once, not "
                f"{len(waveform) / SAMPLE_RATE:.1f} s; cut the recording into `pieces`"
            )
        signal = waveform.astype(np.float32)
        if self.normalize:
            signal = normalize_waveform(signal)
        if len(signal) < self.min_samples:
            signal = np.pad(signal, (0, self.min_samples - len(signal)))
        return torch.from_numpy(signal)[None]

    def unpadded(self, features: Tensor, samples: int) -> Tensor:
        """Model input [1, samples] of a clip so long, without most of the zeros after it.

        For looking into `module`, whose layers would see little else. Not for what it writes: with less than
        10 s, or the end close to the last word, a Whisper writes other words.
        """
        if self.block_samples is None:
            return features
        least = max(samples + REST_SECONDS * SAMPLE_RATE, LEAST_HEARD_SECONDS * SAMPLE_RATE)
        return features[:, : -(-least // self.block_samples) * self.block_samples]

    @property
    def piece_samples(self) -> int:
        """Longest recording that goes into the model in one piece."""
        return self.max_samples or round(PIECE_SECONDS * SAMPLE_RATE)

    def pieces(self, waveform: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """A waveform [samples] of any length in pieces that the model takes, cut at pauses."""
        shortest = min(self.min_samples, self.piece_samples // 2)
        return split_at_pauses(waveform, self.piece_samples, shortest)

    def inputs(self, waveform: NDArray[np.float32], device: str = "cpu") -> tuple[Tensor, ...]:
        """All that `module`, lying on `device`, takes for one waveform [samples].

        For a model that writes token by token this includes what it writes, which is found out here.
        """
        features = self.features(waveform).to(device)
        how = self.tokens.autoregression
        if how is None:
            return (features,)
        written = best_tokens(run(self.module, features, self.tokens), how)
        return features, torch.tensor([[*how.prompt, *written[:-1]]], device=device)

    def logits(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Float logits of one waveform [samples]: [frames, vocab], or [tokens written, vocab]."""
        return run(self.module, self.features(waveform), self.tokens)

    def transcribe(self, waveform: NDArray[np.float32]) -> str:
        """Greedy text of one waveform [samples] of any length."""
        texts = (greedy_text(self.logits(piece), self.tokens) for piece in self.pieces(waveform))
        return " ".join(text for text in texts if text)

    def layers(self) -> dict[str, nn.Module]:
        """Linear, convolution and token embedding modules by their own names: the bulk of the weights."""
        return {
            name.removeprefix(self.layer_prefix): module
            for name, module in self.module.named_modules()
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | TokenEmbedding)
        }

    def float_bytes(self) -> int:
        """Bytes of the weights in float32; a matrix that two layers share counts once, also as a copy."""
        counted: dict[tuple[object, ...], Tensor] = {}
        total = 0
        for weight in self.module.parameters():
            begins = (weight.shape, *weight.detach().flatten()[:8].tolist())
            known = counted.setdefault(begins, weight)
            copied = weight.dim() > 1 and known is not weight and torch.equal(known, weight)
            total += 0 if copied else weight.numel()
        return 4 * total

    def weights_hash(self) -> str:
        """Hex sha256 over names, shapes and bytes of all parameters and buffers."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def check_weights(self) -> None:
        """Raise UserError naming the first parameter that holds NaN or infinity."""
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ModelError(
                    f"{self.model_id}: weight {name.removeprefix(self.layer_prefix)} holds NaN or "
                    "infinite values; the checkpoint is damaged, fetch or train it again"
                )

    def check_outputs(self) -> None:
        """Raise UserError unless the shortest input gives a frame with an output for every token.

        A configuration may be nonsense that only shows when the model runs. Models that write token by token
        aren't tried: their input is half a minute long.
        """
        if self.tokens.autoregression is not None:
            return
        with torch.inference_mode():
            logits = self.module(*self.inputs(np.zeros(self.min_samples, np.float32)))
        if logits.dim() != 3 or logits.shape[2] != len(self.tokens.symbols):
            raise ModelError(
                f"{self.model_id}: its outputs have shape {tuple(logits.shape)}, for "
                f"{len(self.tokens.symbols)} tokens"
            )


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model lies, and how it is asked to be: `NAME?language=de&window=10`.

    language: that it is told to write, for multilingual models. window: seconds of audio that it takes at a
    time, for models that take one length. table: `published` leaves a Whisper's table of tokens as it was
    published, for runtimes that can't undo what evens it out; see `whisper.evening`.
    """

    name: str
    language: str | None = None
    window: float | None = None
    table: str | None = None

    @classmethod
    def parse(cls, source: str) -> "Source":
        """Raises ModelError for anything else after the question mark."""
        name, _, options = source.partition("?")
        if "=" not in options:  # a question mark of the name's own
            return cls(source)
        found = dict.fromkeys(("language", "window", "table"), "")
        for option in options.split("&"):
            key, _, value = option.partition("=")
            if key not in found or not value or (key == "table" and value != PUBLISHED):
                raise ModelError(
                    f"{source}: can't read {option!r} after the question mark; write language=de, "
                    f"window=10 or table={PUBLISHED}, joined by &"
                )
            found[key] = value
        window = _seconds(found["window"], source)
        return cls(name, found["language"] or None, window, found["table"] or None)

    def __str__(self) -> str:
        window = None if self.window is None else f"{self.window:g}"
        asked = (("language", self.language), ("window", window), ("table", self.table))
        options = "&".join(f"{key}={value}" for key, value in asked if value is not None)
        return f"{self.name}?{options}" if options else self.name


def _seconds(text: str, source: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < np.inf:
        raise ModelError(f"{source}: a window is seconds of audio, e.g. window=10; not {text!r}")
    return seconds


def need_sample_rate(model_id: object, rate: int) -> None:
    """Raises ModelError unless a model hears 16 kHz."""
    if rate != SAMPLE_RATE:
        raise ModelError(f"{model_id} wants {rate} Hz audio; only 16 kHz is supported")


def run(module: nn.Module, features: Tensor, tokens: Tokens) -> NDArray[np.float32]:
    """Logits [frames, vocab], or of greedy decoding [tokens written, vocab], of features [1, samples].

    module: a `SpeechModel`'s, on the device of the features.
    """
    with torch.inference_mode():
        if tokens.autoregression is None:
            result: NDArray[np.float32] = module(features)[0].float().cpu().numpy()
            return result
        encode: Any = module.encode
        decode: Any = module.decode
        how = tokens.autoregression
        return greedy_logits(token_steps(decode, encode(features), how.max_tokens), how)


def normalize_waveform(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean, unit variance over the utterance, as the feature extractor of wav2vec 2.0 does."""
    centred = waveform - waveform.mean(dtype=np.float64)
    scaled = centred / np.sqrt(centred.var(dtype=np.float64) + NORMALIZE_EPSILON)
    return scaled.astype(np.float32)


def min_input_samples(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Shortest input of a stack of unpadded convolutions that yields one frame."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
