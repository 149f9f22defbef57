"""What each precision of each layer costs, from one forward and backward pass per clip, without labels.

The loss is the divergence between the float model's posteriors and the quantised model's. To second
order it is half the expected squared product of the layer's output error with the gradient of the
log-likelihood of labels drawn from the float posterior itself (Fisher information; Amari, "Natural
gradient works efficiently in learning", 1998; Martens, JMLR 2020, section 5). Labels drawn from the model
need no transcript, and frames where the model is certain (blanks, mostly) contribute next to nothing.

For layer output error dy and gradient g, over all output positions of a clip, the cost is

    1/2 * (g . dy)^2,   averaged over clips and label draws, in nats per output frame,

where dy is the difference that the runtime's own arithmetic makes: rounded weights and, where the
kernel quantises them, rounded activations. The product is summed over the whole clip before squaring:
a weight's rounding error is the same in every frame, and squaring frame by frame loses that (rank
correlation with brute force within 4-bit entries 0.94 instead of 0.97, see docs/results.md).

The layer whose output is the logits needs neither draws nor the second order (`head_costs`). It has half of
Whisper tiny's weights: what draws left uncertain of it decided more than all other layers together.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.personalize.measuring.head import head_costs
from myqasr.personalize.measuring.method import ClipCosts, Setting, Takes, backward
from myqasr.personalize.measuring.products import LastInput, Products


def clip_costs(setting: Setting, waveform: NDArray[np.float32], seed: int) -> ClipCosts:
    """One clip's costs, summed over its frames. `seed` alone decides which labels are drawn."""
    draws = setting.draws
    sums: dict[str, NDArray[np.float64]] = {}
    ran: Counter[str] = Counter()
    last: list[tuple[str, _Call, nn.Module, Tensor, Tensor]] = []
    last_input = LastInput()

    def watch(name: str, module: nn.Module, x: Tensor, y: Tensor) -> Takes | None:
        specs = setting.specs(name)
        if not specs:
            return None
        products = Products(module, x, y, specs, lambda: setting.rounded[name], last_input)

        def finish(found: NDArray[np.float64]) -> None:
            sums[name] = found + sums.get(name, 0.0)

        call = _Call(products, draws, finish)
        ran[name] += 1
        last[:] = [(name, call, module, x, y)]
        return Takes(call.at_output, call.at_input if products.wants_input else None)

    def at_logits(logits: Tensor, log_p: Tensor) -> None:
        for name, call, module, x, y in last:
            if ran[name] == 1 and _same(y, logits):
                call.forget()
                sums[name] = np.array(head_costs(module, x, y, log_p, setting.rounded[name]))
        last.clear()

    frames = backward(setting, waveform, seed, watch, at_logits)
    costs = {}
    for name in setting.rounded:
        specs = setting.specs(name)
        of_each = zip(specs, sums.get(name, np.zeros(len(specs))), strict=True)
        costs[name] = {spec.label: float(cost) for spec, cost in of_each}
    return ClipCosts(frames, costs)


class _Call:
    """One call of a layer. finish: told half its mean square product when all draws are there.

    What products hold is large: they aren't kept until the other layers are done.
    """

    def __init__(
        self, products: Products, draws: int, finish: Callable[[NDArray[np.float64]], None]
    ) -> None:
        self._products: Products | None = products
        self._draws, self._finish = draws, finish

    def forget(self) -> None:
        """Take no gradients."""
        self._products = None

    def at_output(self, gradient: Tensor) -> None:
        """Of one draw."""
        if self._products is not None:
            self._products.add(gradient)
            if not self._products.wants_input:
                self._finish_after_the_last(self._products)

    def at_input(self, gradient: Tensor) -> None:
        """Of the draw whose gradient at the output came last."""
        if self._products is not None:
            self._products.add_at_input(gradient)
            self._finish_after_the_last(self._products)

    def _finish_after_the_last(self, products: Products) -> None:
        if products.draws == self._draws:
            self._products = None
            self._finish(np.square(products.all()).sum(axis=0) / (2 * self._draws))


def _same(y: Tensor, logits: Tensor) -> bool:
    """Whether a layer's output is the model's, untouched."""
    return y.data_ptr() == logits.data_ptr() and y.numel() == logits.numel()
