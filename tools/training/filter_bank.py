"""Start the first convolution as a bank of band-pass filters.

Learning such filters from random weights takes most of a short training; starting from them, one
long first kernel does the work of several short layers at a fraction of the cost. The filters are
Gabor-like (Hann-windowed cosine and sine pairs) at mel-spaced centres; training still changes them.
The mel scale is O'Shaughnessy's: m = 2595 log10(1 + f / 700).
"""

import math

import torch

from tools.training.synthetic_speech import SAMPLE_RATE_HZ

LOWEST_HZ, HIGHEST_HZ = 80.0, 7200.0


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def filter_bank(filters: int, taps: int) -> torch.Tensor:
    """Return [filters, 1, taps] unit-norm filters: cosine and sine pairs, low to high."""
    if filters % 2 != 0:
        raise ValueError(f"{filters} filters don't make pairs: give conv_dim an even first entry")
    mels = torch.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), filters // 2)
    centres_hz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    samples = torch.arange(taps) - (taps - 1) / 2
    phase = 2.0 * math.pi * centres_hz[:, None] * samples / SAMPLE_RATE_HZ  # [pairs, taps]
    window = torch.hann_window(taps, periodic=False)
    pairs = torch.stack([phase.cos() * window, phase.sin() * window], dim=1)  # [pairs, 2, taps]
    bank = pairs.reshape(filters, 1, taps)
    return bank / bank.norm(dim=-1, keepdim=True)
