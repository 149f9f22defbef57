"""Measuring in a run folder: what is there is taken, what was begun goes on, what is lacking is measured."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.core.placing import together
from myqasr.core.storage import Sparing, load_record, save_record, sha256_of_text
from myqasr.personalize.measuring.fitting import Progress
from myqasr.personalize.measuring.keeping import Fitted, Keeping
from myqasr.personalize.measuring.method import ClipCosts
from myqasr.personalize.measuring.sensitivity import (
    Measurement,
    ProfileOptions,
    measure,
)
from myqasr.personalize.planning.plan import LayerProfile, QuantSpec
from myqasr.personalize.planning.target import TargetGroup
from myqasr.personalize.prior import Prior
from myqasr.personalize.rounding.codes import Rounding, save_rounding
from myqasr.personalize.rounding.kept import KeptLayers
from myqasr.personalize.rounding.layers import stored_scale
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.personalize.run_folder import (
    SCHEMA_VERSION,
    PartialLayers,
    PartialProfile,
    RunFolder,
    RunSettings,
    TuneClip,
    rounding_key,
)
from myqasr.speech.datasets import Recording, audio_hash
from myqasr.speech.models.base import SpeechModel

PARTS = ("whole", "first", "second")
"""What codes are made for: all clips, and every other one from the first and from the second on."""

Record = TypeVar("Record", PartialLayers, PartialProfile)
Wanted = dict[str, list[QuantSpec]]
"""Layer -> precisions."""


def measured_in(
    run: RunFolder,
    model: SpeechModel,
    model_source: str,
    recordings: Sequence[Recording],
    targets: TargetGroup,
    options: ProfileOptions,
    progress: Progress,
    others: Prior | None,
    say: Callable[[str], None],
) -> Measurement:
    """What the recordings say, with codes from others' clips too if there are any; kept in the run."""
    heard = audio_hash(recordings)
    weights = model.weights_hash()
    rounding = options.codes_by if others is None else f"{options.codes_by}, {others.name}"
    settings = RunSettings(
        SCHEMA_VERSION,
        model_source,
        weights,
        heard,
        options.seed,
        tuple(tune_clip(recording) for recording in recordings),
        float_hash=model.adapted_from,
    )
    wanted: Wanted = {
        name: list(targets.menu(layer_shape(name, module)))
        for name, module in model.layers().items()
    }
    unheard = options.costs_unheard(len(recordings))
    previous = _previous(run, (options.method, weights, heard, options.seed, rounding, unheard))
    earlier = None if previous is None else _usable(previous, targets, wanted)
    if previous is not None and earlier is not None:
        _want_what_was_there(wanted, previous, earlier)
        count = _lacking(wanted, earlier)
        if count == 0:
            save_record(settings, run.settings)
            discard_unfinished(run)  # a kill may have come between the last file and this
            return previous
        say(
            f"{run.path} was measured for other targets: measuring {count} more pairs of layer and "
            f"precision for {targets.name}; what is there stays"
        )
    labels = {name: [spec.label for spec in specs] for name, specs in wanted.items()}
    there = {} if earlier is None else {x.shape.name: [*x.costs] for x in earlier.profile.layers}
    scales = {spec: targets.scale_dtype(spec) for specs in wanted.values() for spec in specs}
    codes = f"{weights} {heard} {options.seed} {rounding} {labels} {there} {scales}"
    keeping = Unfinished(run, codes, f"{codes} {options.method} {options.label_draws}")
    if keeping.begun:
        say(f"going on where it was stopped: {keeping.begun}")
    measured = measure(
        model, [recording.waveform for recording in recordings],
        lambda shape: tuple(wanted[shape.name]), targets.scale_dtype, heard, options, progress,
        () if others is None else _pieces(model, others), keeping, earlier,
    )  # fmt: skip
    profile = replace(measured.profile, rounding=rounding)
    with together():
        save_rounding(measured.rounding, rounding_key(profile), run.rounding)
        save_record(profile, run.profile)
        save_record(settings, run.settings)
    discard_unfinished(run)
    return Measurement(profile, run.load_rounding(profile))


def _pieces(model: SpeechModel, others: Prior) -> list[NDArray[np.float32]]:
    """Other speakers' clips, as long as the model takes them."""
    return [piece for waveform in others.waveforms() for piece in model.pieces(waveform)]


def tune_clip(recording: Recording) -> TuneClip:
    """What a run keeps of a recording."""
    clip = recording.clip
    # What is read again is as long as it was, whatever the table left open.
    window = None if clip.window is None else (clip.window[0], recording.seconds)
    return TuneClip(
        str(clip.path), audio_hash([recording]), round(recording.seconds, 3), window, clip.row,
        recording.cut_from,
    )  # fmt: skip


def _previous(run: RunFolder, made_of: tuple[str, str, str, int, str, bool]) -> Measurement | None:
    """What is there already; None when it is missing or made of anything else."""
    if not run.profile.is_file():
        return None
    try:
        profile = run.load_profile()
        found = (
            profile.method, profile.weights_hash, profile.audio_hash, profile.seed, profile.rounding,
            profile.unheard,
        )  # fmt: skip
        return Measurement(profile, run.load_rounding(profile)) if found == made_of else None
    except UserError:
        return None  # of an older version, or damaged: measured again


def _usable(previous: Measurement, targets: TargetGroup, wanted: Wanted) -> Measurement:
    """Without codes whose scales these targets can't store, as far as they are wanted, and their costs."""
    layers, codes = [], {}
    for layer in previous.profile.layers:
        name = layer.shape.name
        there = previous.rounding.layers.get(name, {})
        stale = set()
        for spec in {spec.stored for spec in wanted[name] if spec.scheme == "int"}:
            if spec.label in there:
                scales = there[spec.label][1]
                if not torch.equal(stored_scale(scales, targets.scale_dtype(spec)), scales):
                    stale.add(spec.label)
        codes[name] = {label: pair for label, pair in there.items() if label not in stale}
        layers.append(_without(layer, stale))
    return Measurement(replace(previous.profile, layers=tuple(layers)), Rounding(codes))


def _without(layer: LayerProfile, stored: set[str]) -> LayerProfile:
    def left(figures: dict[str, float]) -> dict[str, float]:
        return {
            label: figure
            for label, figure in figures.items()
            if QuantSpec.from_label(label).stored.label not in stored
        }

    return replace(layer, costs=left(layer.costs), errors=left(layer.errors))


def _want_what_was_there(wanted: Wanted, previous: Measurement, earlier: Measurement) -> None:
    """Add what other targets need and would lose: its codes are made again."""
    for before, now in zip(previous.profile.layers, earlier.profile.layers, strict=True):
        lost = [QuantSpec.from_label(label) for label in before.costs if label not in now.costs]
        specs = wanted[before.shape.name]
        specs.extend(spec for spec in lost if spec not in specs)


def _lacking(wanted: Wanted, earlier: Measurement) -> int:
    """How many precisions of layers have no cost yet."""
    return sum(
        spec.label not in {*layer.costs, "fp32"}
        for layer in earlier.profile.layers
        for spec in wanted[layer.shape.name]
    )


class _KeptFit(Fitted):
    """Layers and codes in files of the run's folder. key: all that decides them, in words."""

    def __init__(self, layers: Path, rounding: Path, key: str) -> None:
        super().__init__()
        self._path, self._key = layers, sha256_of_text(key)
        self.rounded = KeptLayers(rounding, self._key)
        held = _partial(layers, PartialLayers)
        if held is not None and held.key == self._key:
            self.layers = held.layers

    def keep_layers(self, layers: tuple[LayerProfile, ...]) -> None:
        """All clips were heard."""
        super().keep_layers(layers)
        save_record(PartialLayers(self._key, layers), self._path)


class Unfinished(Keeping):
    """What was got so far, in the run's folder, where the same command finds it after a kill.

    codes: all that decides layers and codes, in words; costs: all that decides costs.
    """

    def __init__(self, run: RunFolder, codes: str, costs: str) -> None:
        super().__init__()
        self._run = run
        self._costs = sha256_of_text(costs)
        self._sparing = Sparing()
        self._parts = tuple(
            _KeptFit(run.partial_layers(part), run.partial_rounding / part, f"{codes} {part}")
            for part in PARTS
        )
        self.whole, *halves = self._parts
        self.halves = halves[0], halves[1]
        clips = _partial(run.partial_profile, PartialProfile)
        if clips is not None and clips.key == self._costs:
            self.clips = dict(clips.clips)

    @property
    def begun(self) -> str:
        """What an earlier run has got, in words; empty when nothing."""
        rounded, measured = sum(len(part.rounded) for part in self._parts), len(self.clips)
        return f"{rounded} layers rounded, {measured} clips measured" if rounded + measured else ""

    def keep_clip(self, index: int, costs: ClipCosts) -> None:
        """One more clip was measured; written down unless that would take much of the time."""
        super().keep_clip(index, costs)
        self._sparing.save(PartialProfile(self._costs, self.clips), self._run.partial_profile)


def discard_unfinished(run: RunFolder) -> None:
    """Measuring is finished: all is in the run's own files."""
    run.partial_profile.unlink(missing_ok=True)
    for part in PARTS:
        run.partial_layers(part).unlink(missing_ok=True)
    shutil.rmtree(run.partial_rounding, ignore_errors=True)


def _partial(path: Path, kind: type[Record]) -> Record | None:
    """None when there is none, or it can't be read."""
    try:
        return load_record(path, kind) if path.is_file() else None
    except UserError:
        return None
