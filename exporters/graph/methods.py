"""The entry points of an exported file, and what each is traced with."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from myqasr.core.errors import UserError
from myqasr.exporters.target import ExportOptions
from myqasr.speech.models.base import SpeechModel


@dataclass(frozen=True, slots=True)
class Method:
    """One entry point.

    module: what it runs. inputs: as long as they get, by name. outputs: their names. varying: least and
    greatest size of the first input's second dimension; None when it has one size. listed: all of its
    sizes, where they are listed.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    varying: tuple[int, int] | None
    listed: tuple[int, ...] = ()

    @property
    def example(self) -> tuple[Tensor, ...]:
        """What it is traced with."""
        return tuple(self.inputs.values())


class Part(nn.Module):
    """One method of a module, to be traced; parameters are named as in the module, after `whole.`."""

    def __init__(self, whole: nn.Module, method: str) -> None:
        super().__init__()
        self.whole = whole
        self.method = method

    def forward(self, *inputs: Tensor) -> Any:
        """Whatever the method gives."""
        return getattr(self.whole, self.method)(*inputs)


def methods(model: SpeechModel, options: ExportOptions) -> dict[str, Method]:
    """Entry points by name: `forward`, or `encode` and `decode` for models that write token by token.

    Raises UserError when the lengths make no sense.
    """
    how = model.tokens.autoregression
    if how is None and len(options.lengths) == 1:
        waveform = {"waveform": torch.zeros(1, options.max_samples)}
        return {"forward": Method(model.module, waveform, ("logits",), None)}
    if how is None:
        # A single frame would be specialised away; from two frames on the graph is general, and the
        # runtime takes one frame too.
        shortest = max(options.min_samples, model.min_samples + model.stride_samples)
        if options.max_samples <= shortest:
            raise UserError(
                f"a longest input of {options.max_samples:,} samples is too short for {model.model_id}; "
                f"allow more than {shortest:,}"
            )
        waveform = {"waveform": torch.zeros(1, options.max_samples)}
        varying = (shortest, options.max_samples)
        return {"forward": Method(model.module, waveform, ("logits",), varying, options.lengths)}
    encode, decode = Part(model.module, "encode"), Part(model.module, "decode")
    audio = torch.zeros(1, model.min_samples)
    with torch.no_grad():
        # As the runtime keeps them: a graph traced with other strides reads its input in their order.
        heard = [tensor.contiguous() for tensor in encode(audio)]
    heads, _, size = heard[-1].shape
    kept = [torch.zeros(heads, how.max_tokens, size) for _ in heard]
    inputs = {
        "token": torch.zeros(1, 1, dtype=torch.int64),
        "position": torch.zeros(1, dtype=torch.int64),
        **{f"cache_{index}": tensor for index, tensor in enumerate(kept)},
        **{f"heard_{index}": tensor for index, tensor in enumerate(heard)},
    }
    names = tuple(f"heard_{index}" for index, _ in enumerate(heard))
    rows = tuple(f"row_{index}" for index, _ in enumerate(heard))
    return {
        "encode": Method(encode, {"waveform": audio}, names, None),
        "decode": Method(decode, inputs, ("logits", *rows), None),
    }
