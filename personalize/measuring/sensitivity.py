"""Measuring one speaker: what is seen, the codes made of it, what each precision of each layer costs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from myqasr.core.errors import UserError
from myqasr.core.memory import give_back
from myqasr.personalize.measuring import brute_force, fisher, layer_figures
from myqasr.personalize.measuring.checks import checked
from myqasr.personalize.measuring.fitting import Clips, Codes, Progress, ScaleDtype, fitted
from myqasr.personalize.measuring.keeping import Keeping
from myqasr.personalize.measuring.method import (
    Method,
    Setting,
    mean_per_frame,
    standard_error,
)
from myqasr.personalize.planning.plan import (
    FLOAT32,
    IN_NATS,
    LayerProfile,
    LayerShape,
    Plan,
    Profile,
    QuantSpec,
)
from myqasr.personalize.planning.problem import Menu
from myqasr.personalize.rounding.codes import LayerCodes, Rounding
from myqasr.personalize.rounding.layers import SCALES
from myqasr.personalize.rounding.observe import (
    RowWeights,
    Waveforms,
    by_difference,
    equal_weights,
    remembering,
)
from myqasr.personalize.rounding.ranges import RANGES
from myqasr.speech.models.base import SpeechModel

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

    def costs_unheard(self, clips: int) -> bool:
        """Whether costs are of codes that never heard the clip that says them: there must be two."""
        return ROUNDINGS[self.rounding] is not None and clips > 1

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


class _Candidates(Mapping[str, Sequence[LayerCodes]]):
    """Codes of every layer at every precision of the menu but float32, looked up when they are asked for."""

    def __init__(
        self, layers: Sequence[LayerProfile], menu: Menu, rounding: Rounding, device: str
    ) -> None:
        self._layers = {layer.shape.name: layer for layer in layers}
        self._menu, self._rounding, self._device = menu, rounding, device

    def specs(self, name: str) -> list[QuantSpec]:
        """A layer's precisions, in the order of its codes."""
        menu = self._menu(self._layers[name].shape)
        return [spec for spec in sorted(menu, key=_storage_first) if spec != FLOAT32]

    def __getitem__(self, name: str) -> list[LayerCodes]:
        layer = self._layers[name]
        stored = Rounding({name: self._rounding.of(layer)})  # read once
        found = [stored.codes(layer, spec) for spec in self.specs(name)]
        return found if self._device == "cpu" else [codes.to(self._device) for codes in found]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _storage_first(spec: QuantSpec) -> tuple[str, int, int, str]:
    """Sort key that puts precisions with the same stored integers next to each other."""
    return spec.scheme, spec.bits, spec.group_size or 0, spec.activation


def measure(
    model: SpeechModel,
    waveforms: Waveforms,
    menu: Menu,
    scale_dtype: ScaleDtype,
    audio_hash: str,
    options: ProfileOptions = ProfileOptions(),
    progress: Progress = lambda stage, done, total: None,
    others: Waveforms = (),
    keeping: Keeping | None = None,
    earlier: Measurement | None = None,
) -> Measurement:
    """Profile a model on one speaker's clips (16 kHz mono float32 [samples] each).

    progress: told the stage, how many of its steps are done, of how many. others: other speakers' clips, from
    which codes are made too when there is less than a minute of speech. keeping: what an earlier, killed run
    has got, and where what is found now is kept. earlier: the same measured at other precisions; what it
    lacks is measured, and added to it.
    Memory is bounded by the longest clip, not by their number.
    Raises UserError when there are no clips or the model's outputs aren't finite.
    """
    if not waveforms:
        raise UserError("no clips to measure on")
    weights_hash = model.weights_hash()
    model.module.to(options.device)
    try:
        clips = _clips(model, waveforms, others, options, progress)
        keeping = Keeping() if keeping is None else keeping
        before = None if earlier is None else Codes(earlier.profile.layers, earlier.rounding)
        layers, rounding, costed = fitted(clips, menu, scale_dtype, keeping, before)
        layers, frames = _with_costs(clips, options, menu, layers, costed, keeping)
        tried = () if earlier is None else earlier.profile.checks
        if earlier is None and options.method in IN_NATS and clips.apart:
            tried = checked(clips, layers, costed)
    finally:
        model.module.to("cpu")
    profile = Profile(
        model=model.model_id,
        weights_hash=weights_hash,
        audio_hash=audio_hash,
        clips=len(waveforms),
        seconds=round(clips.seconds, 3),
        frames=frames,
        method=options.method,
        seed=options.seed,
        float_weight_bytes=model.float_bytes(),
        layers=layers,
        rounding=options.codes_by,
        unheard=clips.apart,
        checks=tried,
    )
    return Measurement(profile, rounding)


def measure_again(
    model: SpeechModel,
    waveforms: Waveforms,
    menu: Menu,
    measured: Measurement,
    options: ProfileOptions,
    progress: Progress = lambda stage, done, total: None,
) -> Measurement:
    """The same codes with costs by `options.method`. progress: as of `measure`."""
    model.module.to(options.device)
    bare = [replace(layer, costs={}, errors={}) for layer in measured.profile.layers]
    try:
        clips = _clips(model, waveforms, (), options, progress)
        codes = (Codes(bare, measured.rounding),)
        layers, _ = _with_costs(clips, options, menu, bare, codes, Keeping())
    finally:
        model.module.to("cpu")
    profile = replace(measured.profile, method=options.method, seed=options.seed, layers=layers)
    return Measurement(profile, measured.rounding)


def _clips(
    model: SpeechModel,
    waveforms: Waveforms,
    others: Waveforms,
    options: ProfileOptions,
    progress: Progress,
) -> Clips:
    return Clips(
        model, waveforms, others, progress, remembering(model, options.device), options.device,
        ROUNDINGS[options.rounding], SCALES[options.scales], options.ranges,
        options.costs_unheard(len(waveforms)),
    )  # fmt: skip


def _with_costs(
    clips: Clips,
    options: ProfileOptions,
    menu: Menu,
    layers: Sequence[LayerProfile],
    costed: Sequence[Codes],
    keeping: Keeping,
) -> tuple[tuple[LayerProfile, ...], int]:
    """The layers with such costs as they lack, and output frames. The model lies on the device.

    costed: the codes whose costs the clips say, by turns.
    """
    waveforms = clips.waveforms
    costs_of = {layer.shape.name: layer.costs for layer in layers}

    def lacking(shape: LayerShape) -> list[QuantSpec]:
        return [spec for spec in menu(shape) if spec.label not in costs_of[shape.name]]

    draws = max(1, math.ceil(options.label_draws / len(waveforms)))
    candidates = [
        _Candidates(codes.layers, lacking, codes.rounding, options.device) for codes in costed
    ]
    specs = {name: candidates[0].specs(name) for name in candidates[0]}
    settings = [
        Setting(clips.model, each, draws, options.device, clips.inputs, specs)
        for each in candidates
    ]
    for index, waveform in enumerate(waveforms):
        if index not in keeping.clips:
            seed = options.seed * 1_000_003 + index
            setting = settings[index % len(settings)]
            keeping.keep_clip(index, METHODS[options.method].clip_costs(setting, waveform, seed))
            give_back()
        clips.progress("measuring", index + 1, len(waveforms))
    found = keeping.clips.values()
    measured = []
    for layer in layers:
        name = layer.shape.name
        told = {
            spec.label: [(clip.costs[name][spec.label], clip.frames) for clip in found]
            for spec in specs[name]
        }
        costs = {label: mean_per_frame(clips) for label, clips in told.items()}
        several = told if len(found) > 1 else {}
        errors = {label: standard_error(clips) for label, clips in several.items()}
        measured.append(
            replace(layer, costs={**layer.costs, **costs}, errors={**layer.errors, **errors})
        )
    return tuple(measured), sum(clip.frames for clip in found)
