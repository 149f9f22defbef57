"""How far a student's text of a clip is from its label, and which of its weights learn.

Models that write token by token: cross-entropy of each token after those of the label (teacher forcing).
CTC: the log-likelihood of all paths that write the label (Graves et al., ICML 2006).
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from myqasr.core.errors import ModelError
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.models.spectrogram import FixedConv1d, FixedLinear


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A clip [samples], and the ids that it is to be written with, without prompt and end."""

    waveform: NDArray[np.float32]
    ids: tuple[int, ...]


def check_student(model: SpeechModel) -> None:
    """Raise ModelError for a model that can't learn from a text."""
    if model.tokens.task != "transcription":
        raise ModelError(
            f"{model.model_id} is a model for {model.tokens.task} and can't learn from a teacher's text; "
            "recognisers can: Whisper, and all with a CTC head; leave --teacher out"
        )


def fits(lesson: Lesson, model: SpeechModel) -> bool:
    """Whether a CTC model has a frame for every token, and one between two that are the same."""
    if model.tokens.blank is None:
        return True
    frames = 1 + (len(lesson.waveform) - model.min_samples) // model.stride_samples
    same = sum(one == other for one, other in itertools.pairwise(lesson.ids))
    return frames >= len(lesson.ids) + same


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Weights that learn, by name: all but tables of tokens and positions, a head that is such a table too,
    and what is computed and not learned. So what two layers share stays shared.
    """
    fixed: set[int] = set()
    tables = [each for each in module.modules() if isinstance(each, nn.Embedding)]
    shared = {getattr(each, "matrix_of", "") for each in tables}
    for name, each in module.named_modules():
        if isinstance(each, nn.Embedding | FixedConv1d | FixedLinear) or (name and name in shared):
            fixed |= {id(weight) for weight in each.parameters()}
    return {
        name: weight
        for name, weight in module.named_parameters()
        if id(weight) not in fixed and weight.is_floating_point()
    }


def loss(model: SpeechModel, lesson: Lesson) -> tuple[Tensor, int]:
    """Sum over a clip's tokens of the negative log-likelihood in nats, and how many tokens there are."""
    features = model.features(lesson.waveform)
    how = model.tokens.autoregression
    if how is not None:
        target = torch.tensor([*lesson.ids, how.end])
        logits = model.module(features, torch.tensor([[*how.prompt, *lesson.ids]]))[0]
        return functional.cross_entropy(logits, target, reduction="sum"), len(target)
    scores = model.module(features)[0].log_softmax(-1)[:, None]
    blank = model.tokens.blank
    found = functional.ctc_loss(
        scores,
        torch.tensor([lesson.ids]),
        torch.tensor([len(scores)]),
        torch.tensor([len(lesson.ids)]),
        0 if blank is None else blank,
        reduction="sum",
        zero_infinity=True,
    )
    return found, len(lesson.ids)


def losses(model: SpeechModel, lessons: list[Lesson]) -> NDArray[np.float64]:
    """Nats and tokens of every clip, [clips, 2]."""
    with torch.inference_mode():
        found = [loss(model, lesson) for lesson in lessons]
    return np.array([(float(nats), tokens) for nats, tokens in found], np.float64).reshape(-1, 2)
