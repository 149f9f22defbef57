"""Greedy decoding. CTC: the best token per frame, repeats merged, blanks dropped. Classifiers: one label.

Graves et al., "Connectionist temporal classification", ICML 2006, best path decoding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech.errors import UserError


@dataclass(frozen=True, slots=True)
class Tokens:
    """What each output of the model writes.

    symbols: text of every token id; special tokens such as `<pad>` write nothing.
    blank: id of the CTC blank; None for a classifier, whose symbols are labels and whose output is one frame.
    word_delimiter: the symbol that stands for a space.
    """

    symbols: tuple[str, ...]
    blank: int | None
    word_delimiter: str = "|"

    def __post_init__(self) -> None:
        if self.blank is not None and not 0 <= self.blank < len(self.symbols):
            raise UserError(f"CTC blank id {self.blank} is outside the {len(self.symbols)} tokens")


def collapse(best: NDArray[np.integer], blank: int) -> list[int]:
    """Token ids of a best path [frames]: repeats merged first, then blanks dropped."""
    if best.size == 0:
        return []
    starts = np.concatenate(([True], best[1:] != best[:-1]))
    return [int(token) for token in best[starts & (best != blank)]]


def ids_to_text(ids: list[int], tokens: Tokens) -> str:
    """Join the symbols; delimiters become single spaces; `<...>` and `[...]` specials write nothing."""
    written = [
        symbol
        for symbol in (tokens.symbols[token] for token in ids)
        if not (len(symbol) > 2 and symbol[0] + symbol[-1] in ("<>", "[]"))
    ]
    return " ".join("".join(written).replace(tokens.word_delimiter, " ").split())


def greedy_text(logits: NDArray[np.floating], tokens: Tokens) -> str:
    """Text of logits (or log posteriors) [frames, vocab]."""
    if logits.ndim != 2 or logits.shape[1] != len(tokens.symbols):
        raise UserError(
            f"logits of shape {tuple(logits.shape)} don't fit {len(tokens.symbols)} tokens"
        )
    if tokens.blank is None:
        return tokens.symbols[int(logits.mean(axis=0).argmax())]
    return ids_to_text(collapse(logits.argmax(axis=1), tokens.blank), tokens)
