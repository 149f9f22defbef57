"""Codes made for a speaker's clips, and for halves of them, so that the other half can say what they cost.

Codes fit the clips that they are made for better than what the speaker says next, the more so the fewer rows
a layer sees: a decoder of tokens sees a hundred where an encoder sees thousands. Costs measured on the same
clips are therefore too small, and not by the same factor everywhere. Every clip says the costs of codes that
never heard it instead (cross-fitting, as in Chernozhukov et al., Econometrics Journal 2018).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from myqasr.personalize.measuring.keeping import Fitted, Keeping
from myqasr.personalize.planning.plan import LayerProfile, LayerShape, QuantSpec
from myqasr.personalize.planning.problem import Menu
from myqasr.personalize.planning.shrinkage import own_share
from myqasr.personalize.rounding.codes import Precisions, Rounding
from myqasr.personalize.rounding.kept import Joined
from myqasr.personalize.rounding.layers import ScaleSearch, round_model
from myqasr.personalize.rounding.observe import (
    Inputs,
    Listening,
    Observed,
    RowWeights,
    Waveforms,
    layer_shape,
    mix_moments,
    observe,
)
from myqasr.speech.models.base import SAMPLE_RATE, SpeechModel

ScaleDtype = Callable[[QuantSpec], str]
Progress = Callable[[str, int, int], None]
"""Told the stage, how many of its steps are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Clips:
    """A speaker's clips, and how codes are made for them.

    others: other speakers' clips. inputs: of the model's module. moments_by: how much rows count, None to
    round to nearest. search: for scales. ranges: a key of RANGES. apart: costs are of codes made for other
    clips.
    """

    model: SpeechModel
    waveforms: Waveforms
    others: Waveforms
    progress: Progress
    inputs: Inputs
    device: str
    moments_by: RowWeights | None
    search: ScaleSearch
    ranges: str
    apart: bool

    @property
    def seconds(self) -> float:
        """Of the speaker's own speech."""
        return _seconds(self.waveforms)


def _seconds(waveforms: Waveforms) -> float:
    return sum(len(waveform) for waveform in waveforms) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes, and the layers with the ranges that belong to them."""

    layers: Sequence[LayerProfile]
    rounding: Rounding


def fitted(
    clips: Clips,
    menu: Menu,
    scale_dtype: ScaleDtype,
    keeping: Keeping,
    earlier: Codes | None,
) -> tuple[Sequence[LayerProfile], Rounding, tuple[Codes, ...]]:
    """Layers as seen on the clips, with such costs as are known, and codes made for all clips.

    At last, what the clips' costs are measured on, by turns: codes made for the other half of the clips.
    earlier: what was made for other precisions; what it lacks is added.
    """
    known = {} if earlier is None else earlier.rounding.layers
    costs = {} if earlier is None else {x.shape.name: x.costs for x in earlier.layers}

    own = with_own_codes(clips.model, menu)

    def unrounded(shape: LayerShape) -> list[QuantSpec]:
        there = known.get(shape.name, {})
        return [s for s in own(shape) if s.stored.label not in there]

    def uncosted(shape: LayerShape) -> list[QuantSpec]:
        there = costs.get(shape.name, {})
        return [s for s in own(shape) if s.label not in there]

    def lacks(part: Fitted, wanted: Menu) -> bool:
        return part.layers is None or any(
            wanted(layer.shape) and layer.shape.name not in part.rounded for layer in part.layers
        )

    wanted: list[tuple[Fitted, Menu]] = [(keeping.whole, unrounded)]
    if clips.apart:
        wanted = [(part, uncosted) for part in keeping.halves] + wanted
    if any(lacks(part, of) for part, of in wanted):
        seen = _observed(clips, len(wanted))
        before: Mapping[str, Precisions] = {}
        for index, ((part, of), observed) in enumerate(zip(wanted, seen, strict=True)):
            if part.layers is None:
                part.keep_layers(
                    tuple(
                        LayerProfile(layer.shape, layer.share_group, {}, layer.statistics)
                        for layer in observed.values()
                    )
                )
            start, total = index * len(observed), len(wanted) * len(observed)

            def step(done: int, _: int, start: int = start, total: int = total) -> None:
                clips.progress("rounding", start + done, total)

            round_model(
                clips.model, observed, of, scale_dtype, clips.search,
                part.rounded, step, before,
            )  # fmt: skip
            before = part.rounded
    made = keeping.whole.rounded
    layers = keeping.whole.layers if earlier is None else earlier.layers
    rounding = Rounding(Joined(known, made) if known else made)
    halves = tuple(Codes(part.layers or (), Rounding(part.rounded)) for part in keeping.halves)
    return layers or (), rounding, halves[::-1] if clips.apart else (Codes(layers or (), rounding),)


def with_own_codes(model: SpeechModel, menu: Menu) -> Menu:
    """Precisions of the menu for which a layer gets codes: no floats, and none of a matrix that it shares."""
    modules = model.layers()

    def stored(name: str) -> set[QuantSpec]:
        return {spec.stored for spec in menu(layer_shape(name, modules[name]))}

    def own(shape: LayerShape) -> list[QuantSpec]:
        theirs = stored(shape.matrix_of) if shape.matrix_of else set()
        return [s for s in menu(shape) if s.scheme != "float" and s.stored not in theirs]

    return own


def _observed(clips: Clips, parts: int) -> Iterator[dict[str, Observed]]:
    """What the layers see on every other clip, on the others, and on all; or, of one part, on all.

    With others' clips where there are few of one's own. The moments are large: each is of use until the next
    is asked for.
    """
    model, moments_by, count = clips.model, clips.moments_by, len(clips.waveforms)
    every = 1 if parts == 1 else 2
    ears = [Listening(model, clips.device, moments_by, clips.inputs) for _ in range(every)]
    for index, waveform in enumerate(clips.waveforms):
        ears[index % every].hear(waveform)
        clips.progress("listening", index + 1, count)
    general, seconds = None, _seconds(clips.others)
    if moments_by is not None and clips.others and own_share(clips.seconds) < 1:
        general = observe(
            model, clips.others, clips.device, lambda: None, moments_by, inputs=clips.inputs
        )

    def known(ear: Listening, own: float) -> dict[str, Observed]:
        heard = ear.observed(clips.ranges)
        if general is None:
            return heard
        return mix_moments(heard, own, general, seconds, own_share(own))

    if every > 1:
        for place, ear in enumerate(ears):
            yield known(ear, _seconds(clips.waveforms[place::every]))
        ears[0].add(ears.pop())
    yield known(ears[0], clips.seconds)
