"""Word and character errors after the usual text normalisation, as counts that add up.

Alignment is jiwer's minimum edit distance per utterance; with nothing, all is inserted.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import jiwer

from myqasr.core.errors import UserError

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇`´", "'"))


_TAG = re.compile(
    r"\[(?:laughter-(?P<word>[^\s\[\]]+)|[A-Za-z][A-Za-z _:/-]*)\]"
    r"|<[A-Za-z][A-Za-z_:/-]*>|\{[A-Za-z][A-Za-z_:/-]*\}"
)


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Edits that turn references into hypotheses, in words or characters."""

    substitutions: int
    insertions: int
    deletions: int
    reference_length: int

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Edits per reference word or character; can exceed 1. Infinite for edits on no reference."""
        if self.reference_length == 0:
            return float("inf") if self.errors else 0.0
        return self.errors / self.reference_length

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.reference_length + other.reference_length,
        )


NO_ERRORS = ErrorCounts(0, 0, 0, 0)

Normalize = Callable[[str], str]
"""What is done to a text before its words are compared (`speech.normalizers` has them by name)."""

Edit = Literal["equal", "substitute", "insert", "delete"]


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """One step of an alignment. reference: empty for an insertion; hypothesis: empty for a deletion."""

    edit: Edit
    reference: str
    hypothesis: str


def normalize_text(text: str) -> str:
    """Case folded (NFKC); punctuation and symbols become spaces, save apostrophes within a word.

    Tags that nobody says, `[laughter]`, `<COMMA>` or `{SMACK}`, are left out; of `[laughter-yes]` the word
    stays. Characters that only say how others are shown (soft hyphens, joiners) are none.
    """
    text = _TAG.sub(lambda tag: f" {tag['word'] or ''} ", text).translate(_APOSTROPHES)
    text = "".join(symbol for symbol in text if unicodedata.category(symbol) != "Cf")
    # Folding can leave composed forms open and composing can leave foldable ones: twice is stable
    # (Unicode standard, section 3.13, compatibility caseless matching).
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text.casefold())
    kept: list[str] = []
    for position, symbol in enumerate(text):
        following = text[position + 1 : position + 2]
        in_word = bool(kept) and kept[-1] != " "
        if (
            unicodedata.category(symbol)[0] in "LN"
            or (unicodedata.category(symbol)[0] == "M" and in_word)
            or (symbol == "'" and in_word and following.isalnum())
        ):
            kept.append(symbol)
        else:
            kept.append(" ")
    return " ".join("".join(kept).split())


def word_errors(
    references: Sequence[str], hypotheses: Sequence[str], normalize: Normalize = normalize_text
) -> ErrorCounts:
    """Word edits over all utterances, both sides normalised; WER is `.rate`.

    Raises UserError when the references hold no word at all or the two differ in number.
    """
    return _total(utterance_word_errors(references, hypotheses, normalize), "word")


def character_errors(
    references: Sequence[str], hypotheses: Sequence[str], normalize: Normalize = normalize_text
) -> ErrorCounts:
    """Character edits (spaces count) over all utterances; CER is `.rate`. Raises as `word_errors`."""
    counts = [
        _characters(reference, hypothesis)
        for reference, hypothesis in _pairs(references, hypotheses, normalize)
    ]
    return _total(counts, "character")


def utterance_word_errors(
    references: Sequence[str], hypotheses: Sequence[str], normalize: Normalize = normalize_text
) -> list[ErrorCounts]:
    """Word edits of each utterance, for paired comparisons; an empty reference counts insertions."""
    return [
        _words(reference, hypothesis)
        for reference, hypothesis in _pairs(references, hypotheses, normalize)
    ]


def aligned_words(
    reference: str, hypothesis: str, normalize: Normalize = normalize_text
) -> tuple[AlignedWord, ...]:
    """The two texts word by word, normalised, as `word_errors` counts their differences."""
    ((reference, hypothesis),) = _pairs([reference], [hypothesis], normalize)
    said, heard = reference.split(), hypothesis.split()
    (chunks,) = jiwer.process_words(reference, hypothesis).alignments
    steps = []
    for chunk in chunks:
        left = said[chunk.ref_start_idx : chunk.ref_end_idx]
        right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        steps += [
            AlignedWord(chunk.type, one, other)
            for one, other in zip_longest(left, right, fillvalue="")
        ]
    return tuple(steps)


def _pairs(
    references: Sequence[str], hypotheses: Sequence[str], normalize: Normalize
) -> list[tuple[str, str]]:
    if len(references) != len(hypotheses):
        raise UserError(f"{len(references)} references but {len(hypotheses)} transcripts")
    return [
        (normalize(reference), normalize(hypothesis))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]


def _words(reference: str, hypothesis: str) -> ErrorCounts:
    found = jiwer.process_words(reference, hypothesis)
    return ErrorCounts(
        found.substitutions, found.insertions, found.deletions, len(reference.split())
    )


def _characters(reference: str, hypothesis: str) -> ErrorCounts:
    found = jiwer.process_characters(reference, hypothesis)
    return ErrorCounts(found.substitutions, found.insertions, found.deletions, len(reference))


def _total(counts: list[ErrorCounts], unit: str) -> ErrorCounts:
    total = sum(counts, NO_ERRORS)
    if total.reference_length == 0:
        raise UserError(
            f"no reference {unit}s to score against; give clips with transcripts "
            "(a .txt beside each, or a manifest.csv with path,text)"
        )
    return total
