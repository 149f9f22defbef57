"""How good transcripts are, against reference texts and against another system's transcripts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speech.errors import UserError
from speech.scoring import ErrorCounts, character_errors, word_errors


def agreement(transcripts: Sequence[str], baseline: Sequence[str]) -> float:
    """Share of utterances whose transcript is the same, to the letter. Needs no reference text."""
    if len(transcripts) != len(baseline) or not baseline:
        raise UserError(f"{len(transcripts)} transcripts can't be compared with {len(baseline)}")
    same = sum(one == other for one, other in zip(transcripts, baseline, strict=True))
    return same / len(baseline)


def errors_of(
    references: Sequence[str | None], transcripts: Sequence[str]
) -> tuple[ErrorCounts | None, ErrorCounts | None]:
    """Word and character errors over the utterances that have a reference; None, None if none has."""
    pairs = [
        (reference, transcript)
        for reference, transcript in zip(references, transcripts, strict=True)
        if reference is not None
    ]
    if not pairs:
        return None, None
    texts = [reference for reference, _ in pairs]
    heard = [transcript for _, transcript in pairs]
    return word_errors(texts, heard), character_errors(texts, heard)


def signal_to_noise_db(expected: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    """How well logits agree with those of a reference of the same shape."""
    error = float(np.square(expected - found).sum())
    return float(10 * np.log10(float(np.square(expected).sum()) / max(error, 1e-30)))
