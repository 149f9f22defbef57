"""Many speakers to lean on while one has said little: their costs, and their clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.core.storage import load_record
from myqasr.personalize.planning.plan import Profile
from myqasr.personalize.run_folder import RunFolder
from myqasr.speech.datasets import Clip, evenly, find_clips, read_clips
from myqasr.speech.layouts import zipped
from myqasr.speech.models import DEFAULT_MODEL, DEFAULT_USERS
from myqasr.speech.models.base import SpeechModel

POPULATION = DEFAULT_MODEL / "population.json"
"""`Profile` of the embedded model on clips of all embedded users."""

MOST_CLIPS = 32


@dataclass(frozen=True, slots=True)
class Prior:
    """profile: measured on many speakers. clips: some of their recordings, perhaps none."""

    profile: Profile
    clips: tuple[Clip, ...]

    @property
    def name(self) -> str:
        """Short and its own, for what is made with it."""
        return f"{self.profile.audio_hash[:12]} x {len(self.clips)}"

    def on(self, model: SpeechModel) -> "Prior":
        """The same, said of a model that has since learned one person's speech."""
        return replace(self, profile=replace(self.profile, weights_hash=model.weights_hash()))

    def waveforms(self) -> list[NDArray[np.float32]]:
        """The clips' samples, 16 kHz [samples] each; those that are gone are left out."""
        there = [
            clip
            for clip in self.clips
            if clip.path.is_file() or zipped.archive_of(clip.path) is not None
        ]
        if not there:
            return []
        recordings, _ = read_clips(there)
        return [recording.waveform for recording in recordings]


def load_prior(source: Path | None, model: SpeechModel) -> Prior | None:
    """The speakers of a run folder or of a profile's file; if none is named, the embedded model's own.

    None when none is named and the model is another. Raises UserError when it can't be read or is of another
    model.
    """
    # Many speakers are measured on the published weights: one's own lie near them, and cost much the same.
    published = model.adapted_from or model.weights_hash()
    if source is None:
        profile = load_record(POPULATION, Profile)
        if profile.weights_hash != published:
            return None
        profile = replace(profile, weights_hash=model.weights_hash())
        users = sorted(path for path in DEFAULT_USERS.iterdir() if path.is_dir())
        return Prior(profile, spread([find_clips(user / "tune", texts=False) for user in users]))
    profile = RunFolder(source).load_profile() if source.is_dir() else load_record(source, Profile)
    if profile.weights_hash != published:
        raise UserError(
            f"{source} was measured on {profile.model} with weights {profile.weights_hash}, not on "
            f"{model.model_id} as it is; measure many speakers with `myqasr personalize` on this model"
        )
    profile = replace(profile, weights_hash=model.weights_hash())
    heard = RunFolder(source).load_settings().clips if source.is_dir() else ()
    return Prior(
        profile,
        spread([[Clip(Path(clip.path), window=clip.window, row=clip.row) for clip in heard]]),
    )


def spread(groups: Sequence[Sequence[Clip]]) -> tuple[Clip, ...]:
    """So many clips of each group that they are no more than MOST_CLIPS together, evenly chosen."""
    each = MOST_CLIPS // len(groups)
    return tuple(clip for group in groups for clip in evenly(group, each))
