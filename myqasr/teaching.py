"""What `myqasr adapt` does, to call from Python: weights that learned from many people's recordings."""

from collections.abc import Sequence
from pathlib import Path

from myqasr.core.placing import check_place
from myqasr.core.reading import outside_errors
from myqasr.personalize import adapted as adapting
from myqasr.personalize.adapting.adapt import Adaptation
from myqasr.personalize.hearing import EVERY_CLIP, NOBODY, Listener, PathLike, recordings_for, tell
from myqasr.personalize.run_folder import RunFolder
from myqasr.speech import models
from myqasr.speech.datasets import Recording, Selection
from myqasr.speech.models import languages
from myqasr.speech.models.base import SpeechModel


@outside_errors()
def adapt_model(
    model: PathLike | SpeechModel,
    audio: PathLike | Sequence[PathLike] | Sequence[Recording],
    *,
    teacher: PathLike | SpeechModel,
    out: PathLike,
    clips: int = 256,
    selection: Selection = EVERY_CLIP,
    seed: int = 0,
    start: PathLike | None = None,
    listener: Listener = NOBODY,
) -> Adaptation:
    """What `personalize_model` does with a teacher before it measures, and no more; kept in `out`.

    For many people's recordings, once: `start=out` then begins each person's learning with these weights.
    Arguments are those of `personalize_model`. Raises as it does, but for budgets, devices and rules.
    """
    folder = RunFolder(Path(out))
    check_place(folder.adapted)
    loaded = models.as_loaded(model, selection.language)
    instructor = adapting.teacher_of(teacher, loaded)
    begun = None if start is None else adapting.start_of(Path(start), loaded)
    recordings, skipped = recordings_for(
        audio, languages.asked_of_data(selection, audio, loaded), clips, loaded
    )
    tell(listener, recordings, skipped)
    loaded = languages.told(loaded, selection.language, recordings, listener.say)
    with folder.lock("`myqasr adapt`"):
        _, found = adapting.taught_in(
            folder, loaded, recordings, instructor, selection.language, seed, listener.say,
            listener.progress, start=begun,
        )  # fmt: skip
    return found
