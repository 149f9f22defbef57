"""Is what lies in the file what the plan says? Bit for bit, layer by layer."""

import torch
from torch import Tensor

from myqasr.exporters.target import Mismatch, StoredLayer
from myqasr.personalize.rounding.codes import ActivationRange, LayerCodes
from myqasr.speech.models.base import SpeechModel


def compare(
    stored: tuple[StoredLayer, ...],
    expected: dict[str, LayerCodes],
    order: tuple[str, ...],
    model: SpeechModel,
) -> list[Mismatch]:
    """Every difference between a file's layers and the plan's; empty when the file is right.

    stored: what `read` found. order: what `write` returned, so that each stored layer has a name.
    """
    modules = model.layers()
    found = dict(zip(order, stored, strict=False))
    problems = [Mismatch(name, "is not in the file") for name in sorted(set(expected) - set(found))]
    problems += [
        Mismatch(f"layer {index} of the file", f"is not in the plan ({layer.kernel})")
        for index, layer in enumerate(stored)
        if index >= len(order) or order[index] not in expected
    ]
    for name, layer in found.items():
        if name in expected:
            weight: Tensor = modules[name].weight  # type: ignore[assignment]
            reason = _difference(layer, expected[name], weight.detach())
            if reason is not None:
                problems.append(Mismatch(name, reason))
    return problems


def _difference(stored: StoredLayer, expected: LayerCodes, weight: Tensor) -> str | None:
    """What is wrong with one layer, in one line; None when nothing is."""
    if stored.codes.spec != expected.spec:
        return f"is stored as {stored.codes.spec.label}, the plan says {expected.spec.label}"
    if expected.spec.scheme == "float":
        planned = weight.half() if expected.spec.bits == 16 else weight
        return _tensors("weight", stored.weight, planned)
    return (
        _tensors("code", stored.codes.codes, expected.codes)
        or _tensors("scale", stored.codes.scales, expected.scales)
        or _ranges("input", stored.codes.input_range, expected.input_range)
        or _ranges("output", stored.codes.output_range, expected.output_range)
    )


def _tensors(what: str, stored: Tensor | None, planned: Tensor | None) -> str | None:
    if stored is None or planned is None:
        return f"has no {what}s {'in the file' if stored is None else 'in the plan'}"
    if planned.dim() == 4:  # XNNPACK's files don't tell height from width
        stored, planned = stored.flatten(2), planned.flatten(2)
    if stored.dim() == 2 and planned.dim() == 3:
        # A convolution that runs over windows: its taps lie one after the other in each row.
        taps, channels = planned.shape[2], planned.shape[1]
        if stored.shape == (planned.shape[0], taps * channels):
            stored = stored.unflatten(1, (taps, channels)).transpose(1, 2)
    if stored.shape != planned.shape or stored.dtype != planned.dtype:
        return (
            f"has {what}s of shape {tuple(stored.shape)} {stored.dtype}, the plan says "
            f"{tuple(planned.shape)} {planned.dtype}"
        )
    # Compared as bytes, so that -0.0 and NaN can't hide a difference.
    left, right = (tensor.flatten().view(torch.uint8) for tensor in (stored, planned))
    if torch.equal(left, right):
        return None
    different = (stored != planned).nonzero()
    if len(different) == 0:
        return f"has {what}s that differ in sign of zero or in NaN"
    first = tuple(int(index) for index in different[0])
    return (
        f"has {len(different):,} of {planned.numel():,} {what}s wrong, the first at {list(first)}: "
        f"{stored[first].item():.6g} in the file, {planned[first].item():.6g} in the plan"
    )


def _ranges(
    side: str, stored: ActivationRange | None, planned: ActivationRange | None
) -> str | None:
    if stored is None and planned is None:
        return None
    if stored is None or planned is None:
        return f"has no {side} range {'in the file' if stored is None else 'in the plan'}"
    # Files hold the scale as float32.
    scale = float(torch.tensor(planned.scale, dtype=torch.float32))
    if stored.scale == scale and stored.zero_point == planned.zero_point:
        return None
    return (
        f"has {side} scale {stored.scale:.6g} and zero point {stored.zero_point}, the plan says "
        f"{scale:.6g} and {planned.zero_point}"
    )
