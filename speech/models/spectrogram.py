"""Log-mel features inside the model: the file on the phone takes the waveform, nothing is left to the app.

Everything up to the power spectrum is linear in the samples of a frame (offset removal, pre-emphasis, window,
Fourier transform), hence one convolution whose taps are computed once in float64. Its weights and the mel
filters are facts, not parameters: they stay float32 in every plan.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Matrix = NDArray[np.float64]


class FixedLinear(nn.Linear):
    """A linear layer that is not learned and not quantised."""


class FixedConv1d(nn.Conv1d):
    """A convolution that is not learned and not quantised."""


def fourier(taps: int, size: int) -> Matrix:
    """Real and imaginary parts of a zero-padded transform of `size` points, [2 * (size // 2 + 1), taps]."""
    angles = -2 * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(taps)) / size
    return np.concatenate((np.cos(angles), np.sin(angles)))


def without_offset(taps: int) -> Matrix:
    """Subtracts the frame's mean, [taps, taps]."""
    return np.eye(taps) - 1 / taps


def emphasised(taps: int, factor: float) -> Matrix:
    """x[t] - factor * x[t - 1] within the frame, its first sample times 1 - factor (Kaldi), [taps, taps]."""
    matrix = np.eye(taps) - factor * np.eye(taps, k=-1)
    matrix[0, 0] = 1 - factor
    return matrix


class MelSpectrogram(nn.Module):
    """Mel energies of overlapping frames.

    frame: linear map from a frame's samples to real and imaginary parts, [2 * bins, taps].
    filters: [mels, bins]. padding: zeros before and after the waveform, samples.
    """

    def __init__(self, frame: Matrix, filters: Matrix, hop: int, padding: tuple[int, int]) -> None:
        super().__init__()
        parts, taps = frame.shape
        # Taps that are a multiple of the hop can be laid out as blocks; the added ones are zero.
        added = -taps % hop
        self.padding = (padding[0], padding[1] + added)
        self.transform = FixedConv1d(1, parts, taps + added, stride=hop, bias=False)
        self.mel = FixedLinear(filters.shape[1], filters.shape[0], bias=False)
        self.transform.weight.data[:] = 0
        self.transform.weight.data[:, 0, :taps] = torch.from_numpy(frame)
        self.mel.weight.data = torch.from_numpy(np.asarray(filters, np.float32).copy())
        self.requires_grad_(False)

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, mels]."""
        padded = functional.pad(waveform, self.padding)
        parts = self.transform(padded[:, None]).transpose(1, 2)
        real, imaginary = parts.chunk(2, dim=2)
        energies: Tensor = self.mel(real * real + imaginary * imaginary)
        return energies


def standardised(features: Tensor, spread: Callable[[Tensor], Tensor]) -> Tensor:
    """Every mel bin [1, frames, mels] with zero mean over the utterance, divided by spread(variance).

    The variance is that of a sample: the sum of squares over frames - 1.
    """
    centred = features - features.mean(dim=1, keepdim=True)
    one_less = torch.ones_like(features[:, 1:, :1]).sum(dim=1, keepdim=True)
    variance = (centred * centred).sum(dim=1, keepdim=True) / one_less
    return centred / spread(variance)
