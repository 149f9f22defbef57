"""How much of what was learned is kept, and whether any is: asked of clips that training never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core.statistics import Interval, rate_difference
from myqasr.personalize.adapting.losses import Lesson, losses
from myqasr.personalize.adapting.weights import adapted, differences
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.scoring import ErrorCounts

STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """strength: share of the way to the learned weights with the smallest held-back loss; 0: to the
    weights begun with.

    before, after: held-back nats a token of the float weights and of the chosen ones. change: between them,
    and its bounds over resampled clips.
    """

    strength: float
    before: float
    after: float
    change: Interval

    @property
    def is_better(self) -> bool:
        """Beyond noise: the whole interval is below none."""
        return self.change.high < 0


def choose(
    model: SpeechModel,
    learned: Mapping[str, Tensor],
    held_back: Sequence[Lesson],
    strengths: Sequence[float] = STRENGTHS,
    begun: SpeechModel | None = None,
) -> Choice:
    """The strength that suits the held-back clips best.

    begun: what learning began with, where that isn't the float model; then it may stay as it is.
    """
    lessons, float_hash = list(held_back), model.weights_hash()
    before = losses(model, lessons)
    tried = {
        strength: losses(
            adapted(model, differences(learned, model, strength, begun), float_hash), lessons
        )
        for strength in (strengths if begun is None else (0.0, *strengths))
    }
    best = min(tried, key=lambda strength: rate(tried[strength]))
    return Choice(best, rate(before), rate(tried[best]), change(before, tried[best]))


def rate(found: NDArray[np.float64]) -> float:
    """Nats a token of clips [clips, 2]."""
    nats, tokens = found.sum(axis=0)
    return float(nats / tokens)


def change(before: NDArray[np.float64], after: NDArray[np.float64]) -> Interval:
    """Of the same clips, [clips, 2] each, in nats a token."""
    return rate_difference(after[:, 0], before[:, 0], before[:, 1])


def words_stay(before: Sequence[ErrorCounts], after: Sequence[ErrorCounts]) -> bool:
    """Whether words of the held-back clips don't differ measurably more from the teacher's than they did.

    Beyond noise, as the loss is better beyond noise: of few clips one word more says nothing.
    """
    ours, theirs = ([each.errors for each in counts] for counts in (after, before))
    return rate_difference(ours, theirs, [each.reference_length for each in before]).low <= 0
