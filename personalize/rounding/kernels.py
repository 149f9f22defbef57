"""What the on-device kernels compute for one layer, in plain torch.

The same functions measure sensitivity and build the reference model, so the error that was measured is
the error that ships. Dynamic int8 activations are quantised per row with an asymmetric grid that contains
zero: a linear layer's rows are its tokens, a convolution's rows are the windows its output frames see.
Static ones are quantised with the stored grid, those of ggml's kernels in blocks of 32.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from myqasr.core.errors import UserError
from myqasr.personalize.planning.plan import LayerKind
from myqasr.personalize.rounding.blocks import quantize_blocks, quantize_superblocks
from myqasr.personalize.rounding.codes import ActivationRange, LayerCodes
from myqasr.speech.models.base import TokenEmbedding


def quantize_static(x: Tensor, grid: ActivationRange) -> Tensor:
    """Fake-quantise with a stored int8 grid; values outside are clipped."""
    return torch.fake_quantize_per_tensor_affine(x, grid.scale, grid.zero_point, -128, 127)


LEAST_SPAN = 2.0**-118
"""255 over it is far from float32's largest number."""


def quantize_per_row(x: Tensor) -> Tensor:
    """Fake-quantise [..., row]: one asymmetric int8 grid for every row.

    Anchored at whichever end of the range rounds zero better: the arithmetic of XNNPACK's run-time
    quantisation (`xnn_f32_qd8_asymmetric_quantization_params`).
    """
    low = x.amin(dim=-1, keepdim=True).clamp_max(0.0)
    high = x.amax(dim=-1, keepdim=True).clamp_min(0.0)
    # Codes per unit of spans below this are infinite in float32; such rows are zeros as far as it matters.
    span = (high - low).where(high - low >= LEAST_SPAN, 0.0)
    x = x.where(span > 0, 0.0)
    low, high = low.where(span > 0, 0.0), high.where(span > 0, 0.0)
    steps = torch.where(span > 0, 255.0 / span, torch.ones_like(span))  # codes per unit
    from_low, from_high = -128 - low * steps, 127 - high * steps
    anchored_low = (-128 + low * steps) + (127 + high * steps) > 0
    zero_point = torch.where(anchored_low, from_low, from_high).clamp_(-128, 127).round_()
    return (x * steps).round_().add_(zero_point).clamp_(-128, 127).sub_(zero_point).div_(steps)


def kind_of(module: nn.Module) -> LayerKind:
    """`linear`, `conv1d`, `conv2d` or `embedding`; raises UserError for any other module."""
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.Conv1d):
        return "conv1d"
    if isinstance(module, nn.Conv2d):
        return "conv2d"
    if isinstance(module, TokenEmbedding):
        return "embedding"
    raise UserError(f"{type(module).__name__} layers can't be quantised")


MOST_TAPS = 16


def has_rows(module: nn.Module) -> bool:
    """Whether a layer's input can be laid out as rows, in whole blocks of memory.

    Linear layers are rows already. A convolution is when it isn't grouped and either has several channels
    and at most 16 taps (each is copied out), or reads one channel in taps that are a multiple of its stride.
    """
    if not isinstance(module, nn.Conv1d):
        return isinstance(module, nn.Linear)
    taps, stride = module.kernel_size[0], module.stride[0]
    if module.groups != 1 or isinstance(module.padding, str):
        return False
    if module.in_channels > 1:
        return taps <= MOST_TAPS
    plain = module.padding[0] == 0 and module.dilation[0] == 1 and stride > 1
    return plain and taps % stride == 0 and taps // stride <= MOST_TAPS


def rows(module: nn.Module, x: Tensor, every: int = 1) -> Tensor:
    """The layer's input as rows [batch, frames, row], so that its output is rows @ weight.flatten(1).T.

    x: linear [..., in_features] (returned as it is), conv1d [batch, in_channels, samples].
    every: give only every so many frames.
    Raises UserError for a convolution that isn't one matrix product.
    """
    if isinstance(module, nn.Linear):
        return x if every == 1 else x[..., ::every, :]
    if not isinstance(module, nn.Conv1d) or not has_rows(module):
        raise UserError(f"{module} has no rows: it is grouped, or its windows are too long")
    windows = functional.unfold(
        x.unsqueeze(2),
        (1, module.kernel_size[0]),
        dilation=(1, module.dilation[0]),
        padding=(0, int(module.padding[0])),
        stride=(1, every * module.stride[0]),
    )  # [batch, in_channels * taps, frames]
    return windows.transpose(1, 2)


def kernel_input(x: Tensor, codes: LayerCodes) -> Tensor:
    """The input as the kernel of `codes.spec` sees it, shaped like `x`; dynamic grids want rows."""
    spec = codes.spec
    if spec.bits == 16 and spec.scheme == "float":
        return x.half().to(x.dtype)
    if spec.activation == "int8-dynamic":
        return quantize_per_row(x)
    if spec.activation == "int8-blocks":
        return quantize_superblocks(x) if spec.scheme == "qk" else quantize_blocks(x)
    if spec.activation == "int8-static":
        if codes.input_range is None:
            raise UserError(f"{spec.label} needs stored activation ranges")
        return quantize_static(x, codes.input_range)
    return x


def layer_output(module: nn.Module, x: Tensor, codes: LayerCodes, weight: Tensor) -> Tensor:
    """Output of a layer as the kernel of `codes.spec` computes it.

    x: linear [..., in_features], conv1d [batch, in_channels, samples], embedding ids.
    weight: `codes.dequantized(module.weight)`, passed in so that a caller may keep it.
    """
    spec = codes.spec
    if isinstance(module, TokenEmbedding):
        return functional.embedding(x, weight)
    if spec.activation == "int8-dynamic" and isinstance(module, nn.Conv1d):
        seen = kernel_input(rows(module, x), codes)
        return functional.linear(seen, weight.flatten(1), module.bias).transpose(1, 2)
    seen = kernel_input(x, codes)
    if spec.activation == "int8-static":
        if codes.output_range is None:
            raise UserError(f"{spec.label} needs stored activation ranges")
        y = _apply(module, seen, weight, _static_bias(module, codes))
        if spec.bits == 4:
            y = _rounded_before(y, module, codes, codes.output_range)
        return quantize_static(y, codes.output_range)
    y = _apply(module, seen, weight, module.bias)  # type: ignore[arg-type]
    return y.half().to(y.dtype) if spec.bits == 16 and spec.scheme == "float" else y


def _rounded_before(
    y: Tensor, module: nn.Module, codes: LayerCodes, grid: ActivationRange
) -> Tensor:
    """Results as TensorFlow Lite's own kernels, the only ones for 4 bits, leave them to the last rounding.

    They multiply sums by a factor of each channel, m * 2^-n with m from a half to 1, and round halves up
    twice: to 2^-n of a code, then to a code.
    """
    if codes.scales is None or codes.input_range is None:
        raise UserError(f"{codes.spec.label} needs scales and stored activation ranges")
    factors = codes.scales[:, 0].to(y.device).double() * (codes.input_range.scale / grid.scale)
    parts = torch.exp2(-torch.frexp(factors).exponent.double())
    if not isinstance(module, nn.Linear):
        parts = parts.reshape(-1, *[1] * (y.dim() - 2))
    once = (y.double() / grid.scale * parts + 0.5).floor() / parts
    return ((once + 0.5).floor() * grid.scale).to(y.dtype)


def _static_bias(module: nn.Module, codes: LayerCodes) -> Tensor | None:
    """Static kernels hold the bias as int32 in units of input scale times weight scale."""
    bias = module.bias
    if not isinstance(bias, Tensor) or codes.scales is None or codes.input_range is None:
        return None
    unit = codes.scales[:, 0].to(bias.device) * codes.input_range.scale
    return (bias / unit).round() * unit


def _apply(module: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(module, nn.Linear):
        return functional.linear(x, weight, bias)
    if isinstance(module, nn.Conv1d):
        return functional.conv1d(
            x,
            weight,
            bias,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
        )
    if isinstance(module, nn.Conv2d):
        return functional.conv2d(
            x, weight, bias, module.stride, module.padding, module.dilation, module.groups
        )
    raise UserError(f"{type(module).__name__} layers can't be quantised")
