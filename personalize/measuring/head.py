"""What each precision of the head costs, outright: its output is the model's, so nothing need be drawn.

With p the float posteriors of a frame and d the change of its logits, the divergence of the rounded head's
posteriors from them is

    KL = log E[exp(d - m)],   m = E[d],   expectations over p,

the cumulant generating function of d; to second order half its variance. Differences are taken before
anything is added up, so that float16's billionths of a nat aren't lost.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import layer_output

CHUNK_FRAMES = 64
"""At a time: with fifty thousand tokens a second of float64 would be much of all memory."""


def head_costs(
    module: nn.Module, x: Tensor, logits: Tensor, log_p: Tensor, candidates: Sequence[LayerCodes]
) -> list[float]:
    """Divergence of every precision's posteriors from the float model's, nats, summed over frames.

    module: the layer that gives the logits. x: its input, [..., row]. logits: its output in float, [...,
    vocab]. log_p: the model's log-posteriors [frames, vocab], minus infinity for what may not be written.
    """
    weight: Tensor = module.weight.detach()  # type: ignore[operator]
    found = []
    for codes in candidates:
        rounded = layer_output(module, x, codes, codes.dequantized(weight))
        found.append(_divergence(log_p, rounded.reshape(log_p.shape), logits.reshape(log_p.shape)))
    return found


def _divergence(log_p: Tensor, rounded: Tensor, logits: Tensor) -> float:
    total = 0.0
    chunks = (each.split(CHUNK_FRAMES) for each in (log_p, rounded, logits))
    for log_chances, ours, theirs in zip(*chunks, strict=True):
        p = log_chances.double().exp_()
        change = ours.double().sub_(theirs)
        change -= (p * change).sum(dim=-1, keepdim=True)
        total += float((p * change.expm1_()).sum(dim=-1).log1p_().sum())
    return total
