"""What each id of a tokenizer writes, asked of the tokenizer: no rules about how tokens are spelled.

An id is decoded between two others, and what they write is taken off; so added tokens, special ones, word
starts and continuations come out as the tokenizer has them. Then whole paths are decoded both ways, and a
tokenizer whose text isn't the sum of its tokens is refused.
"""

import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import transformers

from myqasr.core.errors import ModelError
from myqasr.speech.decoding import (
    Tokens,
    byte_alphabet,
    ids_to_text,
    single_spaces,
    spelling,
)

MOST_UNUSED = 128
"""So many rows may a head have beyond the tokenizer's, or a tokenizer beyond the head's: padding to a
multiple of 8 or 64, or tokens that were added and never trained."""

_PATHS, _PATH_IDS, _ANCHORS = 48, 24, 6
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_LETTERS = re.compile(r"\w")

Decode = Callable[[Sequence[int]], str]


def tokenizer_of(source: str, target_lang: str | None = None) -> Any:
    """The tokenizer that lies with a model, as transformers reads it. Raises whatever that raises.

    target_lang: whose symbols, of a vocabulary that has several languages' (MMS).
    """
    folder, options = Path(source), {}
    if target_lang is not None:
        options["target_lang"] = target_lang
    if (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        path = folder / "tokenizer_config.json"
        named = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        name = named.get("tokenizer_class") or "Wav2Vec2CTCTokenizer"
        kind = getattr(transformers, name, None)
        if kind is not None and name != "AutoTokenizer":
            return kind.from_pretrained(source, **options)
    return transformers.AutoTokenizer.from_pretrained(source, **options)


_PADDED = (8, 64, 128)
"""Heads are padded to a multiple of these."""


def check_size(model_id: str, outputs: int, tokens: int) -> None:
    """Raise ModelError when a head and a tokenizer can't belong together."""
    if any(outputs == -(-tokens // multiple) * multiple for multiple in _PADDED):
        return
    if abs(outputs - tokens) >= MOST_UNUSED or tokens > 2 * outputs or outputs >= 4 * tokens:
        raise ModelError(
            f"{model_id}: the head has {outputs} outputs but the tokenizer {tokens} tokens; pass the model "
            "with its own tokenizer, all of whose files lie in one folder"
        )


def written_by(
    tokenizer: Any, outputs: int, model_id: str, ctc: bool
) -> tuple[tuple[str, ...], bool, bool]:
    """Symbols of all outputs, whether they spell bytes, and whether text is tidied: see `Tokens`.

    ctc: the tokenizer merges repeats and leaves the blank out itself, and writes special tokens out.
    """
    decode = _decode(tokenizer, skip_special_tokens=not ctc)
    kinds = _decoder_kinds(tokenizer)
    tidied = _tidies(tokenizer)
    if "ByteLevel" in kinds:
        return _byte_level(tokenizer, decode, outputs), True, tidied
    by_bytes = "ByteFallback" in kinds
    names = tokenizer.convert_ids_to_tokens(list(range(outputs)))
    bytes_written = [
        match and int(match[1], 16) if by_bytes else None
        for match in (_BYTE.fullmatch(name or "") for name in names)
    ]
    found = _between(decode, outputs, bytes_written, model_id)
    if not by_bytes:
        return tuple(text or "" for text in found), False, tidied
    alphabet = byte_alphabet()
    return (
        tuple(
            alphabet[byte] if byte is not None else spelling((text or "").encode())
            for text, byte in zip(found, bytes_written, strict=True)
        ),
        True,
        tidied,
    )


def check_text(tokenizer: Any, tokens: Tokens, model_id: str) -> None:
    """Raise ModelError when a path's text isn't what the tokenizer writes for it, spaces made single."""
    ctc = tokens.blank is not None
    decode = _decode(tokenizer, skip_special_tokens=not ctc, tidied=tokens.tidied)
    draw = random.Random(0)
    # Some decoders take a token that goes on a word for one that begins it, at the very beginning.
    first = next(
        (
            [index]
            for index in range(len(tokens.symbols))
            if _LETTERS.match(text := ids_to_text([index], tokens)) and decode([index]) == text
        ),
        [],
    )
    for _ in range(_PATHS):
        ids = first + [draw.randrange(len(tokens.symbols)) for _ in range(_PATH_IDS)]
        # Neither blanks nor repeats: whether they are the tokenizer's to leave out or ours, it's done.
        ids = [index for index in ids if index != tokens.blank]
        ids = [one for one, before in zip(ids, [-1, *ids], strict=False) if one != before]
        expected = single_spaces(decode(ids).strip())
        found = ids_to_text(ids, tokens)
        if found != expected and not _unknown_repeats(tokenizer, ids):
            raise ModelError(
                f"{model_id}: its {type(tokenizer).__name__} writes {expected[:40]!r} for what its tokens "
                f"spell {found[:40]!r}; tokenizers whose text isn't made of their tokens one by one "
                "aren't supported"
            )


def _unknown_repeats(tokenizer: Any, ids: Sequence[int]) -> bool:
    """Whether two ids in a row are no tokens, which transformers writes once."""
    names = tokenizer.convert_ids_to_tokens(list(ids))
    return any(one == other for one, other in itertools.pairwise(names))


def _decode(tokenizer: Any, skip_special_tokens: bool, tidied: bool = False) -> Decode:
    def decode(ids: Sequence[int]) -> str:
        text: str = tokenizer.decode(
            list(ids),
            skip_special_tokens=skip_special_tokens,
            clean_up_tokenization_spaces=tidied,
        )
        return text

    return decode


def _decoder_kinds(tokenizer: Any) -> set[str]:
    """Kinds of what turns tokens into text, as the tokenizers library names them; none of Python's own."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return set()
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    return {each.get("type") for each in (decoder, *decoder.get("decoders", ()))}


def _tidies(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    pairs = backend is not None and type(backend.model).__name__ == "BPE"
    forced = getattr(
        tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False
    )
    return bool(tokenizer.clean_up_tokenization_spaces) and (not pairs or bool(forced))


def _byte_level(tokenizer: Any, decode: Decode, outputs: int) -> tuple[str, ...]:
    """Tokens of GPT-2's kind are spelled in its alphabet; those that were added write what is decoded."""
    alphabet = set(byte_alphabet())
    added = tokenizer.added_tokens_decoder
    special = set(tokenizer.all_special_ids) | {
        index for index, token in added.items() if token.special
    }
    names = tokenizer.convert_ids_to_tokens(list(range(outputs)))
    found = []
    for index, name in enumerate(names):
        if name is None or index in special:
            found.append("")
        elif index in added or not alphabet.issuperset(name):
            found.append(spelling(decode([index]).encode()))
        else:
            found.append(name)
    return tuple(found)


def _between(
    decode: Decode, outputs: int, bytes_written: Sequence[int | None], model_id: str
) -> list[str | None]:
    """What every id writes between two others; nothing for those that write a single byte."""
    anchors = _anchors(decode, outputs, bytes_written, model_id)
    found: list[str | None] = []
    for index in range(outputs):
        if bytes_written[index] is not None:
            found.append(None)
            continue
        before, after = [anchor for anchor in anchors if anchor != index][:2]
        first, both = decode([before]), decode([before, after])
        text, last = decode([before, index, after]), both[len(first) :]
        if not (text.startswith(first) and text.endswith(last)):
            raise ModelError(
                f"{model_id}: token {index} changes what its neighbours write ({text[:40]!r}); such "
                "tokenizers aren't supported"
            )
        found.append(text[len(first) : len(text) - len(last)])
    return found


def _anchors(
    decode: Decode, outputs: int, bytes_written: Sequence[int | None], model_id: str
) -> list[int]:
    """Ids that write letters, each something else, alone and one after the other."""
    found: dict[str, int] = {}
    for index in range(outputs):
        text = decode([index]) if bytes_written[index] is None else ""
        if _LETTERS.search(text) and "<" not in text and "[" not in text and text not in found:
            found[text] = index
        if len(found) == _ANCHORS:
            break
    if len(found) < 3:
        raise ModelError(
            f"{model_id}: its tokenizer writes no letters; pass the model with its own"
        )
    return list(found.values())
