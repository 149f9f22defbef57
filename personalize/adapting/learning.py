"""Epochs of a student over its lessons: AdamW (Loshchilov and Hutter, ICLR 2019), a few clips a step.

Everything that is drawn depends on the seed, the epoch and the clip alone, so that a killed run that goes on
after an epoch ends with the same weights, on as many threads.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core.errors import ModelError
from myqasr.personalize.adapting.augmenting import Augmentation, augmented
from myqasr.personalize.adapting.losses import Lesson, loss, losses, trainable
from myqasr.personalize.adapting.weights import copied
from myqasr.speech.models.base import SpeechModel

LARGEST_GRADIENT = 1.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """epochs: at most. patience: epochs without a better held-back loss before it stops. batch: clips a step.
    rate: of AdamW, rising over the first tenth of all steps and falling to none at their end.
    """

    epochs: int = 4
    patience: int = 1
    batch: int = 4
    rate: float = 2e-5
    decay: float = 0.01
    augmentation: Augmentation = field(default_factory=Augmentation)

    def rate_at(self, step: int, steps: int) -> float:
        """Of one step, of so many of all epochs."""
        rising = max(1, math.ceil(steps / 10))
        return self.rate * min((step + 1) / rising, (steps - step) / max(steps - rising, 1))


Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Learning:
    """What training has got after some epochs.

    weights, first, second: of the weights that learn, and AdamW's moments. best: the weights with the
    smallest held-back loss. history: held-back nats a token, before and after each epoch.
    """

    weights: Weights
    first: Weights
    second: Weights
    best: Weights
    history: tuple[float, ...]

    @property
    def epochs(self) -> int:
        """Those that are done."""
        return len(self.history) - 1

    @property
    def best_epoch(self) -> int:
        """After which the held-back loss was smallest; 0: before the first."""
        return int(np.argmin(self.history))


Keep = Callable[[Learning], None]


def learn(
    model: SpeechModel,
    lessons: Sequence[Lesson],
    held_back: Sequence[Lesson],
    schedule: Schedule,
    seed: int,
    begun: Learning | None = None,
    keep: Keep = lambda learning: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop_after: int | None = None,
) -> Learning:
    """Train a copy of the model until the held-back loss stops getting better.

    begun: what an earlier, killed run got; keep: told after every epoch. progress: clips done, and of how
    many. stop_after: epochs, whatever the held-back loss does; then there need be no held-back clips.
    Raises ModelError when nothing of the model learns.
    """
    student = replace(model, module=copied(model.module))
    weights = trainable(student.module)
    if not weights:
        raise ModelError(f"{model.model_id} has no weights that can learn; leave --teacher out")
    for weight in weights.values():
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights.values(), lr=schedule.rate, weight_decay=schedule.decay)
    state = begun if begun is not None else _start(student, weights, held_back)
    _restore(optimizer, weights, state, _steps(lessons, schedule))
    last = schedule.epochs if stop_after is None else stop_after
    while state.epochs < last and not _stalled(state, schedule, stop_after):
        epoch = state.epochs
        _epoch(student, weights, optimizer, lessons, schedule, seed, epoch, progress)
        state = _after(student, weights, optimizer, state, held_back)
        keep(state)
    return state


def _stalled(state: Learning, schedule: Schedule, stop_after: int | None) -> bool:
    return stop_after is None and state.epochs - state.best_epoch >= schedule.patience + (
        state.best_epoch == 0
    )


def _steps(lessons: Sequence[Lesson], schedule: Schedule) -> int:
    return math.ceil(len(lessons) / schedule.batch)


def _epoch(
    student: SpeechModel,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    lessons: Sequence[Lesson],
    schedule: Schedule,
    seed: int,
    epoch: int,
    progress: Callable[[int, int], None],
) -> None:
    order = list(range(len(lessons)))
    random.Random(f"{seed} {epoch}").shuffle(order)
    steps = _steps(lessons, schedule)
    for step in range(steps):
        rate = schedule.rate_at(epoch * steps + step, schedule.epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = order[step * schedule.batch : (step + 1) * schedule.batch]
        heard = [
            _changed(lessons[index], student, schedule, (seed, epoch, index)) for index in batch
        ]
        tokens = sum(len(lesson.ids) + 1 for lesson in heard)
        for lesson in heard:
            with torch.enable_grad():
                nats, _ = loss(student, lesson)
                (nats / tokens).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(
            epoch * len(lessons) + step * schedule.batch + len(batch),
            schedule.epochs * len(lessons),
        )


def _changed(
    lesson: Lesson, student: SpeechModel, schedule: Schedule, drawn_by: tuple[int, int, int]
) -> Lesson:
    draw = np.random.default_rng(drawn_by)
    changed: NDArray[np.float32] = augmented(
        lesson.waveform, schedule.augmentation, draw, student.max_samples
    )
    return replace(lesson, waveform=changed)


def _start(
    student: SpeechModel, weights: Mapping[str, Tensor], held_back: Sequence[Lesson]
) -> Learning:
    zeros = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    now = _copies(weights)
    return Learning(now, zeros, _copies(zeros), now, (_mean(student, held_back),))


def _after(
    student: SpeechModel,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    before: Learning,
    held_back: Sequence[Lesson],
) -> Learning:
    now = _copies(weights)
    mean = _mean(student, held_back)
    first, second = (
        {name: _moment(optimizer, weight, key) for name, weight in weights.items()}
        for key in ("exp_avg", "exp_avg_sq")
    )
    better = not held_back or mean < min(before.history)
    return Learning(now, first, second, now if better else before.best, (*before.history, mean))


def _moment(optimizer: torch.optim.Optimizer, weight: Tensor, key: str) -> Tensor:
    """Zeros for a weight that no clip's loss depends on, as one that masks input in training."""
    held = optimizer.state[weight].get(key)
    return torch.zeros_like(weight) if held is None else held.clone()


def _mean(student: SpeechModel, held_back: Sequence[Lesson]) -> float:
    """Nats a token; 0 without clips."""
    nats, tokens = losses(student, list(held_back)).sum(axis=0) if held_back else (0.0, 1.0)
    return float(nats / tokens)


def _copies(weights: Mapping[str, Tensor]) -> Weights:
    return {name: weight.detach().clone() for name, weight in weights.items()}


def _restore(
    optimizer: torch.optim.AdamW, weights: Mapping[str, Tensor], state: Learning, steps: int
) -> None:
    """The student and AdamW as they were after the last epoch."""
    if not state.epochs:
        return
    for name, weight in weights.items():
        weight.data.copy_(state.weights[name])
        optimizer.state[weight] = {
            "step": torch.tensor(float(state.epochs * steps)),
            "exp_avg": state.first[name].clone(),
            "exp_avg_sq": state.second[name].clone(),
        }
