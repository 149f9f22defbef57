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
    each of them; called when they are needed, so that they needn't be held in between.
    """

    def __init__(
        self,
        module: nn.Module,
        x: Tensor,
        y: Tensor,
        specs: Sequence[QuantSpec],
        read: Callable[[], Sequence[LayerCodes]],
    ) -> None:
        self._read = read
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
        others = [specs[place] for place in self._others]
        self._rows = _RowProducts(module, x, others) if others else None

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
            candidates = self._read()
            found[:, self._others] = self._rows.all([candidates[at] for at in self._others])
        return found


class _RowProducts:
    """The same for a layer with rows, at the price of a product of matrices per draw and kind of input.

    With X' the input as the kernel sees it and W' the stored weight,
    g . (X'W'^T - XW^T) = g . (X' - X)W^T + <g^T X', W' - W>: the sum over time is taken first, so that every
    further precision is only a dot product over the weights. There is only one float16, which gains nothing
    by that: its change is g . ((X' - X)W^T + X'(W' - W)^T).
    """

    def __init__(self, module: nn.Module, x: Tensor, specs: Sequence[QuantSpec]) -> None:
        self._transposed = isinstance(module, nn.Conv1d)
        self._weight: Tensor = module.weight.detach().flatten(1)  # type: ignore[operator]
        self._draws = 0
        self._kept: list[Tensor] = []  # gradients [out, positions], when there are few positions
        inputs = rows(module, x)
        plain = inputs.flatten(0, -2)  # [positions, row]
        self._changes: dict[
            str, Tensor
        ] = {}  # kind of input -> change of the output [positions, out]
        self._seen: dict[str, Tensor] = {}  # kind of input, of integer weights -> [positions, row]
        self._outer: dict[str, list[Tensor]] = {}  # the same -> g^T X' of every draw [out, row]
        self._dots: dict[str, list[float]] = {}
        for spec in specs:
            kind, bare = _kind(spec), LayerCodes(spec)
            if kind in self._changes or kind in self._seen:
                continue
            seen = plain
            if kind != "float":
                seen = kernel_input(inputs, bare).flatten(0, -2)
                self._changes[kind] = (seen - plain) @ self._weight.T
                self._dots[kind] = []
            if kind == FLOAT16.label:
                stored = bare.dequantized(self._weight) - self._weight
                self._changes[kind].addmm_(seen, stored.T)
            else:
                self._seen[kind] = seen
                self._outer[kind] = []
        self._few_positions = len(plain) <= self._weight.shape[1]

    def add(self, gradient: Tensor) -> None:
        """One more draw: [..., out], or of a convolution [batch, out, frames]."""
        if self._transposed:
            gradient = gradient.transpose(1, 2)
        flat = gradient.flatten(0, -2)  # [positions, out]
        self._draws += 1
        for kind, change in self._changes.items():
            self._dots[kind].append(_dot(change, flat))
        if self._few_positions:
            self._kept.append(flat.T.contiguous())
        else:
            for kind, seen in self._seen.items():
                self._outer[kind].append(flat.T @ seen)

    def all(self, candidates: Sequence[LayerCodes]) -> NDArray[np.float64]:
        """[draws, candidates], which are the same as before."""
        found = np.zeros((self._draws, len(candidates)))
        kinds = [_kind(codes.spec) for codes in candidates]
        for kind, dots in self._dots.items():
            places = [place for place, each in enumerate(kinds) if each == kind]
            found[:, places] = np.array(dots)[:, None]
        out_channels, row = self._weight.shape
        step = max(1, CHUNK_WEIGHTS // row)
        total = torch.zeros(found.shape, dtype=torch.float64)
        gradients = (
            torch.stack(self._kept, dim=1) if self._kept else None
        )  # [out, draws, positions]
        for start in range(0, out_channels if self._seen else 0, step):
            some = slice(start, start + step)
            weight = self._weight[some]
            channels = torch.arange(start, start + len(weight), device=weight.device)
            stored: dict[str, Tensor] = {}
            for kind, seen in self._seen.items():
                if gradients is None:
                    outer = torch.stack([each[some] for each in self._outer[kind]])
                else:
                    outer = (gradients[some].flatten(0, 1) @ seen).unflatten(0, (-1, self._draws))
                    outer = outer.transpose(0, 1)  # [draws, channels, row]
                places = [place for place, each in enumerate(kinds) if each == kind]
                changes = []
                for codes in (candidates[place] for place in places):
                    label = codes.spec.stored.label
                    if label not in stored:
                        part = codes.some(channels).dequantized(weight)
                        stored[label] = part.sub_(weight).flatten()
                    changes.append(stored[label])
                total[:, places] += (outer.flatten(1) @ torch.stack(changes).T).double().cpu()
        return found + total.numpy()


def _kind(spec: QuantSpec) -> str:
    """What the kernel does with its input, in a word."""
    return spec.label if spec.scheme == "float" else spec.activation


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
