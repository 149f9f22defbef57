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

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from personalize.codes import LayerCodes, Rounding
from personalize.kernels import has_rows, kernel_input, layer_output, rows
from personalize.observe import Observed, Waveforms, hooks, mix_moments, observe
from personalize.plan import FLOAT32, LayerProfile, LayerShape, Profile, QuantSpec
from personalize.prior import ENOUGH_SECONDS
from personalize.rounding import round_model
from speech.errors import UserError
from speech.models.base import SAMPLE_RATE, SpeechModel

Menu = Callable[[LayerShape], Sequence[QuantSpec]]
ScaleDtype = Callable[[QuantSpec], str]


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """device: torch device name. seed: of the labels.

    label_draws: label sequences drawn over all clips, at least one a clip, one backward pass each.
    rounding: `gptq`, or `nearest`.
    """

    device: str = "cpu"
    seed: int = 0
    label_draws: int = 64
    rounding: str = "gptq"

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise UserError(f"unknown rounding {self.rounding!r}; use {' or '.join(ROUNDINGS)}")


ROUNDINGS = ("gptq", "nearest")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one speaker's recordings say: costs, and the codes whose costs they are."""

    profile: Profile
    rounding: Rounding


@dataclass(frozen=True, slots=True)
class ClipCosts:
    """One clip's share: output frames, and layer -> precision label -> nats summed over them."""

    frames: int
    costs: dict[str, dict[str, float]]


def pick_device(name: str) -> str:
    """`cpu` or `cuda`; `auto` takes CUDA where there is one. Raises UserError when it isn't there."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {name!r}; use auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("no CUDA device here; use --device cpu")
    return "cuda" if available and name != "cpu" else "cpu"


def _candidates(
    observed: dict[str, Observed], menu: Menu, rounding: Rounding
) -> dict[str, list[LayerCodes]]:
    """Codes of every layer at every precision of the menu but float32."""
    return {
        name: [
            rounding.codes(LayerProfile(layer.shape, layer.share_group, {}, layer.statistics), spec)
            for spec in sorted(menu(layer.shape), key=_storage_first)
            if spec != FLOAT32
        ]
        for name, layer in observed.items()
    }


def _storage_first(spec: QuantSpec) -> tuple[str, int, int, str]:
    """Sort key that puts precisions with the same stored integers next to each other."""
    return spec.scheme, spec.bits, spec.group_size or 0, spec.activation


def _clip_costs(
    model: SpeechModel,
    waveform: NDArray[np.float32],
    rounded: dict[str, list[LayerCodes]],
    seed: int,
    draws: int,
    device: str,
) -> ClipCosts:
    """One clip's costs, summed over its frames. `seed` alone decides which labels are drawn."""
    sums = {name: np.zeros(len(codes)) for name, codes in rounded.items()}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x, y = inputs[0].detach(), output.detach()
            if not output.requires_grad:  # a layer that reads positions, not the audio
                output.requires_grad_()
            output.register_hook(lambda gradient: add(name, module, x, y, gradient))

        return hook

    def add(name: str, module: nn.Module, x: Tensor, y: Tensor, gradient: Tensor) -> None:
        if name not in rounded:
            return
        direct = [not has_rows(module) or c.input_range is not None for c in rounded[name]]
        changes = np.zeros(len(direct))
        for way, is_direct in ((_direct_changes, True), (_row_changes, False)):
            places = [place for place, each in enumerate(direct) if each == is_direct]
            if places:
                changes[places] = way(module, x, y, gradient, [rounded[name][i] for i in places])
        sums[name] += np.square(changes) / (2 * draws)

    features, *written = model.inputs(waveform, device)
    with hooks(model, watch), torch.enable_grad():
        logits = model.module(features.requires_grad_(), *written)[0].float()
        log_posterior = _allowed(model, logits).log_softmax(dim=-1)  # [frames, vocab]
        drawn = torch.multinomial(
            log_posterior.detach().exp().cpu(),
            draws,
            replacement=True,
            generator=torch.Generator().manual_seed(seed),
        ).to(device)  # [frames, draws]
        for draw in range(draws):
            likelihood = log_posterior.gather(1, drawn[:, draw : draw + 1]).sum()
            likelihood.backward(retain_graph=draw + 1 < draws)
    return ClipCosts(
        frames=int(log_posterior.shape[0]),
        costs={
            name: {c.spec.label: float(total) for c, total in zip(codes, sums[name], strict=True)}
            for name, codes in rounded.items()
        },
    )


def _allowed(model: SpeechModel, logits: Tensor) -> Tensor:
    """Logits [tokens, vocab] without the tokens that greedy decoding may not write at their place."""
    how = model.tokens.autoregression
    if how is None:
        return logits
    forbidden = torch.from_numpy(how.forbidden(*logits.shape)).to(logits.device)
    return logits.masked_fill(forbidden, -torch.inf)


def _direct_changes(
    module: nn.Module, x: Tensor, y: Tensor, gradient: Tensor, candidates: list[LayerCodes]
) -> NDArray[np.float64]:
    """g . dy of each candidate, by computing its output. y, gradient: shaped like the output."""
    changes = []
    for codes in candidates:
        weight = codes.dequantized(module.weight)  # type: ignore[arg-type]
        error = layer_output(module, x, codes, weight).sub_(y)
        changes.append(float(error.mul_(gradient).sum(dtype=torch.float64)))
    return np.array(changes)


def _row_changes(
    module: nn.Module, x: Tensor, y: Tensor, gradient: Tensor, candidates: list[LayerCodes]
) -> NDArray[np.float64]:
    """g . dy of each candidate of a layer with rows at the price of a product per kind of input.

    With X' the input as the kernel sees it and W' the stored weight,
    g . (X'W'^T - XW^T) = <g^T (X' - X), W> + <g^T X', W' - W>: the sum over time is taken first, so
    that every further precision is only a dot product over the weights.
    """
    if isinstance(module, nn.Conv1d):
        gradient = gradient.transpose(1, 2)  # [batch, frames, out]
    inputs = rows(module, x)
    x2, g2 = inputs.flatten(0, -2), gradient.flatten(0, -2)  # [positions, row], [positions, out]
    weight = module.weight.flatten(1)  # type: ignore[operator]
    plain = g2.T @ x2  # [out, row]
    by_input: dict[tuple[str, bool], tuple[Tensor, float]] = {}
    differences: dict[tuple[int, str, int], Tensor] = {}
    changes = []
    for codes in candidates:
        spec = codes.spec
        key = (spec.activation, spec.scheme == "float")
        if key == ("float", False):  # the kernel sees the input as it is
            by_input[key] = (plain, 0.0)
        elif key not in by_input:
            change = g2.T @ (kernel_input(inputs, codes).flatten(0, -2) - x2)
            by_input[key] = (plain + change, _dot(change, weight))
        outer, input_change = by_input[key]
        stored = (id(codes.codes), spec.scheme, spec.bits)
        if stored not in differences:
            # Candidates with the same integers follow each other.
            differences = {stored: codes.dequantized(weight) - weight}
        changes.append(input_change + _dot(outer, differences[stored]))
    return np.array(changes)


def _dot(a: Tensor, b: Tensor) -> float:
    """Sum of products; float32 within a row, float64 across rows."""
    return float((a * b).sum(dim=1).sum(dtype=torch.float64))


def _mean(clips: Mapping[int, ClipCosts], layer: str, label: str) -> float:
    """Nats per frame over all clips."""
    total = math.fsum(clips[index].costs[layer][label] for index in sorted(clips))
    return total / sum(clip.frames for clip in clips.values())


def _standard_error(clips: Mapping[int, ClipCosts], layer: str, label: str) -> float:
    """Of the mean per frame, were these clips drawn from all that the speaker says (ratio estimator)."""
    mean, count = _mean(clips, layer, label), len(clips)
    residuals = [clip.costs[layer][label] - mean * clip.frames for clip in clips.values()]
    frames = sum(clip.frames for clip in clips.values())
    return math.sqrt(math.fsum(r * r for r in residuals) * count / (count - 1)) / frames


def measure(
    model: SpeechModel,
    waveforms: Waveforms,
    menu: Menu,
    scale_dtype: ScaleDtype,
    audio_hash: str,
    options: ProfileOptions = ProfileOptions(),
    progress: Callable[[], None] = lambda: None,
    known: Mapping[int, ClipCosts] = MappingProxyType({}),
    on_clip: Callable[[int, ClipCosts], None] = lambda index, costs: None,
    others: Waveforms = (),
) -> Measurement:
    """Profile a model on one speaker's clips (16 kHz mono float32 [samples] each).

    progress: called twice per clip. known: clips by index that an earlier, killed run has measured;
    on_clip: called with every clip measured now, so that a caller may keep it.
    others: other speakers' clips, from which codes are made too when there is less than a minute of speech.
    Memory is bounded by the longest clip, not by their number.
    Raises UserError when there are no clips or the model's outputs aren't finite.
    """
    if not waveforms:
        raise UserError("no clips to measure on")
    weights_hash = model.weights_hash()
    clips = dict(known)
    draws = max(1, math.ceil(options.label_draws / len(waveforms)))
    model.module.to(options.device)
    try:
        made_up = options.rounding == "gptq"
        observed = observe(model, waveforms, options.device, progress, made_up)
        own = sum(len(waveform) for waveform in waveforms) / SAMPLE_RATE
        if made_up and others and own < ENOUGH_SECONDS:
            share = own / ENOUGH_SECONDS
            mix_moments(model, observed, own, others, share, options.device)
        rounding = round_model(model, observed, menu, scale_dtype)
        observed = {name: replace(layer, moments=None) for name, layer in observed.items()}
        rounded = _candidates(observed, menu, rounding)
        for index, waveform in enumerate(waveforms):
            if index not in clips:
                seed = options.seed * 1_000_003 + index
                clips[index] = _clip_costs(model, waveform, rounded, seed, draws, options.device)
                on_clip(index, clips[index])
            progress()
    finally:
        model.module.to("cpu")
    frames = sum(clip.frames for clip in clips.values())
    profile = Profile(
        model=model.model_id,
        weights_hash=weights_hash,
        audio_hash=audio_hash,
        clips=len(waveforms),
        seconds=round(sum(len(waveform) for waveform in waveforms) / SAMPLE_RATE, 3),
        frames=frames,
        method="fisher",
        seed=options.seed,
        float_weight_bytes=sum(p.numel() * 4 for p in model.module.parameters()),
        layers=tuple(
            LayerProfile(
                layer.shape,
                layer.share_group,
                {codes.spec.label: _mean(clips, name, codes.spec.label) for codes in rounded[name]},
                layer.statistics,
                {
                    codes.spec.label: _standard_error(clips, name, codes.spec.label)
                    for codes in rounded[name]
                    if len(clips) > 1
                },
            )
            for name, layer in observed.items()
        ),
        rounding=options.rounding,
    )
    return Measurement(profile, rounding.to("cpu"))
