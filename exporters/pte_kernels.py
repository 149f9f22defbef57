"""Layers that ExecuTorch's own kernels run: weights from the program's constants.

A quantised weight is a constant that a kernel expands to float before the layer reads it.
"""

import torch
from torch import Tensor

from exporters.flatbuffer import DamagedFileError
from exporters.pte import KernelCall, Pte
from exporters.target import StoredLayer
from personalize.codes import LayerCodes
from personalize.plan import QuantSpec

_WEIGHT_ARGUMENT = {
    "aten::linear.out": 1,
    "aten::convolution.out": 1,
    "aten::addmm.out": 2,
    "aten::mm.out": 1,
}
_RESHAPES = ("executorch_prim::et_view.default", "aten::view_copy.out")
_BYTES = "quantized_decomposed::dequantize_per_channel.out"
_NIBBLES = "quantized_decomposed::embedding_4bit.out"
_CASTS = ("dim_order_ops::_to_dim_order_copy.out", "aten::_to_copy.out")


class KernelReader:
    """Follows the calls of one program and knows which call made which value."""

    def __init__(self, pte: Pte) -> None:
        self.pte = pte
        self.made_by: dict[int, KernelCall] = {}
        self.made_at: dict[tuple[int, ...], KernelCall] = {}

    def layers(self, call: KernelCall) -> list[StoredLayer]:
        """The layer that this call is, if it is one."""
        if not call.args:
            raise DamagedFileError(f"{call.operator} is called without arguments")
        self.made_by[call.args[-1]] = call
        place = self.pte.place(call.args[-1])
        if place is not None:
            self.made_at[place] = call
        argument = _WEIGHT_ARGUMENT.get(call.operator)
        if argument is None or argument >= len(call.args):
            return []
        kernel = f"executorch {call.operator.removesuffix('.out').removeprefix('aten::')}"
        stored = self._stored(kernel, call.args[argument])
        return [] if stored is None else [stored]

    def _stored(self, kernel: str, value: int) -> StoredLayer | None:
        """The constants that a weight comes from; None when it is computed from the input."""
        constant = self.pte.constant(value)
        if constant is not None:
            return self._float(kernel, constant)
        # A reshape of planned memory leaves no call: the value lies where another was made.
        maker = self.made_by.get(value) or self.made_at.get(self.pte.place(value) or ())
        if maker is None:
            return None
        if maker.operator in _CASTS:
            return self._float(f"{kernel} + cast", self.pte.constant(maker.args[0]))
        if maker.operator in _RESHAPES:
            maker = self.made_by.get(maker.args[0], maker)
        if maker.operator not in (_BYTES, _NIBBLES):
            return None
        codes, scales = self.pte.constant(maker.args[0]), self.pte.constant(maker.args[1])
        if codes is None or scales is None:
            raise DamagedFileError(f"{maker.operator} expands something that isn't stored")
        payload = codes.nbytes + scales.nbytes
        bits = 4 if maker.operator == _NIBBLES else 8
        if bits == 4:
            codes = _nibbles(codes)
        scales = scales.reshape(len(codes), -1)
        group = codes[0].numel() // scales.shape[1] if scales.shape[1] > 1 else None
        codes = codes.reshape(self.pte.shape(value))
        expansion = maker.operator.split("::")[1].removesuffix(".out")
        return StoredLayer(
            f"{kernel} + {expansion}",
            LayerCodes(QuantSpec(bits, "int", group), codes, scales),
            payload,
        )

    @staticmethod
    def _float(kernel: str, weight: Tensor | None) -> StoredLayer | None:
        if weight is None or not weight.is_floating_point():
            return None
        spec = QuantSpec(8 * weight.dtype.itemsize, "float")
        return StoredLayer(kernel, LayerCodes(spec), weight.nbytes, weight)


def _nibbles(packed: Tensor) -> Tensor:
    """4-bit codes: the first of each pair in the high half of a byte, stored with 8 added."""
    pairs = torch.stack((packed >> 4, packed & 15), dim=2)
    return pairs.reshape(len(packed), -1).to(torch.int8) - 8
