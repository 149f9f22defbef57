"""Layers that ExecuTorch's own kernels run: weights from the program's constants.

A quantised weight is a constant that one or two kernels expand to float before the layer reads it.
"""

from exporters.flatbuffer import DamagedFileError
from exporters.pte import KernelCall, Pte
from exporters.target import StoredLayer
from personalize.codes import LayerCodes
from personalize.plan import QuantSpec
from torch import Tensor
import torch

_WEIGHT_ARGUMENT = {
    "aten::linear.out": 1,
    "aten::convolution.out": 1,
    "aten::addmm.out": 2,
    "aten::mm.out": 1,
}


class KernelReader:
    """Follows the calls of one program and knows which call made which value."""

    def __init__(self, pte: Pte) -> None:
        self.pte = pte
        self.made_by: dict[int, KernelCall] = {}

    def layers(self, call: KernelCall) -> list[StoredLayer]:
        """The layer that this call is, if it is one."""
        self.made_by[call.args[-1]] = call
        argument = _WEIGHT_ARGUMENT.get(call.operator)
        if argument is None:
            return []
        weight = self.pte.constant(call.args[argument])
        if weight is None:
            return []
        bits = 8 * weight.dtype.itemsize
        return [
            StoredLayer(
                f"executorch {call.operator.removesuffix('.out')}",
                LayerCodes(QuantSpec(bits, "float")),
                weight.nbytes,
                weight,
            )
        ]
