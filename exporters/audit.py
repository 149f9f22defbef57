"""Is what lies in the file what the plan says? Bit for bit, layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.reading import reading
from myqasr.exporters.manifest import MANIFEST_NAME, load_artifact
from myqasr.exporters.target import Mismatch, StoredLayer, load_target, target_for_file
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


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """One weight-bearing layer found in a file. weights: how many; payload_bytes: with scales, packed."""

    layer: str
    kernel: str
    precision: str
    weights: int
    payload_bytes: int


def found_layers(path: Path, say: Callable[[str], None]) -> list[FoundLayer]:
    """Every layer of a file, from its own bytes, named by the manifest beside it; see `api.inspect`."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    names: list[str] = []
    if (path.parent / MANIFEST_NAME).is_file():
        _, artifact = load_artifact(path)
        names, target = list(artifact.layers), load_target(artifact.target)
    else:
        say("no manifest.json beside the file: layers are numbered in program order")
        target = target_for_file(path)
    with reading(path, "can't be read", "run `myqasr export` again"):
        stored = target.read(path)
    if not names:
        names = [f"#{index}" for index in range(len(stored))]
    if len(names) != len(stored):
        raise BrokenFileError(
            f"{path} holds {len(stored)} layers, its manifest.json names {len(names)}; run `myqasr export` "
            "again"
        )
    found = []
    for name, layer in zip(names, stored, strict=True):
        held = layer.codes.codes if layer.codes.codes is not None else layer.weight
        weights = 0 if held is None else held.numel()
        label = layer.codes.spec.label
        found.append(FoundLayer(name, layer.kernel, label, weights, layer.payload_bytes))
    return found
