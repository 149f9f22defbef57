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
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from myqasr.personalize.measuring.method import ClipCosts, Setting, Takes, backward
from myqasr.personalize.measuring.products import LastInput, Products


def clip_costs(setting: Setting, waveform: NDArray[np.float32], seed: int) -> ClipCosts:
    """One clip's costs, summed over its frames. `seed` alone decides which labels are drawn."""
    draws = setting.draws
    sums: dict[str, NDArray[np.float64]] = {}
    last_input = LastInput()

    def watch(name: str, module: nn.Module, x: Tensor, y: Tensor) -> Takes | None:
        specs = setting.specs(name)
        if not specs:
            return None
        products = Products(module, x, y, specs, lambda: setting.rounded[name], last_input)
        of_call = [products]

        def finish_after_the_last() -> None:
            # What it holds is large: not kept until the others are done.
            if of_call[0].draws == draws:
                found = np.square(of_call.pop().all()).sum(axis=0) / (2 * draws)
                sums[name] = found + sums.get(name, 0.0)

        def at_output(gradient: Tensor) -> None:
            of_call[0].add(gradient)
            if not of_call[0].wants_input:
                finish_after_the_last()

        def at_input(gradient: Tensor) -> None:
            of_call[0].add_at_input(gradient)
            finish_after_the_last()

        return Takes(at_output, at_input if products.wants_input else None)

    frames = backward(setting, waveform, seed, watch)
    costs = {}
    for name in setting.rounded:
        specs = setting.specs(name)
        of_each = zip(specs, sums.get(name, np.zeros(len(specs))), strict=True)
        costs[name] = {spec.label: float(cost) for spec, cost in of_each}
    return ClipCosts(frames, costs)
