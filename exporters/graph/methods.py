"""The entry points of an exported file, and what each is traced with."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from myqasr.core.errors import UserError
from myqasr.exporters.target import ExportOptions
from myqasr.speech.models.base import SpeechModel

SHORTEST_IDS = 2


@dataclass(frozen=True, slots=True)
class Method:
    """One entry point.

    module: what it runs. example: inputs as long as they get. varying: least and greatest size of the first
    input's second dimension; None when it has one size. listed: all of its sizes, where they are listed.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    varying: tuple[int, int] | None
    listed: tuple[int, ...] = ()


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
        return {"forward": Method(model.module, (torch.zeros(1, options.max_samples),), None)}
    if how is None:
        # A single frame would be specialised away; from two frames on the graph is general, and the
        # runtime takes one frame too.
        shortest = max(options.min_samples, model.min_samples + model.stride_samples)
        if options.max_samples <= shortest:
            raise UserError(
                f"a longest input of {options.max_samples:,} samples is too short for {model.model_id}; "
                f"allow more than {shortest:,}"
            )
        example = torch.zeros(1, options.max_samples)
        varying = (shortest, options.max_samples)
        return {"forward": Method(model.module, (example,), varying, options.lengths)}
    encode, decode = Part(model.module, "encode"), Part(model.module, "decode")
    audio = torch.zeros(1, model.min_samples)
    with torch.no_grad():
        # As the runtime keeps them: a graph traced with other strides reads its input in their order.
        heard = tuple(tensor.contiguous() for tensor in encode(audio))
    ids = torch.zeros(1, how.max_tokens, dtype=torch.int64)
    return {
        "encode": Method(encode, (audio,), None),
        "decode": Method(decode, (ids, *heard), (SHORTEST_IDS, how.max_tokens)),
    }
