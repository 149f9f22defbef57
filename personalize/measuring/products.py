"""What the precisions of a layer do to its output, times gradients at it: g . dy for every draw of labels.

What doesn't depend on the draw is computed once: the input as the kernels see it, and the weights that codes
stand for. These are expanded a few output channels at a time: no layer is ever held at every precision.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.personalize.planning.plan import FLOAT16, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import has_rows, kernel_input, layer_output, rows
from myqasr.speech.models.base import TokenEmbedding

CHUNK_WEIGHTS = 1 << 15
"""So many weights of a layer are expanded at a time: at every precision they stay in the CPU's cache."""


class Products:
    """g . dy of one call of a layer: draws are added one after the other.

    module, x, y: the layer, its input and its output in float. specs: its precisions. read: gives codes at
    each of them; called when they are needed, so that they needn't be held in between. last_input: of the
    layers of this model.
    """

    def __init__(
        self,
        module: nn.Module,
        x: Tensor,
        y: Tensor,
        specs: Sequence[QuantSpec],
        read: Callable[[], Sequence[LayerCodes]],
        last_input: "LastInput",
    ) -> None:
        self._count = len(specs)
        self._direct = [
            place
            for place, spec in enumerate(specs)
            if not has_rows(module) or spec.activation == "int8-static"
        ]
        self._others = [place for place in range(self._count) if place not in self._direct]
        candidates = read() if self._direct else []
        direct = [candidates[place] for place in self._direct]
        self._errors = [_output(module, x, codes).sub_(y) for codes in direct]
        self._products: list[list[float]] = []
        places = self._others

        def read_others() -> list[LayerCodes]:
            # No method of this object: with a cycle of references all that it holds would stay too long.
            candidates = read()
            return [candidates[place] for place in places]

        others = [specs[place] for place in places]
        self._rows = _RowProducts(module, x, others, read_others, last_input) if others else None

    @property
    def wants_input(self) -> bool:
        """Whether each draw's gradient at the input is to be added, too, after that at the output."""
        return self._rows is not None and self._rows.wants_input

    def add_at_input(self, gradient: Tensor) -> None:
        """The gradient at the input, of this layer alone, of the draw that was added last."""
        if self._rows is not None:
            self._rows.add_at_input(gradient)

    def add(self, gradient: Tensor) -> None:
        """One more draw: the gradient of its log-likelihood at the output, shaped like it."""
        self._products.append([_dot(error, gradient) for error in self._errors])
        if self._rows is not None:
            self._rows.add(gradient)

    @property
    def draws(self) -> int:
        """Those added so far."""
        return len(self._products)

    def all(self) -> NDArray[np.float64]:
        """[draws, candidates]."""
        found = np.zeros((self.draws, self._count))
        found[:, self._direct] = self._products
        if self._rows is not None:
            found[:, self._others] = self._rows.all()
        return found


class LastInput:
    """The last layer's input as kernels see it: layers that run one after the other often read the same."""

    def __init__(self) -> None:
        self._x: Tensor | None = None
        self._seen: dict[str, Tensor] = {}

    def seen(self, x: Tensor, spec: QuantSpec) -> Tensor:
        """The input [..., row] as the kernel of a precision sees it, [positions, row]."""
        known = self._x
        if (
            known is None
            or (known.data_ptr(), known._version) != (x.data_ptr(), x._version)
            or (known.shape, known.stride()) != (x.shape, x.stride())
        ):
            self._x, self._seen = x, {}
        kind = _kind(spec)
        if kind not in self._seen:
            self._seen[kind] = kernel_input(x, LayerCodes(spec)).flatten(0, -2)
        return self._seen[kind]


class _RowProducts:
    """The same for a layer with rows, at the price of a product of matrices per draw and kind of input.

    With X' the input as the kernel sees it, W' the stored weight and h = gW the gradient at the input,
    g . (X'W'^T - XW^T) = h . (X' - X) + <g^T X', W' - W>: the sum over time is taken first, so that every
    further precision is only a dot product over the weights. There is only one float16, which gains nothing
    by that: its second part is g . X'(W' - W)^T. A convolution's rows overlap in its input: instead of h it
    takes g . (X' - X)W^T.
    """

    def __init__(
        self,
        module: nn.Module,
        x: Tensor,
        specs: Sequence[QuantSpec],
        read: Callable[[], Sequence[LayerCodes]],
        last_input: LastInput,
    ) -> None:
        self._specs, self._read = specs, read
        self._transposed = isinstance(module, nn.Conv1d)
        self._weight: Tensor = module.weight.detach().flatten(1)  # type: ignore[operator]
        self._half: QuantSpec | None = None
        self._seen: dict[str, Tensor] = {}  # kind of input, of integer weights -> [positions, row]
        # What is multiplied with g: kind of input -> change of the output [positions, out].
        self._changes: dict[str, Tensor] = {}
        self._dots: dict[str, list[float]] = {}  # what of g . dy isn't a product with W' - W
        # With few positions, g [out, positions] of every draw is kept for the end; else <g^T X', W' - W>.
        self._kept: list[Tensor] = []
        self._stored: list[NDArray[np.float64]] = []
        inputs = rows(module, x)
        self._plain = inputs.flatten(0, -2)  # [positions, row]
        for spec in specs:
            kind = _kind(spec)
            if kind in self._dots:
                continue
            self._dots[kind] = []
            if spec == FLOAT16:
                self._half = spec
                seen = kernel_input(self._plain, LayerCodes(spec))
                stored = LayerCodes(spec).dequantized(self._weight) - self._weight
                self._changes[kind] = seen @ stored.T
            else:
                seen = self._plain if kind == "float" else last_input.seen(inputs, spec)
                self._seen[kind] = seen
            if self._transposed and kind != "float":
                change = (seen - self._plain) @ self._weight.T
                self._changes[kind] = self._changes.get(kind, 0.0) + change
        self._few_positions = len(self._plain) <= self._weight.shape[1]

    @property
    def wants_input(self) -> bool:
        """Whether h is to be added, too."""
        return not self._transposed and any(kind != "float" for kind in self._dots)

    def add(self, gradient: Tensor) -> None:
        """One more draw: [..., out], or of a convolution [batch, out, frames]."""
        if self._transposed:
            gradient = gradient.transpose(1, 2)
        flat = gradient.flatten(0, -2)  # [positions, out]
        for kind, dots in self._dots.items():
            dots.append(_dot(self._changes[kind], flat) if kind in self._changes else 0.0)
        if self._few_positions:
            self._kept.append(flat.T.contiguous())
        elif self._seen:
            outer = {kind: (flat.T @ seen)[:, None] for kind, seen in self._seen.items()}
            self._stored.append(self._by_stored(1, lambda kind, some: outer[kind][some]))

    def add_at_input(self, gradient: Tensor) -> None:
        """h [..., row] of the draw that was added last."""
        flat = gradient.flatten(0, -2)
        for kind, dots in self._dots.items():
            if kind == "float":
                continue
            if self._half is not None and kind == self._half.label:
                seen = kernel_input(self._plain, LayerCodes(self._half))
            else:
                seen = self._seen[kind]
            dots[-1] += _dot(seen - self._plain, flat)

    def all(self) -> NDArray[np.float64]:
        """[draws, candidates]."""
        dots = {kind: np.array(each) for kind, each in self._dots.items()}
        found = np.stack([dots[_kind(spec)] for spec in self._specs], axis=1)
        if self._stored:
            return found + np.concatenate(self._stored)
        if not self._seen:
            return found
        gradients = torch.stack(self._kept, dim=1)  # [out, draws, positions]
        draws = gradients.shape[1]

        def outer(kind: str, some: slice) -> Tensor:
            return (gradients[some].flatten(0, 1) @ self._seen[kind]).unflatten(0, (-1, draws))

        return found + self._by_stored(draws, outer)

    def _by_stored(self, draws: int, outer: Callable[[str, slice], Tensor]) -> NDArray[np.float64]:
        """<g^T X', W' - W>, [draws, candidates]; outer: g^T X' of some channels, [channels, draws, row]."""
        candidates = self._read()
        kinds = [_kind(codes.spec) for codes in candidates]
        out_channels, row = self._weight.shape
        step = max(1, CHUNK_WEIGHTS // row)
        total = torch.zeros(draws, len(candidates), dtype=torch.float64)
        for start in range(0, out_channels, step):
            some = slice(start, start + step)
            weight = self._weight[some]
            stored: dict[str, Tensor] = {}
            for kind in self._seen:
                places = [place for place, each in enumerate(kinds) if each == kind]
                changes = []
                for codes in (candidates[place] for place in places):
                    label = codes.spec.stored.label
                    if label not in stored:
                        part = codes.some(some).dequantized(weight)
                        stored[label] = part.sub_(weight).flatten()
                    changes.append(stored[label])
                flat = outer(kind, some).transpose(0, 1).flatten(1)  # [draws, channels * row]
                total[:, places] += (flat @ torch.stack(changes).T).double().cpu()
        return total.numpy()


def _kind(spec: QuantSpec) -> str:
    """What the kernel does with its input, in a word."""
    if spec.scheme == "float":
        return spec.label
    if spec.activation == "int8-blocks":
        return f"{spec.activation} {spec.group_size}"
    return spec.activation


def _output(module: nn.Module, x: Tensor, codes: LayerCodes) -> Tensor:
    """Output at a precision; of a table of tokens only the rows that are looked up are expanded."""
    weight: Tensor = module.weight.detach()  # type: ignore[operator]
    if isinstance(module, TokenEmbedding):
        ids = x.flatten()
        return codes.some(ids).dequantized(weight[ids]).reshape(*x.shape, -1)
    return layer_output(module, x, codes, codes.dequantized(weight))


def _dot(a: Tensor, b: Tensor) -> float:
    """Sum of products, [..., n] each; float32 within a row, float64 across rows."""
    return float((a * b).sum(dim=-1).sum(dtype=torch.float64))
