"""What Whisper's token ids write, whichever file says so, and which of them it never writes.

The ids of special tokens follow a rule (openai/whisper, tokenizer.py: the end, the start, languages, tasks,
timestamps), so tokenizers that don't list all of them, as most don't list timestamps, are completed by it.
"""

import base64
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from myqasr.core.errors import ModelError
from myqasr.speech.decoding import Tokens, byte_alphabet
from myqasr.speech.models.writing import check_size, check_text, tokenizer_of, written_by

Symbols = dict[int, str]
"""Token id -> its name; of one that is text, that text in GPT-2's byte alphabet."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens of every output. names: by which special ones are found. written, byte_level: as of `Tokens`.

    unused: ids that no token has, which a model can't mean to write.
    """

    names: tuple[str, ...]
    written: tuple[str, ...]
    byte_level: bool
    unused: tuple[int, ...] = ()

    def id_of(self, name: str) -> int | None:
        """The id of `<|name|>`, or None."""
        return self.names.index(f"<|{name}|>") if f"<|{name}|>" in self.names else None


def by_rule(names: tuple[str, ...]) -> Vocabulary:
    """Of a file that only lists OpenAI's tokens: special ones are in `<|` and `|>` and aren't written."""
    return Vocabulary(names, tuple("" if name[:2] == "<|" else name for name in names), True)


def asked(source: str, outputs: int, model_id: str) -> Vocabulary:
    """Of the tokenizer of transformers that lies with a model; its own special tokens aren't written.

    Raises ModelError when it doesn't fit the head, or its text isn't made of its tokens.
    """
    return asked_of(tokenizer_of(source), outputs, model_id)


def listed(path: Path, outputs: int, model_id: str) -> Vocabulary:
    """Of one of a tokenizer's files: asked where it says how text is made, else by OpenAI's rule.

    Raises ModelError when it can't be read or is another model's.
    """
    names = read_symbols(path, outputs, model_id)
    if path.name != "tokenizer.json":
        return by_rule(names)
    try:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
    except Exception as error:  # whatever the tokenizers library raises
        raise ModelError(f"{path} can't be read as a tokenizer: {error}") from error
    return asked_of(tokenizer, outputs, model_id)


def asked_of(tokenizer: Any, outputs: int, model_id: str) -> Vocabulary:
    """The same of a tokenizer at hand."""
    check_size(model_id, outputs, _without_rule(tokenizer, outputs))
    rule = special_symbols(outputs)
    spelled = tokenizer.convert_ids_to_tokens(list(range(outputs)))
    known = set(tokenizer.get_vocab().values())
    names = [
        name if index in known and name is not None else rule.get(index, "")
        for index, name in enumerate(spelled)
    ]
    written, byte_level, _ = written_by(tokenizer, outputs, model_id, ctc=False)
    silent = tuple(
        "" if index not in known or _TIMESTAMP.fullmatch(name) else text
        for index, (name, text) in enumerate(zip(names, written, strict=True))
    )
    check_text(tokenizer, Tokens(silent, None, byte_level=byte_level), model_id)
    unused = tuple(index for index, name in enumerate(names) if not name)
    return Vocabulary(tuple(names), silent, byte_level, unused)


def _without_rule(tokenizer: Any, outputs: int) -> int:
    """How many tokens there are, those counted that follow by OpenAI's rule though they aren't listed."""
    return len(set(tokenizer.get_vocab().values()) | set(special_symbols(outputs)))


ENGLISH = 51_864
"""Tokens of models for English only. They list the other languages, too; multilingual ones have more."""
TIMESTAMPS = 1501
_TIMESTAMP = re.compile(r"<\|\d+\.\d+\|>")
TASKS = (
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>"),
    *("<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)


def vocabulary_file(folder: Path) -> Path | None:
    """The file in a folder that lists its tokens; None where none does."""
    found = (path for name in READERS for path in sorted(folder.glob(name)))
    return next(found, None)


def read_symbols(path: Path, outputs: int, model_id: str) -> tuple[str, ...]:
    """The text of every id below `outputs`, from one of a tokenizer's files.

    Raises ModelError when it can't be read or is another model's.
    """
    read = next(read for name, read in READERS.items() if path.match(name))
    try:
        found = read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} can't be read as a vocabulary: {error}") from error
    return complete(found, outputs, model_id)


def complete(found: Symbols, outputs: int, model_id: str) -> tuple[str, ...]:
    """Symbols in the order of ids, gaps filled by Whisper's rule; raises ModelError if that isn't all."""
    every = {**special_symbols(outputs), **found}
    if sorted(every) != list(range(outputs)):
        raise ModelError(
            f"{model_id}: the head has {outputs} outputs but the tokenizer {len(found)} tokens; "
            "pass the model with its own tokenizer"
        )
    return tuple(every[index] for index in range(outputs))


def special_symbols(outputs: int) -> Symbols:
    """Special tokens of a vocabulary of OpenAI's sizes; none for other sizes."""
    multilingual = outputs > ENGLISH
    languages = outputs - multilingual - (ENGLISH - 99)
    if not 99 <= languages <= len(LANGUAGES):
        return {}
    first = 50_256 + multilingual
    names = [
        *("<|endoftext|>", "<|startoftranscript|>"),
        *(f"<|{code}|>" for code in list(LANGUAGES)[:languages]),
        *TASKS,
        *(f"<|{step / 50:.2f}|>" for step in range(TIMESTAMPS)),
    ]
    return dict(enumerate(names, first))


def language_code(name: str, model_id: str) -> str:
    """`de` of `de`, `German` or `<|de|>`; raises ModelError for a language that Whisper doesn't have."""
    plain = name.strip("<|>").lower()
    code = TO_LANGUAGE_CODE.get(plain, plain)
    if code not in LANGUAGES:
        raise ModelError(
            f"{model_id}: Whisper has no language {name!r}; name it by its code, as en or de, or in English"
        )
    return code


def not_speech(symbols: tuple[str, ...]) -> tuple[int, ...]:
    """Ids that OpenAI's decoding never writes: what isn't spoken (brackets, notes), and special tokens.

    The same as the lists in `generation_config.json` of its models.
    """
    ids = {symbol: index for index, symbol in enumerate(symbols)}
    alphabet = byte_alphabet()

    def spelled(text: str) -> str:
        return "".join(alphabet[byte] for byte in text.encode())

    found = {ids[symbol] for text in (" -", " '") if (symbol := spelled(text)) in ids}
    for text in UNSPOKEN:
        found |= {ids[symbol] for around in ("", " ") if (symbol := spelled(around + text)) in ids}
    for text in NOTES:  # none has a token: its first part stands for it
        for around in ("", " "):
            whole = spelled(around + text)
            parts = (whole[:size] for size in range(len(whole), 0, -1))
            found |= {ids[part] for part in itertools.islice(filter(ids.__contains__, parts), 1)}
    specials = ("<|startoftranscript|>", *TASKS[:-1], "<|nocaptions|>")
    return tuple(sorted(found | {ids[symbol] for symbol in specials if symbol in ids}))


UNSPOKEN = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))"),
    *("[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
)
NOTES = "♩♪♫♬♭♮♯"


def _tokenizer_json(path: Path) -> Symbols:
    held = json.loads(path.read_text(encoding="utf-8"))
    symbols = {index: symbol for symbol, index in held["model"]["vocab"].items()}
    return symbols | {entry["id"]: entry["content"] for entry in held["added_tokens"]}


def _vocab_json(path: Path) -> Symbols:
    symbols = {
        index: symbol for symbol, index in json.loads(path.read_text(encoding="utf-8")).items()
    }
    added = path.with_name("added_tokens.json")
    if added.is_file():
        listed = json.loads(added.read_text(encoding="utf-8"))
        symbols |= {index: symbol for symbol, index in listed.items()}
    return symbols


def _vocabulary_json(path: Path) -> Symbols:
    return dict(enumerate(json.loads(path.read_text(encoding="utf-8"))))


def _vocabulary_txt(path: Path) -> Symbols:
    return dict(enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n")))


def _tiktoken(path: Path) -> Symbols:
    alphabet, symbols = byte_alphabet(), {}
    for line in path.read_text().splitlines():
        token, index = line.split()
        symbols[int(index)] = "".join(alphabet[byte] for byte in base64.b64decode(token))
    return symbols


READERS: dict[str, Callable[[Path], Symbols]] = {
    "tokenizer.json": _tokenizer_json,
    "vocab.json": _vocab_json,
    "vocabulary.json": _vocabulary_json,
    "vocabulary.txt": _vocabulary_txt,
    "*.tiktoken": _tiktoken,
}
"""Files that hold a vocabulary: of transformers (fast, slow), CTranslate2 (new, old), OpenAI."""
