"""One token at a time: what a decoder needs of the tokens before is kept here, outside of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core.errors import UserError


def token_steps(
    decode: Callable[..., Any], heard: Sequence[Tensor], max_tokens: int
) -> Callable[[int, int], NDArray[np.float32]]:
    """From a token and its position to the logits [vocab] of the next: what `greedy_logits` asks.

    heard: what `encode` gave, the last of it [heads, positions, size]. decode: from a token int64 [1, 1], its
    position [1], as many caches as `heard` has tensors, each [heads, max_tokens, size], and `heard`, to
    logits [1, vocab] and the row [heads, 1, size] that belongs into each cache at that position. What a
    cache holds from the position on doesn't count. Raises UserError when what was heard has another shape.
    """
    if not heard or heard[-1].dim() != 3:
        raise UserError(
            "what the encoder gives isn't [heads, positions, size], as decoders with a cache want it; "
            "export the file again"
        )
    heads, _, size = heard[-1].shape
    device = heard[-1].device
    caches = [torch.zeros(heads, max_tokens, size, device=device) for _ in heard]

    def step(token: int, position: int) -> NDArray[np.float32]:
        ids, place = torch.tensor([[token]], device=device), torch.tensor([position], device=device)
        logits, *rows = decode(ids, place, *caches, *heard)
        for cache, row in zip(caches, rows, strict=True):
            cache[:, position] = row[:, 0]
        result: NDArray[np.float32] = logits[0].float().cpu().numpy()
        return result

    return step
