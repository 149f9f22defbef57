"""A text in a student's own tokens, found from what each of them writes.

Models that write token by token have a byte-level vocabulary whose ids lie in the order in which pairs were
merged (GPT-2; Sennrich et al., ACL 2016): the pair with the lowest id is joined first. CTC models write
letters or pieces of words; of all ways to write a text the one with the fewest tokens is taken.
"""

import functools
import itertools
import unicodedata

from tokenizers import pre_tokenizers

from myqasr.speech.decoding import Tokens, ids_to_text, single_spaces

_APOSTROPHES = "’‘ʼ`´"


def spelled_by(text: str, tokens: Tokens) -> tuple[int, ...] | None:
    """The ids that write a text; None when the student can't write it, or nothing of it is left.

    For a CTC model the text is first made one that it can write: `writable`.
    """
    if tokens.autoregression is None:
        return _ctc_ids(text, tokens)
    plain = single_spaces(text)
    if not plain:
        return None
    ids = _merged(f" {plain}", tokens) if tokens.byte_level else _fewest(f" {plain}", tokens)
    return ids if ids is not None and ids_to_text(list(ids), tokens) == plain else None


def writable(text: str, tokens: Tokens) -> str | None:
    """A text in the letters of a CTC model: their case, no marks that it doesn't have.

    None when a letter or digit of it can't be written: a word would be missing.
    """
    alphabet = {letter for symbol in _by_text(tokens) for letter in symbol}
    cased = {letter for letter in alphabet if letter.lower() != letter.upper()}
    if not any(letter.islower() for letter in cased):
        text = text.upper()
    elif not any(letter.isupper() for letter in cased):
        text = text.lower()
    written = []
    for letter in unicodedata.normalize("NFKC", text):
        plain = "'" if letter in _APOSTROPHES else letter
        if plain in alphabet:
            written.append(plain)
        elif unicodedata.category(plain)[0] in "LN":
            return None
        else:
            written.append(" " if plain.isspace() or plain in "-–—/" else "")
    return single_spaces("".join(written))


def _ctc_ids(text: str, tokens: Tokens) -> tuple[int, ...] | None:
    plain = writable(text, tokens)
    if not plain:
        return None
    starts_words = any(len(symbol) > 1 and symbol[0] == " " for symbol in tokens.symbols)
    return _fewest(f" {plain}" if starts_words else plain, tokens)


@functools.lru_cache(maxsize=8)
def _by_text(tokens: Tokens) -> dict[str, int]:
    """What is written -> the lowest id that writes it; `<unk>` and its like aren't text."""
    found: dict[str, int] = {}
    for index, symbol in enumerate(tokens.symbols):
        special = len(symbol) > 2 and (symbol[0], symbol[-1]) == ("<", ">")
        if symbol and index != tokens.blank and not special:
            found.setdefault(symbol, index)
    return found


def _merged(text: str, tokens: Tokens) -> tuple[int, ...] | None:
    ids = _by_text(tokens)
    found: list[int] = []
    for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text):
        parts = list(piece)
        while len(parts) > 1:
            pairs = [
                (ids[one + other], place)
                for place, (one, other) in enumerate(itertools.pairwise(parts))
                if one + other in ids
            ]
            if not pairs:
                break
            _, place = min(pairs)
            parts[place : place + 2] = ["".join(parts[place : place + 2])]
        if any(part not in ids for part in parts):
            return None
        found += [ids[part] for part in parts]
    return tuple(found)


def _fewest(text: str, tokens: Tokens) -> tuple[int, ...] | None:
    """The fewest tokens that write a text; of as few, those whose first are longer."""
    ids = _by_text(tokens)
    longest = max(map(len, ids), default=0)
    best: list[tuple[int, int] | None] = [None] * len(text) + [(0, 0)]
    for begin in range(len(text) - 1, -1, -1):
        for size in range(min(longest, len(text) - begin), 0, -1):
            rest = best[begin + size]
            known = best[begin]
            if rest is None or text[begin : begin + size] not in ids:
                continue
            if known is None or rest[0] + 1 < known[0]:
                best[begin] = (rest[0] + 1, size)
    found, place = [], 0
    while place < len(text):
        step = best[place]
        if step is None:
            return None
        found.append(ids[text[place : place + step[1]]])
        place += step[1]
    return tuple(found)
