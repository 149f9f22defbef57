"""Position embeddings of Conformers for the length at hand, and attention that uses them."""

import torch
from torch import Tensor, nn


class SinusoidsOfDistance(nn.Module):
    """Sines and cosines of the distances frames - 1 ... 1 - frames (Dai et al., "Transformer-XL", 2019).

    Computed for the length at hand, where transformers keeps a table that it extends as it goes.
    """

    frequencies: Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        frequencies = 10_000.0 ** (-torch.arange(0, hidden_size, 2).double() / hidden_size)
        self.register_buffer("frequencies", frequencies.float())

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[1, frames, hidden] -> [1, 2 * frames - 1, hidden]."""
        frames = hidden_states.shape[1]
        distances = (frames - 1) - torch.arange(2 * frames - 1, device=hidden_states.device)
        angles = distances[:, None].float() * self.frequencies
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[None]


class Rotations(nn.Module):
    """Cosines and sines of rotary positions (Su et al., "RoFormer", 2021), for the length at hand."""

    frequencies: Tensor

    def __init__(self, head_size: int, base: float) -> None:
        super().__init__()
        frequencies = float(base) ** (-torch.arange(0, head_size, 2).double() / head_size)
        self.register_buffer("frequencies", frequencies.float())

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[1, frames, hidden] -> [2, 1, frames, 1, head_size]."""
        frames = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        angles = frames[:, None].float() * self.frequencies
        angles = torch.cat((angles, angles), -1)
        return torch.stack((angles.cos(), angles.sin()))[:, None, :, None]


def by_distance(scores: Tensor) -> Tensor:
    """Scores of every query against every distance, read at the distance of every key.

    [1, heads, frames, 2 * frames - 1], distances from frames - 1 down -> [1, heads, frames, frames].
    A gather: the usual padding and reshaping can't be traced with an unknown number of frames.
    """
    _, heads, frames, _ = scores.shape
    places = torch.arange(frames, device=scores.device)
    distance = (frames - 1) - places[:, None] + places[None, :]
    return scores.gather(3, distance.expand(1, heads, frames, frames))


def relative_attention(
    heads: tuple[Tensor, Tensor, Tensor],
    distances: Tensor,
    biases: tuple[Tensor, Tensor],
    scaling: float,
) -> Tensor:
    """Attention with relative positions (Dai et al., "Transformer-XL", ACL 2019, section 3.3), no mask.

    heads: query, key and value, [1, heads, frames, head_size]. distances: projected embeddings of the
    distances from frames - 1 down, [1, heads, 2 * frames - 1, head_size]. biases: u (content) and v
    (position), [heads, head_size]. Returns [1, frames, hidden].
    """
    query, key, value = heads
    content = (query + biases[0][None, :, None]) @ key.transpose(2, 3)
    position = (query + biases[1][None, :, None]) @ distances.transpose(2, 3)
    scores = (content + by_distance(position)) * scaling
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


def rotated(hidden_states: Tensor, rotations: Tensor, size: int) -> Tensor:
    """Every pair of a head's halves turned by its frame's angle; [1, frames, hidden] in and out.

    rotations: what `Rotations` gives.
    """
    heads = hidden_states.unflatten(2, (-1, size))
    first, second = heads.chunk(2, dim=-1)
    turned = torch.cat((-second, first), -1)
    return (heads * rotations[0] + turned * rotations[1]).flatten(2)


def split_heads(rows: Tensor, size: int) -> Tensor:
    """[1, rows, hidden] -> [1, heads, rows, size]."""
    return rows.unflatten(2, (-1, size)).transpose(1, 2)
