"""How good transcripts are, against reference texts and against another system's transcripts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from myqasr.core.errors import UserError
from myqasr.core.statistics import Interval, rate_difference
from myqasr.runtime_bench.results.report import BenchReport, TokenFlips
from myqasr.speech.decoding import Autoregression, best_tokens
from myqasr.speech.normalizers import normalizer
from myqasr.speech.scoring import (
    NO_ERRORS,
    AlignedWord,
    ErrorCounts,
    Normalize,
    aligned_words,
    character_errors,
    normalize_text,
    utterance_word_errors,
    word_errors,
)


@dataclass(frozen=True, slots=True)
class WorstUtterance:
    """An utterance that a system got wrong. number: its place in the report."""

    number: int
    clip: str
    errors: ErrorCounts
    alignment: tuple[AlignedWord, ...]


def agreement(transcripts: Sequence[str], baseline: Sequence[str]) -> float:
    """Share of utterances whose transcript is the same, to the letter. Needs no reference text."""
    if len(transcripts) != len(baseline) or not baseline:
        raise UserError(f"{len(transcripts)} transcripts can't be compared with {len(baseline)}")
    same = sum(one == other for one, other in zip(transcripts, baseline, strict=True))
    return same / len(baseline)


def errors_of(
    references: Sequence[str | None],
    transcripts: Sequence[str],
    normalize: Normalize = normalize_text,
) -> tuple[ErrorCounts | None, ErrorCounts | None]:
    """Word and character errors over the utterances that have a reference; None, None if none has."""
    texts, heard = _labelled(references, transcripts)
    if not texts:
        return None, None
    return word_errors(texts, heard, normalize), character_errors(texts, heard, normalize)


def not_worse(
    references: Sequence[str | None],
    transcripts: Sequence[str],
    baseline: Sequence[str],
    normalize: Normalize = normalize_text,
) -> float | None:
    """Share of the labelled utterances with no more word errors than the baseline's; None without any."""
    texts, heard = _labelled(references, transcripts)
    _, expected = _labelled(references, baseline)
    if not texts:
        return None
    pairs = zip(
        utterance_word_errors(texts, heard, normalize),
        utterance_word_errors(texts, expected, normalize),
        strict=True,
    )
    return sum(one.errors <= other.errors for one, other in pairs) / len(texts)


def written_tokens(logits: NDArray[np.float32], how: Autoregression | None) -> NDArray[np.int64]:
    """Best token of every frame [frames], or those written, [tokens]."""
    if how is not None:
        return np.array(best_tokens(logits, how), dtype=np.int64)
    best: NDArray[np.int64] = logits.argmax(axis=1)
    return best


def token_flips(
    found: Sequence[NDArray[np.int64]], expected: Sequence[NDArray[np.int64]]
) -> TokenFlips:
    """Places whose token isn't the baseline's, of token sequences of the same inputs.

    Frames are compared one by one; sequences of other lengths (of models that write token by token) by the
    fewest tokens that have to be replaced, put in or taken out: what follows an insertion isn't flipped.
    """
    flipped = tokens = 0
    for one, other in zip(found, expected, strict=True):
        tokens += max(len(one), len(other))
        if len(one) == len(other):
            flipped += int((one != other).sum())
        else:
            flipped += Levenshtein.distance(one.tolist(), other.tolist())
    return TokenFlips(flipped, tokens)


def speaker_errors(report: BenchReport, name: str) -> dict[str, ErrorCounts]:
    """Word errors of one system by speaker; those of unnamed ones come under `unknown`."""
    found: dict[str, ErrorCounts] = {}
    for number, errors in labelled_errors(report, name).items():
        speaker = report.utterances[number].speaker or "unknown"
        found[speaker] = found.get(speaker, NO_ERRORS) + errors
    return found


def labelled_errors(report: BenchReport, name: str) -> dict[int, ErrorCounts]:
    """Word errors of one system on each labelled utterance, by its place in the report.

    After the report's own normalisation. Raises NotInstalledError where that isn't installed.
    """
    numbers = [place for place, each in enumerate(report.utterances) if each.text is not None]
    heard = report.system(name).transcripts
    counts = utterance_word_errors(
        [report.utterances[place].text or "" for place in numbers],
        [heard[place] for place in numbers],
        normalizer(report.normalizer),
    )
    return dict(zip(numbers, counts, strict=True))


def worst_utterances(report: BenchReport, name: str, count: int) -> list[WorstUtterance]:
    """Utterances with the most word errors, most first, aligned; none without any."""
    ranked = sorted(labelled_errors(report, name).items(), key=lambda item: -item[1].errors)
    heard, normalize = report.system(name).transcripts, normalizer(report.normalizer)
    return [
        WorstUtterance(
            number,
            report.utterances[number].clip,
            errors,
            aligned_words(report.utterances[number].text or "", heard[number], normalize),
        )
        for number, errors in ranked[:count]
        if errors.errors
    ]


def wer_difference(one: dict[int, ErrorCounts], other: dict[int, ErrorCounts]) -> Interval | None:
    """WER of the first minus that of the second, paired by utterance; None without reference words."""
    if one.keys() != other.keys():
        raise UserError(f"errors on {len(one)} and {len(other)} utterances aren't of the same ones")
    lengths = [counts.reference_length for counts in one.values()]
    if sum(lengths) == 0:
        return None
    return rate_difference(
        [one[number].errors for number in one], [other[number].errors for number in one], lengths
    )


def signal_to_noise_db(expected: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    """How well logits agree with those of a reference of the same shape."""
    error = float(np.square(expected - found).sum())
    return float(10 * np.log10(float(np.square(expected).sum()) / max(error, 1e-30)))


def _labelled(
    references: Sequence[str | None], transcripts: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Reference texts and transcripts of the utterances that have a reference."""
    pairs = [
        (reference, transcript)
        for reference, transcript in zip(references, transcripts, strict=True)
        if reference is not None
    ]
    return [reference for reference, _ in pairs], [transcript for _, transcript in pairs]
