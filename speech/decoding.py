"""Greedy decoding, for the three kinds of model.

CTC: the best token per frame, repeats merged, blanks dropped (Graves et al., "Connectionist temporal
classification", ICML 2006, best path decoding). Classifiers: one label. Models that write token by token,
each after reading what they wrote: the best token, until an end token.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError

LEAST_REPEATS, LEAST_REPEATED = 4, 24
"""So many times in a row, and so many tokens long: then it isn't speech that repeats itself."""


@dataclass(frozen=True, slots=True)
class Autoregression:
    """How a model that writes token by token is started and stopped.

    prompt: ids it is given to go on from. end: id that it ends with. max_tokens: most ids, prompt included.
    suppressed: ids that are never written; suppressed_first: ids that the text doesn't start with.
    more_ends: other ids that it ends with.
    """

    prompt: tuple[int, ...]
    end: int
    max_tokens: int
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    more_ends: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.prompt) < 2 or self.max_tokens <= len(self.prompt):
            raise UserError(
                f"a prompt of {len(self.prompt)} tokens and at most {self.max_tokens} in all: there must "
                "be two in the prompt and room for one more"
            )

    def ends(self, token: int) -> bool:
        """Whether the text is over when `token` is written."""
        return token == self.end or token in self.more_ends

    def forbidden(self, count: int, vocabulary: int) -> NDArray[np.bool_]:
        """Which ids may not be written, at each of the first `count` places, [count, vocabulary]."""
        never = np.zeros((count, vocabulary), dtype=bool)
        never[:, list(self.suppressed)] = True
        never[:1, list(self.suppressed_first)] = True
        return never


@dataclass(frozen=True, slots=True)
class Tokens:
    """What each output of the model writes.

    symbols: text that every id writes, as its tokenizer says; a space for what separates words, nothing for
    what isn't written. blank: id of the CTC blank; None for models without.
    autoregression: for models that write token by token. Without it and without a blank the model is a
    classifier: its symbols are labels, its output is one frame.
    byte_level: symbols spell bytes of UTF-8, in the alphabet of GPT-2's tokenizer.
    tidied: spaces before punctuation and English endings are taken out, see `TIDIED`.
    unheeded: what the model's files ask for, and greedy decoding doesn't do.
    """

    symbols: tuple[str, ...]
    blank: int | None
    autoregression: Autoregression | None = None
    byte_level: bool = False
    tidied: bool = False
    unheeded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.blank is not None and not 0 <= self.blank < len(self.symbols):
            raise UserError(f"CTC blank id {self.blank} is outside the {len(self.symbols)} tokens")
        how = self.autoregression
        if how is not None:
            ids = (*how.prompt, how.end, *how.more_ends, *how.suppressed, *how.suppressed_first)
            odd = [
                each for each in ids if type(each) is not int or not 0 <= each < len(self.symbols)
            ]
            if odd:
                raise UserError(
                    f"token {odd[0]!r} of the prompt, the end or what is never written is none of the ids "
                    f"0 to {len(self.symbols) - 1}"
                )

    @property
    def task(self) -> Literal["transcription", "classification"]:
        """What the model does with a recording."""
        writes = self.blank is not None or self.autoregression is not None
        return "transcription" if writes else "classification"


def notices(tokens: Tokens) -> list[str]:
    """What people are to know of how text is decoded, a line each."""
    if not tokens.unheeded:
        return []
    return [
        f"decoding is greedy: without {', '.join(tokens.unheeded)}, which the model's files ask for"
    ]


def collapse(best: NDArray[np.integer], blank: int) -> list[int]:
    """Token ids of a best path [frames]: repeats merged first, then blanks dropped."""
    if best.size == 0:
        return []
    starts = np.concatenate(([True], best[1:] != best[:-1]))
    return [int(token) for token in best[starts & (best != blank)]]


def ids_to_text(ids: list[int], tokens: Tokens) -> str:
    """What the ids write one after the other, spaces made single."""
    joined = "".join(tokens.symbols[token] for token in ids)
    text = (spelled(joined) if tokens.byte_level else joined).strip()
    if tokens.tidied:
        for before, after in TIDIED:
            text = text.replace(before, after)
    return single_spaces(text)


TIDIED = (
    *((f" {mark}", mark) for mark in (*".?!,",)),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)
"""What tokenizers replace, in this order, that say `clean_up_tokenization_spaces` (transformers)."""

_SPACES = re.compile(r"[ \t\n\r\f\v]+")


def single_spaces(text: str) -> str:
    """Runs of ASCII's white space made one space, none at the ends; other spaces are text."""
    return _SPACES.sub(" ", text).strip(" ")


def byte_alphabet() -> list[str]:
    """Characters that GPT-2's tokenizer writes bytes 0 to 255 as: the n-th unprintable one as 256 + n."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)]


def spelling(data: bytes) -> str:
    """Bytes in GPT-2's alphabet."""
    alphabet = byte_alphabet()
    return "".join(alphabet[byte] for byte in data)


def spelled(symbols: str) -> str:
    """Text of a string in GPT-2's byte alphabet; characters that aren't of it are left out."""
    values = {symbol: byte for byte, symbol in enumerate(byte_alphabet())}
    data = bytes(values[symbol] for symbol in symbols if symbol in values)
    return data.decode("utf-8", errors="replace")


def greedy_text(logits: NDArray[np.floating], tokens: Tokens) -> str:
    """Text of logits (or log posteriors), [frames, vocab] or [tokens written, vocab]."""
    if logits.ndim != 2 or logits.shape[1] != len(tokens.symbols):
        raise UserError(
            f"logits of shape {tuple(logits.shape)} don't fit {len(tokens.symbols)} tokens"
        )
    if tokens.autoregression is not None:
        return ids_to_text(best_tokens(logits, tokens.autoregression), tokens)
    if tokens.blank is None:
        return tokens.symbols[int(logits.mean(axis=0).argmax())]
    return ids_to_text(collapse(logits.argmax(axis=1), tokens.blank), tokens)


def best_tokens(logits: NDArray[np.floating], how: Autoregression, first: bool = True) -> list[int]:
    """The best id that may be written at each place.

    logits: [tokens written, vocab]. first: whether the first of them starts the text.
    """
    forbidden = how.forbidden(len(logits) + (not first), logits.shape[1])
    allowed = np.where(forbidden[-len(logits) :], -np.inf, logits)
    return [int(token) for token in allowed.argmax(axis=1)]


def greedy_logits(
    next_logits: Callable[[int, int], NDArray[np.float32]], how: Autoregression
) -> NDArray[np.float32]:
    """Logits [tokens written, vocab] of greedy decoding; the last row is that of an end token, if one came.

    next_logits: from a token and its position to the logits [vocab] of the token after it; called for every
    token in turn, the prompt's first. Writing stops at an end token, at `max_tokens`, and when it `repeats`.
    """
    token = how.prompt[-1]
    for position, earlier in enumerate(how.prompt[:-1]):
        next_logits(earlier, position)
    written: list[int] = []
    rows: list[NDArray[np.float32]] = []
    for position in range(len(how.prompt) - 1, how.max_tokens - 1):
        rows.append(next_logits(token, position))
        (token,) = best_tokens(rows[-1][None], how, first=len(rows) == 1)
        written.append(token)
        if how.ends(token) or repeats(written):
            break
    return np.stack(rows)


def repeats(written: Sequence[int]) -> bool:
    """Whether a text goes round in circles: it ends with one group of tokens, again and again.

    That is so when, for some n, its last tokens, `LEAST_REPEATS` * n or `LEAST_REPEATED` of them, whichever
    is more, are each the same as the one n places before (where that is among them).
    """
    for size in range(1, len(written) // LEAST_REPEATS + 1):
        count = max(LEAST_REPEATS * size, LEAST_REPEATED)
        tail = written[-count:]
        if len(tail) == count and tail[size:] == tail[:-size]:
            return True
    return False


def comparable(
    one: NDArray[np.floating], other: NDArray[np.floating], how: Autoregression
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Logits [tokens written, vocab] of two models up to and with the first token they write differently.

    What follows it is about something else.
    """
    pairs = zip(best_tokens(one, how), best_tokens(other, how), strict=False)
    same = [a == b for a, b in pairs]
    rows = same.index(False) + 1 if False in same else len(same) + 1
    return one[:rows], other[:rows]
