"""From a person's unlabelled clips to weights that suit them, or to the float weights where none do better.

A teacher writes down what it hears; doubtful clips are left out. A part of the rest is held back: it says
when to stop, how much of what was learned is kept, and whether any is. Where it is better, the student learns
once more, from all clips, for as many epochs.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from myqasr.core.errors import UserError
from myqasr.personalize.adapting.deciding import STRENGTHS, Choice, choose, words_stay
from myqasr.personalize.adapting.keeping import KeptLabels, KeptLearning
from myqasr.personalize.adapting.labelling import (
    Doubts,
    Label,
    check_teacher,
    doubt,
    label,
    second_hearing,
)
from myqasr.personalize.adapting.learning import Schedule, Weights, learn
from myqasr.personalize.adapting.losses import Lesson, check_student, fits
from myqasr.personalize.adapting.spelling import spelled_by
from myqasr.personalize.adapting.weights import Differences, adapted, differences
from myqasr.speech.datasets import Recording, audio_hash
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.scoring import NO_ERRORS, ErrorCounts, utterance_word_errors

LEAST_LESSONS = 5
LEAST_HELD_BACK = 2
MOST_LEARNED_AGAIN = 100
"""Clips that are learned from once more, the held-back ones among them; of more, a fifth isn't missed."""
SELF = "self"
"""Name of the teacher that is the student."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """held_back: share of the labelled clips that training doesn't see. retrain: on all of them, at last,
    where they are few.
    """

    doubts: Doubts = field(default_factory=Doubts)
    schedule: Schedule = field(default_factory=Schedule)
    held_back: float = 0.2
    strengths: tuple[float, ...] = STRENGTHS
    retrain: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What adapting did, in figures.

    float_hash, adapted_hash: of the weights before and after; None where the float weights stay. clips,
    seconds: of speech that the teacher heard. left_out: reason -> clips. history: held-back nats a token
    before and after each epoch. words_before, words_after: of the held-back clips against the teacher's text.
    took_seconds: of the last command that worked at it. start: name of the run whose weights it began with.
    """

    key: str
    audio_hash: str
    teacher: str
    float_hash: str
    adapted_hash: str | None
    clips: int
    seconds: float
    left_out: dict[str, int]
    held_back: int
    epochs: int
    history: tuple[float, ...]
    choice: Choice
    words_before: ErrorCounts
    words_after: ErrorCounts
    retrained: bool
    took_seconds: float
    start: str | None = None

    @property
    def labelled(self) -> int:
        """Clips that are learned from or held back."""
        return self.clips - sum(self.left_out.values())


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Weights to begin with that aren't the float ones: what an earlier run learned.

    name: of that run. added: to the float weights. adapted_hash: of the weights with it.
    """

    name: str
    added: Differences
    adapted_hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Keeping:
    """Where what is got is kept in case of a kill: labels, training with and without held-back clips."""

    labels: KeptLabels = field(default_factory=KeptLabels)
    trial: KeptLearning = field(default_factory=KeptLearning)
    whole: KeptLearning = field(default_factory=KeptLearning)


def adapt(
    model: SpeechModel,
    recordings: Sequence[Recording],
    teacher: SpeechModel,
    options: AdaptOptions,
    key: str = "",
    heard: str = "",
    keeping: Keeping | None = None,
    progress: Progress = lambda stage, done, total: None,
    start: Start | None = None,
) -> tuple[Adaptation, Differences]:
    """Learn from what the teacher hears in a person's recordings; no transcript of theirs is looked at.

    teacher: may be the model itself. key, heard: hashes of all that decides the result, and of the
    recordings, for the record. start: where learning begins, if not at the float weights; it stays where
    nothing more is learned and it is better than those. Returns what was done, and what it adds to the
    weights: nothing where the held-back clips don't get better. Raises ModelError for models that write no
    text, UserError when too few clips can be learned from.
    """
    check_student(model)
    check_teacher(teacher)
    begun, float_hash = time.monotonic(), model.weights_hash()
    keeping = Keeping() if keeping is None else keeping
    pairs, left_out = _lessons(model, recordings, teacher, options.doubts, keeping.labels, progress)
    _refuse_few(len(recordings), left_out, teacher)
    learned_from, held_back = split(pairs, options.held_back, options.seed)
    unseen = [_second(lesson, teacher is model, model) for _, lesson in held_back]
    begun_with = None if start is None else adapted(model, start.added, float_hash)
    trial = learn(
        begun_with or model, [lesson for _, lesson in learned_from], unseen, options.schedule, options.seed,
        keeping.trial.load(), keeping.trial.keep, lambda done, total: progress("learning", done, total),
    )  # fmt: skip
    choice = choose(model, trial.best, unseen, options.strengths, begun_with)
    added = differences(trial.best, model, choice.strength, begun_with)
    before, after = _words(adapted(model, added, float_hash), [one for one, _ in held_back], unseen)
    learned = trial.best_epoch > 0 and choice.strength > 0
    better = (learned or start is not None) and choice.is_better and words_stay(before, after)
    retrained = better and learned and options.retrain and len(pairs) <= MOST_LEARNED_AGAIN
    if retrained:
        weights = _retrained(
            begun_with or model, [each for _, each in pairs], trial.best_epoch, options, keeping.whole,
            progress,
        )  # fmt: skip
        added = differences(weights, model, choice.strength, begun_with)
    elif not better:
        added = {}
    found = Adaptation(
        key=key,
        audio_hash=heard,
        teacher=SELF if teacher is model else teacher.model_id,
        float_hash=float_hash,
        adapted_hash=adapted(model, added, float_hash).weights_hash() if better else None,
        clips=len(recordings),
        seconds=round(sum(recording.seconds for recording in recordings), 3),
        left_out=dict(left_out),
        held_back=len(held_back),
        epochs=trial.best_epoch if learned else 0,
        history=trial.history,
        choice=choice if better else replace(choice, strength=0.0),
        words_before=sum(before, NO_ERRORS),
        words_after=sum(after, NO_ERRORS),
        retrained=retrained,
        took_seconds=round(time.monotonic() - begun, 1),
        start=None if start is None else start.name,
    )
    return found, added


Pair = tuple[Label, Lesson]


def _lessons(
    model: SpeechModel,
    recordings: Sequence[Recording],
    teacher: SpeechModel,
    doubts: Doubts,
    kept: KeptLabels,
    progress: Progress,
) -> tuple[list[Pair], Counter[str]]:
    """What the model can learn from, in the order of the hashes, and why the rest is left out."""
    found: dict[str, Pair] = {}
    left_out: Counter[str] = Counter()
    for done, recording in enumerate(recordings):
        progress("labelling", done, len(recordings))
        sha256 = audio_hash([recording])
        if sha256 not in kept.labels:
            kept.keep(label(teacher, model, recording.waveform, sha256, doubts))
        said = kept.labels[sha256]
        reason: str | None = doubt(said, model, doubts)
        ids = spelled_by(said.text, model.tokens)
        if reason is None and ids is not None:
            lesson = Lesson(recording.waveform, ids)
            if not fits(lesson, model):
                reason = "too long"
            elif sha256 in found:
                reason = "heard before"
            else:
                found[sha256] = said, lesson
        if reason is not None:
            left_out[reason] += 1
    kept.finish()
    return [found[sha256] for sha256 in sorted(found)], left_out


def _refuse_few(clips: int, left_out: Counter[str], teacher: SpeechModel) -> None:
    labelled = clips - sum(left_out.values())
    if labelled < LEAST_LESSONS:
        why = f" (left out: {told(left_out)})" if left_out else ""
        raise UserError(
            f"only {labelled} of {clips} clips can be learned from with {teacher.model_id}'s text{why}; at "
            f"least {LEAST_LESSONS} are needed: give more recordings, name another --teacher, or leave it out"
        )


def told(left_out: dict[str, int]) -> str:
    """E.g. `3 looping, 1 unsure`."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))


def split(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Those to learn from, and those held back; the same for the same clips, in whatever order they came."""
    count = min(max(round(share * len(pairs)), LEAST_HELD_BACK), len(pairs) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(pairs))[:count].tolist())
    return (
        [pair for place, pair in enumerate(pairs) if place not in chosen],
        [pair for place, pair in enumerate(pairs) if place in chosen],
    )


def _second(lesson: Lesson, itself: bool, model: SpeechModel) -> Lesson:
    return replace(lesson, waveform=second_hearing(lesson.waveform, itself, model.piece_samples))


def _words(
    student: SpeechModel, labels: Sequence[Label], unseen: Sequence[Lesson]
) -> tuple[list[ErrorCounts], list[ErrorCounts]]:
    """Words of each clip that differ from the teacher's, as the student was and as it is now."""
    texts = [each.text for each in labels]
    before = utterance_word_errors(texts, [each.own for each in labels])
    now = [student.transcribe(lesson.waveform) for lesson in unseen]
    return before, utterance_word_errors(texts, now)


def _retrained(
    model: SpeechModel,
    lessons: Sequence[Lesson],
    epochs: int,
    options: AdaptOptions,
    kept: KeptLearning,
    progress: Progress,
) -> Weights:
    """Learned from all clips, for as long as suited the held-back ones."""
    return learn(
        model, lessons, (), options.schedule, options.seed, kept.load(), kept.keep,
        lambda done, total: progress("learning from all clips", done, total), epochs,
    ).weights  # fmt: skip
