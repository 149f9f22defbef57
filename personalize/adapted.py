"""A run's model, as it was adapted to one person; and adapting it, where a killed run goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.core.placing import together
from myqasr.core.storage import load_record, record_hash, save_record
from myqasr.personalize.adapting.adapt import (
    SELF,
    Adaptation,
    AdaptOptions,
    Keeping,
    Progress,
    adapt,
)
from myqasr.personalize.adapting.keeping import LabelsFile, LearningFile
from myqasr.personalize.adapting.labelling import check_teacher
from myqasr.personalize.adapting.losses import check_student
from myqasr.personalize.adapting.weights import adapted, load_adapted, save_differences
from myqasr.personalize.run_folder import RunFolder
from myqasr.speech.datasets import Recording, audio_hash
from myqasr.speech.models import languages, load_model
from myqasr.speech.models.base import SpeechModel

PARTS = ("trial", "whole")
MEASURED_BEST = AdaptOptions()


def run_model(run: RunFolder) -> SpeechModel:
    """The model that a run measured, with what it learned of its person: the one place that loads it.

    Raises UserError when this isn't a run, ModelError when the model can't be loaded or isn't the one that
    was adapted, BrokenFileError when what it learned is gone.
    """
    settings = run.load_settings()
    model = load_model(settings.model)
    return model if settings.float_hash is None else load_adapted(model, run.adapted)


def adaptation_of(run: RunFolder) -> Adaptation | None:
    """What adapting did to the model of the run as it is; None when the run was made without a teacher."""
    settings = run.load_settings()
    found = _kept(run)
    if found is None or found.audio_hash != settings.audio_hash:
        return None
    now = (
        settings.float_hash or settings.weights_hash,
        settings.float_hash and settings.weights_hash,
    )
    return found if now == (found.float_hash, found.adapted_hash) else None


def adapted_in(
    run: RunFolder,
    model: SpeechModel,
    recordings: Sequence[Recording],
    teacher: SpeechModel,
    options: AdaptOptions,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[SpeechModel, Adaptation]:
    """The model as it learned from these recordings, taken from the run or learned now.

    teacher: the model itself, or another. The model is the float one where the held-back clips say so.
    Raises as `adapt` does.
    """
    check_student(model)
    check_teacher(teacher)
    heard = audio_hash(recordings)
    models = _Models(
        model.weights_hash(), repr(model.tokens), teacher.weights_hash(), repr(teacher.tokens)
    )
    key = record_hash([record_hash(models), heard, repr(options)])
    found = _kept(run)
    if found is not None and found.key == key:
        _discard(run)  # a kill may have come between the last file and this
        return _made(run, model, found), found
    trial, whole = (LearningFile(run.partial_learning(part), f"{key} {part}") for part in PARTS)
    labels = LabelsFile(run.labels, record_hash([record_hash(models), repr(options.doubts)]))
    begun = trial.load()
    if begun is not None:
        say(f"going on where it was stopped: {begun.epochs} epochs learned")
    elif labels.labels:
        say(f"{len(labels.labels)} clips are labelled already")
    keeping = Keeping(labels, trial, whole)
    found, added = adapt(model, recordings, teacher, options, key, heard, keeping, progress)
    with together():
        if found.adapted_hash is not None:
            save_differences(added, found.float_hash, run.adapted)
        save_record(found, run.adaptation)
    _discard(run)
    if found.adapted_hash is None:
        return model, found
    return adapted(model, added, found.float_hash), found


def teacher_of(teacher: str | Path | SpeechModel, model: SpeechModel) -> SpeechModel | None:
    """The recogniser that is named; None for `self`, and where it is the model that is to learn.

    Raises ModelError when it writes no text or can't be loaded, or the model can't learn from text;
    NotInstalledError naming the extra when its weights aren't there.
    """
    check_student(model)
    if isinstance(teacher, str | Path):
        if str(teacher) == SELF:
            return None
        teacher = load_model(str(teacher))
    check_teacher(teacher)
    return None if teacher.weights_hash() == model.weights_hash() else teacher


def taught_in(
    run: RunFolder,
    model: SpeechModel,
    recordings: Sequence[Recording],
    teacher: SpeechModel | None,
    language: str | None,
    seed: int,
    say: Callable[[str], None],
    progress: Progress,
    options: AdaptOptions = MEASURED_BEST,
) -> tuple[SpeechModel, Adaptation]:
    """`adapted_in` with the choices that were measured (docs/adapting.md).

    teacher: as of `teacher_of`. language: that the recordings are in; a teacher that must be told one hears
    it itself where that isn't known.
    """
    instructor = model
    if teacher is not None:
        instructor = languages.told(teacher, language or model.language, recordings, say)
    asked = replace(options, seed=seed)
    return adapted_in(run, model, recordings, instructor, asked, say, progress)


@dataclass(frozen=True, slots=True)
class _Models:
    """All of two models that decides what they write."""

    student: str
    writes: str
    teacher: str
    teaches: str


def _made(run: RunFolder, model: SpeechModel, found: Adaptation) -> SpeechModel:
    return model if found.adapted_hash is None else load_adapted(model, run.adapted)


def _kept(run: RunFolder) -> Adaptation | None:
    """None when there is none, it is of another version, or what it speaks of is gone."""
    try:
        found = load_record(run.adaptation, Adaptation)
    except UserError:
        return None
    return found if found.adapted_hash is None or run.adapted.is_file() else None


def _discard(run: RunFolder) -> None:
    for part in PARTS:
        run.partial_learning(part).unlink(missing_ok=True)
