"""The same model in torch: float, int8 by torch itself, and the plan as the runtime would compute it."""

import contextlib
import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import myqasr.speech.models.wav2vec2  # noqa: F401  so that loading a model isn't importing transformers
from myqasr.core.errors import ModelError, UserError
from myqasr.personalize.adapting.weights import load_adapted
from myqasr.personalize.rounding.codes import LayerCodes, load_codes
from myqasr.personalize.rounding.reference import build_half_reference, build_reference
from myqasr.runtime_bench.runners.base import Runner, System
from myqasr.runtime_bench.runners.records import kind_of
from myqasr.speech.decoding import Tokens
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel, run

REFERENCES: dict[str, Callable[[SpeechModel, dict[str, LayerCodes]], SpeechModel]] = {
    "torch-reference": build_reference,
    "torch-reference-float32": partial(build_reference, half_activations=False),
    "torch-reference-float16": build_half_reference,
}
"""Runner -> the plan as it computes it."""


@dataclass(frozen=True, slots=True)
class TorchRunner(Runner):
    """The module of a `SpeechModel`, perhaps at another precision, and its tokens."""

    module: nn.Module
    tokens: Tokens

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [frames, vocab] of features [samples]."""
        return run(self.module, torch.from_numpy(features)[None], self.tokens)


def open_runner(system: System, threads: int) -> TorchRunner:
    """Load the model and bring it to the precision that `system.runner` stands for."""
    name = kind_of(system.runner)
    torch.set_num_threads(threads)
    model = load_model(system.source)
    if system.adapted is not None:
        model = load_adapted(model, Path(system.adapted))
    if system.weights_hash not in (None, model.weights_hash()):
        raise ModelError(
            f"{system.source} has changed since it was measured: weights {model.weights_hash()}, the run was "
            f"made of {system.weights_hash}; run `myqasr personalize` again"
        )
    used = torch.get_num_threads()
    if name == "torch-float":
        return TorchRunner("torch eager fp32", used, model.module, model.tokens)
    if name == "torch-int8-dynamic":
        module = dynamic_int8(model.module)
        return TorchRunner("torch dynamic int8 linears", used, module, model.tokens)
    if system.codes is None:
        raise UserError(f"{system.name}: a {system.runner} needs the file with the plan's codes")
    codes, _ = load_codes(Path(system.codes), system.codes_plan)
    reference = REFERENCES[name](model, codes)
    return TorchRunner("torch simulation of the plan", used, reference.module, model.tokens)


def dynamic_int8(module: nn.Module) -> nn.Module:
    """A copy whose Linear layers are torchao's dynamic int8 ones: a scale for every row and channel.

    torch names it as what follows its own `quantize_dynamic`; run as it is, without a compiler, it takes as
    long as float does.
    """
    quantized = copy.deepcopy(module)
    with contextlib.redirect_stderr(
        io.StringIO()
    ):  # torchao says which of its libraries aren't for CPUs
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    quantize_(quantized, Int8DynamicActivationInt8WeightConfig())
    return quantized
