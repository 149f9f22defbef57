"""Measuring one speaker: what is seen, the codes made of it, what each precision of each layer costs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from myqasr.core.errors import UserError
from myqasr.personalize.measuring import brute_force, fisher, layer_figures
from myqasr.personalize.measuring.method import ClipCosts, Method, Setting
from myqasr.personalize.planning.plan import FLOAT32, LayerProfile, Plan, Profile, QuantSpec
from myqasr.personalize.planning.problem import Menu
from myqasr.personalize.planning.shrinkage import own_share
from myqasr.personalize.rounding.codes import LayerCodes, Rounding
from myqasr.personalize.rounding.layers import SCALES, round_model
from myqasr.personalize.rounding.observe import (
    Inputs,
    RowWeights,
    Waveforms,
    by_difference,
    equal_weights,
    mix_moments,
    observe,
    remembering,
)
from myqasr.personalize.rounding.ranges import RANGES
from myqasr.speech.models.base import SAMPLE_RATE, SpeechModel

ScaleDtype = Callable[[QuantSpec], str]

METHODS: dict[str, Method] = {
    "fisher": Method(fisher.clip_costs),
    "kl": Method(brute_force.clip_costs),
    **layer_figures.METHODS,
}
"""Name -> how costs are measured: `fisher` and `kl` in nats per frame, the others in units of their own."""

ROUNDINGS: dict[str, RowWeights | None] = {
    "gptq": equal_weights,
    "gptq-differences": by_difference,
    "nearest": None,
}
"""Name -> how much each row of a layer's input counts when its codes are made; None: it isn't asked."""


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """device: torch device name. seed: of the labels. method: a key of METHODS.

    label_draws: label sequences drawn over all clips, at least one a clip, one backward pass each.
    rounding: a key of ROUNDINGS. scales: of SCALES. ranges: of RANGES.
    """

    device: str = "cpu"
    seed: int = 0
    label_draws: int = 64
    rounding: str = "gptq"
    method: str = "fisher"
    scales: str = "mse"
    ranges: str = "percentile"

    def __post_init__(self) -> None:
        for what, name, known in (
            ("rounding", self.rounding, ROUNDINGS),
            ("sensitivity", self.method, METHODS),
            ("scales", self.scales, SCALES),
            ("ranges", self.ranges, RANGES),
        ):
            if name not in known:
                raise UserError(f"unknown {what} {name!r}; known: {', '.join(known)}")

        if SCALES[self.scales].by_inputs and ROUNDINGS[self.rounding] is None:
            raise UserError(
                f"{self.scales} scales need what layers see, which {self.rounding} rounding doesn't ask for; "
                "use --rounding gptq, or --scales mse-fine"
            )

    @property
    def codes_by(self) -> str:
        """All that codes depend on beside the clips, in words; the usual isn't mentioned."""
        scales = "" if self.scales == "mse" else f", {self.scales} scales"
        ranges = "" if self.ranges == "percentile" else f", {self.ranges} ranges"
        return f"{self.rounding}{scales}{ranges}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one speaker's recordings say: costs, and the codes whose costs they are."""

    profile: Profile
    rounding: Rounding


def round_plan(measured: Measurement, plan: Plan) -> dict[str, LayerCodes]:
    """Codes of every layer of a plan."""
    return {
        layer.shape.name: measured.rounding.codes(layer, plan.layers[layer.shape.name])
        for layer in measured.profile.layers
    }


def pick_device(name: str) -> str:
    """`cpu` or `cuda`; `auto` takes CUDA where there is one. Raises UserError when it isn't there."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {name!r}; use auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("no CUDA device here; use --device cpu")
    return "cuda" if available and name != "cpu" else "cpu"


def _candidates(
    layers: Sequence[LayerProfile], menu: Menu, rounding: Rounding
) -> dict[str, list[LayerCodes]]:
    """Codes of every layer at every precision of the menu but float32."""
    return {
        layer.shape.name: [
            rounding.codes(layer, spec)
            for spec in sorted(menu(layer.shape), key=_storage_first)
            if spec != FLOAT32
        ]
        for layer in layers
    }


def _storage_first(spec: QuantSpec) -> tuple[str, int, int, str]:
    """Sort key that puts precisions with the same stored integers next to each other."""
    return spec.scheme, spec.bits, spec.group_size or 0, spec.activation


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
    model.module.to(options.device)
    try:
        moments_by = ROUNDINGS[options.rounding]
        inputs = remembering(model, options.device)
        observed = observe(
            model, waveforms, options.device, progress, moments_by, options.ranges, inputs
        )
        own = sum(len(waveform) for waveform in waveforms) / SAMPLE_RATE
        if moments_by is not None and others and own_share(own) < 1:
            mix_moments(model, observed, own, others, own_share(own), options.device, moments_by)
        rounding = round_model(model, observed, menu, scale_dtype, SCALES[options.scales])
        layers = tuple(
            LayerProfile(layer.shape, layer.share_group, {}, layer.statistics)
            for layer in observed.values()
        )
        del observed  # its moments are large
        layers, frames = _with_costs(
            model, waveforms, menu, layers, rounding, options, progress, known, on_clip, inputs
        )
    finally:
        model.module.to("cpu")
    profile = Profile(
        model=model.model_id,
        weights_hash=weights_hash,
        audio_hash=audio_hash,
        clips=len(waveforms),
        seconds=round(own, 3),
        frames=frames,
        method=options.method,
        seed=options.seed,
        float_weight_bytes=sum(p.numel() * 4 for p in model.module.parameters()),
        layers=layers,
        rounding=options.codes_by,
    )
    return Measurement(profile, rounding.to("cpu"))


def measure_again(
    model: SpeechModel,
    waveforms: Waveforms,
    menu: Menu,
    measured: Measurement,
    options: ProfileOptions,
    progress: Callable[[], None] = lambda: None,
) -> Measurement:
    """The same codes with costs by `options.method`. progress: called once per clip."""
    model.module.to(options.device)
    try:
        layers, _ = _with_costs(
            model, waveforms, menu, measured.profile.layers,
            measured.rounding.to(options.device), options, progress,
        )  # fmt: skip
    finally:
        model.module.to("cpu")
    profile = replace(measured.profile, method=options.method, seed=options.seed, layers=layers)
    return Measurement(profile, measured.rounding)


def _with_costs(
    model: SpeechModel,
    waveforms: Waveforms,
    menu: Menu,
    layers: Sequence[LayerProfile],
    rounding: Rounding,
    options: ProfileOptions,
    progress: Callable[[], None],
    known: Mapping[int, ClipCosts] = MappingProxyType({}),
    on_clip: Callable[[int, ClipCosts], None] = lambda index, costs: None,
    inputs: Inputs | None = None,
) -> tuple[tuple[LayerProfile, ...], int]:
    """The layers with costs, and output frames. The model and the codes lie on the device."""
    draws = max(1, math.ceil(options.label_draws / len(waveforms)))
    rounded = _candidates(layers, menu, rounding)
    setting = Setting(model, rounded, draws, options.device, inputs)
    clips = dict(known)
    for index, waveform in enumerate(waveforms):
        if index not in clips:
            seed = options.seed * 1_000_003 + index
            clips[index] = METHODS[options.method].clip_costs(setting, waveform, seed)
            on_clip(index, clips[index])
        progress()
    measured = []
    for layer in layers:
        name = layer.shape.name
        labels = [codes.spec.label for codes in rounded[name]]
        costs = {label: _mean(clips, name, label) for label in labels}
        several = labels if len(clips) > 1 else []
        errors = {label: _standard_error(clips, name, label) for label in several}
        measured.append(replace(layer, costs=costs, errors=errors))
    return tuple(measured), sum(clip.frames for clip in clips.values())
