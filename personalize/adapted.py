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
    Start,
    adapt,
)
from myqasr.personalize.adapting.keeping import LabelsFile, LearningFile
from myqasr.personalize.adapting.labelling import check_teacher
from myqasr.personalize.adapting.losses import check_student
from myqasr.personalize.adapting.weights import (
    adapted,
    load_adapted,
    load_differences,
    save_differences,
)
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
    start: Start | None = None,
) -> tuple[SpeechModel, Adaptation]:
    """The model as it learned from these recordings, taken from the run or learned now.

    teacher: the model itself, or another. start: as of `adapt`. The model is the float one where the
    held-back clips say so. Raises as `adapt` does.
    """
    check_student(model)
    check_teacher(teacher)
    heard = audio_hash(recordings)
    models = _Models(
        model.weights_hash(), repr(model.tokens), teacher.weights_hash(), repr(teacher.tokens)
    )
    began = [] if start is None else [start.adapted_hash]
    key = record_hash([record_hash(models), heard, repr(options), *began])
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
    found, added = adapt(model, recordings, teacher, options, key, heard, keeping, progress, start)
    with together():
        if found.adapted_hash is not None:
            save_differences(added, found.float_hash, run.adapted)
        save_record(found, run.adaptation)
    _discard(run)
    if found.adapted_hash is None:
        return model, found
    return adapted(model, added, found.float_hash), found


def started_in(run: RunFolder, model: SpeechModel, start: Start) -> SpeechModel:
    """The model with the weights of an earlier run, which the run keeps as its own; nothing is learned."""
    with together():
        save_differences(start.added, model.weights_hash(), run.adapted)
        run.adaptation.unlink(missing_ok=True)
    return load_adapted(model, run.adapted)


def start_of(source: Path, model: SpeechModel) -> Start:
    """What another run's model learned, for this one to begin with.

    Raises UserError when the run learned nothing or from another model, BrokenFileError when what it learned
    is gone or damaged.
    """
    run = RunFolder(source)
    if not run.adaptation.is_file():
        raise UserError(
            f"{source} has no {run.adaptation.name}: to begin with what a run learned, make it with "
            "`myqasr adapt` or `myqasr personalize --teacher`"
        )
    found = load_record(run.adaptation, Adaptation)
    if found.adapted_hash is None:
        raise UserError(
            f"{source} learned nothing, its float weights stayed: leave --start out, or give that run more "
            "recordings"
        )
    added, of = load_differences(run.adapted)
    if model.weights_hash() != of:
        raise UserError(
            f"{source} learned from weights {of}, {model.model_id} has {model.weights_hash()}: name the same "
            "model as there (with the same ?window), or run `myqasr adapt` on this one"
        )
    return Start(run.name, added, found.adapted_hash)


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
    start: Start | None = None,
) -> tuple[SpeechModel, Adaptation]:
    """`adapted_in` with the choices that were measured (docs/adapting.md).

    teacher: as of `teacher_of`. start: as of `adapt`. language: that the recordings are in; a
    teacher that must be told one hears it itself where that isn't known.
    """
    instructor = model
    if teacher is not None:
        instructor = languages.told(teacher, language or model.language, recordings, say)
    asked = replace(options, seed=seed)
    return adapted_in(run, model, recordings, instructor, asked, say, progress, start)


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
