"""Layers that ExecuTorch's own kernels run: weights from the program's constants.

A quantised weight is a constant that a kernel expands to float before the layer reads it.
"""

from torch import Tensor

from myqasr.core import packing
from myqasr.core.flatbuffer import DamagedFileError
from myqasr.exporters.executorch.pte import KernelCall, Method
from myqasr.exporters.target import StoredLayer
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes, unpacked

_WEIGHT_ARGUMENT = {
    "aten::linear.out": 1,
    "aten::convolution.out": 1,
    "aten::addmm.out": 2,
    "aten::mm.out": 1,
    "aten::embedding.out": 0,
}
_RESHAPES = ("executorch_prim::et_view.default", "aten::view_copy.out")
_BYTES = "quantized_decomposed::dequantize_per_channel.out"
_NIBBLES = (
    "quantized_decomposed::embedding_4bit.out",
    "quantized_decomposed::embedding_4bit.dtype_out",
)
_BYTE_ROWS = "quantized_decomposed::embedding_byte.out"
_COLUMNS = "aten::index_select.out"
"""Behind an embedding of nibbles: its codes lie in XNNPACK's order, the first in the low half of a byte."""
_IDS = 5
"""Argument of the quantised embeddings that says which rows are read."""
_CASTS = ("dim_order_ops::_to_dim_order_copy.out", "aten::_to_copy.out")


class KernelReader:
    """Follows the calls of one method and knows which call made which value."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.swapped = {
            call.args[0]
            for call in method.calls()
            if isinstance(call, KernelCall) and call.operator == _COLUMNS and call.args
        }
        self.made_by: dict[int, KernelCall] = {}
        self.made_at: dict[tuple[int, ...], KernelCall] = {}

    def layers(self, call: KernelCall) -> list[StoredLayer]:
        """The layer that this call is, if it is one."""
        if not call.args:
            raise DamagedFileError(f"{call.operator} is called without arguments")
        self.made_by[call.args[-1]] = call
        place = self.method.place(call.args[-1])
        if place is not None:
            self.made_at[place] = call
        if call.operator in (*_NIBBLES, _BYTE_ROWS):
            # With row numbers that are stored, the kernel expands the weight of another layer.
            some = len(call.args) > _IDS and self.method.constant(call.args[_IDS]) is None
            return [self._embedding(call)] if some else []
        argument = _WEIGHT_ARGUMENT.get(call.operator)
        if argument is None or argument >= len(call.args):
            return []
        kernel = f"executorch {call.operator.removesuffix('.out').removeprefix('aten::')}"
        stored = self._stored(kernel, call.args[argument])
        return [] if stored is None else [stored]

    def _stored(self, kernel: str, value: int) -> StoredLayer | None:
        """The constants that a weight comes from; None when it is computed from the input."""
        constant = self.method.constant(value)
        if constant is not None:
            return self._float(kernel, constant)
        # A reshape of planned memory leaves no call: the value lies where another was made.
        maker = self.made_by.get(value) or self.made_at.get(self.method.place(value) or ())
        if maker is None:
            return None
        if maker.operator in _CASTS:
            return self._float(f"{kernel} + cast", self.method.constant(maker.args[0]))
        if maker.operator in _RESHAPES:
            maker = self.made_by.get(maker.args[0], maker)
        if maker.operator not in (_BYTES, *_NIBBLES):
            return None
        codes, scales = self.method.constant(maker.args[0]), self.method.constant(maker.args[1])
        if codes is None or scales is None:
            raise DamagedFileError(f"{maker.operator} expands something that isn't stored")
        expansion = maker.operator.split("::")[1].removesuffix(".out")
        shape = self.method.shape(value)
        return _quantized(f"{kernel} + {expansion}", codes, scales, maker.operator, shape)

    def _embedding(self, call: KernelCall) -> StoredLayer:
        """A kernel that reads rows of codes, some of them."""
        codes, scales = self.method.constant(call.args[0]), self.method.constant(call.args[1])
        if codes is None or scales is None:
            raise DamagedFileError(f"{call.operator} reads something that isn't stored")
        size = codes.shape[1] * (2 if call.operator in _NIBBLES else 1)
        order: packing.Order = "low" if call.args[-1] in self.swapped else "high"
        shape = [len(codes), size]
        return _quantized("executorch embedding", codes, scales, call.operator, shape, order)

    @staticmethod
    def _float(kernel: str, weight: Tensor | None) -> StoredLayer | None:
        if weight is None or not weight.is_floating_point():
            return None
        spec = QuantSpec(8 * weight.dtype.itemsize, "float")
        return StoredLayer(kernel, LayerCodes(spec), weight.nbytes, weight)


def _quantized(
    kernel: str,
    codes: Tensor,
    scales: Tensor,
    expansion: str,
    shape: list[int],
    order: packing.Order = "high",
) -> StoredLayer:
    """A layer from its stored codes, which `expansion` reads, and scales; shape: of its weight."""
    payload = codes.nbytes + scales.nbytes
    packed = expansion in _NIBBLES
    codes = unpacked(codes, order).reshape(len(codes), -1) if packed else codes
    scales = scales.reshape(len(codes), -1).float()
    group = codes[0].numel() // scales.shape[1] if scales.shape[1] > 1 else None
    spec = QuantSpec(4 if packed else 8, "int", group)
    return StoredLayer(kernel, LayerCodes(spec, codes.reshape(shape), scales), payload)
