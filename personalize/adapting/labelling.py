"""What a teacher hears in each clip, how sure it is, and which clips are too doubtful to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import ModelError
from myqasr.personalize.adapting.augmenting import at_speed
from myqasr.personalize.adapting.spelling import spelled_by
from myqasr.speech.decoding import Tokens, best_tokens, greedy_text, repeats
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.scoring import NO_ERRORS, ErrorCounts, normalize_text, utterance_word_errors

Reason = Literal["no speech", "looping", "unsure", "disagreement", "can't be written", "too long"]
OTHER_SPEED = 0.95
"""At which a teacher hears a clip a second time."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """least, sure: mean log-probability of the teacher's tokens, nats: below the one a clip isn't learned
    from, above the other it is. Between them the teacher hears it a second time, at another speed.
    most_disagreement: word errors of the second text per word of the first, beyond which it is left out.

    The student's own text isn't asked: it differs where there is something to learn (docs/adapting.md).
    """

    least: float = -0.35
    sure: float = -0.15
    most_disagreement: float = 0.1

    def asks_again(self, confidence: float) -> bool:
        """Whether one hearing doesn't tell."""
        return self.least <= confidence < self.sure


@dataclass(frozen=True, slots=True)
class Label:
    """What a teacher wrote for one clip.

    confidence: mean log-probability (nats) of the tokens that it wrote. other: its text of the clip at
    another speed, where that was asked for. own: the student's text, of the clip as in `second_hearing`.
    looping: it went round in circles.
    """

    sha256: str
    text: str
    confidence: float
    other: str | None
    own: str
    looping: bool

    @property
    def disagreement(self) -> float:
        """Word errors of the second text per word of the first; none where there is no second."""
        if self.other is None:
            return 0.0
        errors = word_difference([self.text], [self.other])
        return errors.errors / max(errors.reference_length, 1)


def word_difference(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Word errors of texts against others; texts without a word are counted, too."""
    return sum(utterance_word_errors(references, hypotheses), NO_ERRORS)


def check_teacher(teacher: SpeechModel) -> None:
    """Raise ModelError for a model that writes no text."""
    if teacher.tokens.task != "transcription":
        raise ModelError(
            f"--teacher {teacher.model_id} writes no text: it is a model for {teacher.tokens.task}; name a "
            "recogniser, e.g. whisper-base, or `self`"
        )


def heard_by(teacher: SpeechModel, waveform: NDArray[np.float32]) -> tuple[str, float, bool]:
    """Text of a waveform [samples], mean log-probability of its tokens, and whether it loops."""
    texts, scores, looping = [], [], False
    for piece in teacher.pieces(waveform):
        logits = teacher.logits(piece)
        texts.append(greedy_text(logits, teacher.tokens))
        scores.append(token_scores(logits, teacher.tokens))
        how = teacher.tokens.autoregression
        if how is not None:
            written = best_tokens(logits, how)
            looping = looping or written[-1] != how.end or repeats(written)
    every = np.concatenate(scores)
    confidence = float(every.mean()) if every.size else float(np.finfo(np.float32).min)
    return " ".join(text for text in texts if text), confidence, looping


def token_scores(logits: NDArray[np.float32], tokens: Tokens) -> NDArray[np.float64]:
    """Log-probability of each token that was written; of CTC's best path, without its blanks."""
    rows = logits.astype(np.float64)
    if tokens.autoregression is not None:
        never = tokens.autoregression.forbidden(*rows.shape)
        rows = np.where(never, -np.inf, rows)
    best = rows.argmax(axis=1)
    top = rows.max(axis=1)
    scores: NDArray[np.float64] = -np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return scores if tokens.blank is None else scores[best != tokens.blank]


def label(
    teacher: SpeechModel,
    student: SpeechModel,
    waveform: NDArray[np.float32],
    sha256: str,
    doubts: Doubts,
) -> Label:
    """What the teacher says of a clip [samples], twice where there are doubts, and what the student does."""
    text, confidence, looping = heard_by(teacher, waveform)
    other = None
    if doubts.asks_again(confidence) and not looping:
        other = teacher.transcribe(at_speed(waveform, OTHER_SPEED))
    itself = teacher is student
    own = student.transcribe(second_hearing(waveform, itself, student.piece_samples))
    return Label(sha256, text, confidence, other, own, looping)


def second_hearing(
    waveform: NDArray[np.float32], itself: bool, most_samples: int
) -> NDArray[np.float32]:
    """What the student hears of a clip [samples] when its text is compared with the teacher's.

    itself: it is its own teacher, and would only repeat itself: it hears the clip more slowly, by as much as
    it can take in one piece.
    """
    if not itself:
        return waveform
    slowest = min(1.0, max(OTHER_SPEED, 1.001 * len(waveform) / most_samples))
    return at_speed(waveform, slowest)


def doubt(found: Label, student: SpeechModel, doubts: Doubts) -> Reason | None:
    """Why a clip isn't learned from; None when it is."""
    ids = spelled_by(found.text, student.tokens)
    how = student.tokens.autoregression
    room = None if how is None else how.max_tokens - len(how.prompt)
    reasons: tuple[tuple[Reason, bool], ...] = (
        ("no speech", not normalize_text(found.text)),
        ("looping", found.looping),
        ("unsure", found.confidence < doubts.least),
        ("disagreement", found.disagreement > doubts.most_disagreement),
        ("can't be written", ids is None),
        ("too long", ids is not None and room is not None and len(ids) >= room),
    )
    return next((reason for reason, holds in reasons if holds), None)
