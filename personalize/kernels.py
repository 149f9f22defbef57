"""What the on-device kernels compute for one layer, in plain torch.

The same functions measure sensitivity and build the reference model, so the error that was measured is
the error that ships. Dynamic int8 activations are quantised per token (per row) with an asymmetric grid
that contains zero; static ones with the stored grid.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from personalize.codes import ActivationRange, LayerCodes
from personalize.plan import LayerKind
from speech.errors import UserError


def quantize_per_token(x: Tensor) -> Tensor:
    """Fake-quantise [..., features]: one asymmetric int8 grid for every row of features."""
    return _quantize_dynamic(x, dims=[-1])


def quantize_static(x: Tensor, grid: ActivationRange) -> Tensor:
    """Fake-quantise with a stored int8 grid; values outside are clipped."""
    return torch.fake_quantize_per_tensor_affine(x, grid.scale, grid.zero_point, -128, 127)


def _quantize_dynamic(x: Tensor, dims: list[int]) -> Tensor:
    """One asymmetric grid over `dims`, anchored at whichever end of the range rounds zero better.

    The arithmetic of XNNPACK's run-time quantisation (`xnn_f32_qd8_asymmetric_quantization_params`).
    """
    low = x.amin(dim=dims, keepdim=True).clamp_max(0.0)
    high = x.amax(dim=dims, keepdim=True).clamp_min(0.0)
    span = high - low
    steps = torch.where(span > 0, 255.0 / span, torch.ones_like(span))  # codes per unit
    from_low, from_high = -128 - low * steps, 127 - high * steps
    anchored_low = (-128 + low * steps) + (127 + high * steps) > 0
    zero_point = torch.where(anchored_low, from_low, from_high).clamp_(-128, 127).round_()
    return (x * steps).round_().add_(zero_point).clamp_(-128, 127).sub_(zero_point).div_(steps)


def kind_of(module: nn.Module) -> LayerKind:
    """`linear` or `conv1d`; raises UserError for any other module."""
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.Conv1d):
        return "conv1d"
    raise UserError(f"{type(module).__name__} layers can't be quantised")


def kernel_input(module: nn.Module, x: Tensor, codes: LayerCodes) -> Tensor:
    """The input as the kernel of `codes.spec` sees it, shaped like `x`."""
    spec = codes.spec
    if spec.bits == 16 and spec.scheme == "float":
        return x.half().float()
    if spec.activation == "int8-dynamic":
        # A convolution has no tokens: its kernels take one grid for the whole input.
        return _quantize_dynamic(x, dims=[-1] if isinstance(module, nn.Linear) else [-2, -1])
    if spec.activation == "int8-static":
        if codes.input_range is None:
            raise UserError(f"{spec.label} needs stored activation ranges")
        return quantize_static(x, codes.input_range)
    return x


def layer_output(module: nn.Module, x: Tensor, codes: LayerCodes, weight: Tensor) -> Tensor:
    """Output of a Linear or Conv1d as the kernel of `codes.spec` computes it.

    x: linear [..., in_features], conv1d [batch, in_channels, samples].
    weight: `codes.dequantized(module.weight)`, passed in so that a caller may keep it.
    """
    spec = codes.spec
    seen = kernel_input(module, x, codes)
    if spec.activation == "int8-static":
        if codes.output_range is None:
            raise UserError(f"{spec.label} needs stored activation ranges")
        return quantize_static(
            _apply(module, seen, weight, _static_bias(module, codes)), codes.output_range
        )
    y = _apply(module, seen, weight, module.bias)  # type: ignore[arg-type]
    return y.half().float() if spec.bits == 16 and spec.scheme == "float" else y


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
    raise UserError(f"{type(module).__name__} layers can't be quantised")
