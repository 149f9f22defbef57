"""What was learned: differences from the float weights, in float16, as one file of the run folder.

The adapted model is the float model with these differences added in float32: the file and the float model
make it, bit for bit, wherever it is loaded.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.core.errors import BrokenFileError, ModelError
from myqasr.core.tensors import load_tensors, save_tensors
from myqasr.speech.models.base import SpeechModel

Differences = dict[str, NDArray[np.float16]]
"""Name of a weight -> what is added to it."""

AGAIN = "run `myqasr personalize` with --teacher again"
_OF = "float_hash"


def differences(
    learned: Mapping[str, Tensor],
    model: SpeechModel,
    strength: float,
    begun: SpeechModel | None = None,
) -> Differences:
    """What `strength` of the way to the learned weights adds to the float ones.

    begun: the model that learning began with, where the way begins; none: the float one.
    """
    there, start = (
        dict(each.module.named_parameters()) for each in (model, model if begun is None else begun)
    )
    with torch.no_grad():
        return {
            name: (start[name] - there[name] + strength * (weight - start[name])).half().numpy()
            for name, weight in learned.items()
        }


def adapted(model: SpeechModel, added: Differences, float_hash: str) -> SpeechModel:
    """The model with other weights; the one that was given, a float model, stays as it is.

    float_hash: of the given model's weights: who has it needn't read them all again.
    Raises ModelError when it isn't the one that the differences are of.
    """
    module = copied(model.module)
    there = dict(module.named_parameters())
    with torch.no_grad():
        for name, values in added.items():
            if name not in there or tuple(there[name].shape) != values.shape:
                raise ModelError(
                    f"{model.model_id} has no weight {name} of shape {values.shape}; {AGAIN}"
                )
            there[name].add_(torch.from_numpy(values.astype(np.float32)))
    return replace(model, module=module, adapted_from=float_hash)


def copied(module: nn.Module) -> nn.Module:
    """A copy whose weights can change."""
    made = copy.deepcopy(module)
    return made.eval().requires_grad_(False)


def save_differences(added: Differences, float_hash: str, path: Path) -> None:
    """Write them, whole or not at all. float_hash: of the weights that they are added to."""
    save_tensors(added, {_OF: float_hash}, path)


def load_adapted(model: SpeechModel, path: Path) -> SpeechModel:
    """The float model as a run adapted it.

    Raises BrokenFileError when the file is missing or damaged, ModelError when the model isn't the one that
    was adapted.
    """
    added, of = load_differences(path)
    found = model.weights_hash()
    if of != found:
        raise ModelError(
            f"{model.model_id} has changed since it was adapted: weights {found}, {path} is of {of}; {AGAIN}"
        )
    return adapted(model, added, found)


def load_differences(path: Path) -> tuple[Differences, str]:
    """What was learned, and the hash of the float weights that it is added to.

    Raises BrokenFileError when the file is missing or damaged.
    """
    if not path.is_file():
        raise BrokenFileError(f"{path} is gone, which holds what the model has learned; {AGAIN}")
    added, about = load_tensors(path, AGAIN)
    return added, str(about.get(_OF))
