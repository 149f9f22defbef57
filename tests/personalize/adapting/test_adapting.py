"""A model learns one person's speech from a teacher's text, is better at it, and otherwise stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from myqasr.core.errors import ModelError, UserError
from myqasr.core.storage import to_json
from myqasr.personalize.adapting.adapt import AdaptOptions, Keeping, adapt, split
from myqasr.personalize.adapting.augmenting import Augmentation, at_speed, augmented
from myqasr.personalize.adapting.deciding import change, choose, words_stay
from myqasr.personalize.adapting.describe import in_words
from myqasr.personalize.adapting.keeping import LearningFile
from myqasr.personalize.adapting.labelling import Doubts, Label, doubt, heard_by, word_difference
from myqasr.personalize.adapting.learning import Schedule, learn
from myqasr.personalize.adapting.losses import Lesson, fits, loss, trainable
from myqasr.personalize.adapting.spelling import spelled_by, writable
from myqasr.personalize.adapting.weights import adapted, copied, differences
from myqasr.speech.datasets import choose_clips, find_clips
from myqasr.speech.decoding import Autoregression, Tokens, best_tokens, collapse, ids_to_text
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.scoring import ErrorCounts
from tests.conftest import USERS
from tests.material.model_folders import save_model
from tests.material.tiny_models import TOKENS, noise, tiny_ctc

QUICK = Schedule(epochs=2, batch=2, rate=1e-4)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> SpeechModel:
    folder = tmp_path_factory.mktemp("whisper")
    save_model("whisper", folder)
    return load_model(f"{folder}?window=1")


@pytest.fixture(scope="module")
def teacher() -> SpeechModel:
    return load_model("default")


@pytest.fixture(scope="module")
def damaged(teacher) -> SpeechModel:
    """The embedded model after an accident: it writes a good part of the words wrong."""
    module = copied(teacher.module)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() == 2:
                spread = 0.8 * weight.std()
                weight.add_(spread * torch.randn(weight.shape, generator=draw))
    return replace(teacher, module=module)


@pytest.fixture(scope="module")
def recordings():
    return choose_clips(find_clips(USERS / "synth-ada" / "tune"), 10)[0]


def test_what_a_damaged_model_relearns_from_its_teacher_holds_on_clips_that_it_never_heard(
    teacher, damaged, recordings
):
    options = AdaptOptions(
        schedule=Schedule(epochs=1, batch=2, rate=1e-3), held_back=0.3, retrain=False
    )
    found, added = adapt(damaged, recordings, teacher, options)
    assert found.adapted_hash is not None
    assert found.choice.after < 0.9 * found.choice.before
    unseen = choose_clips(find_clips(USERS / "synth-ada" / "test"), 6)[0]
    texts = [recording.clip.text or "" for recording in unseen]

    def errors(model: SpeechModel) -> int:
        return word_difference(texts, [model.transcribe(r.waveform) for r in unseen]).errors

    assert errors(adapted(damaged, added, damaged.weights_hash())) < errors(damaged)
    assert "Adapted in" in in_words(found)[1]


def test_the_float_weights_stay_where_learning_does_not_help(teacher, recordings):
    wild = AdaptOptions(schedule=Schedule(epochs=1, rate=0.05), strengths=(1.0,))
    found, added = adapt(teacher, recordings[:6], teacher, wild)
    assert added == {}
    assert found.adapted_hash is None
    assert found.choice.strength == 0
    assert "the float weights stay" in in_words(found)[1]


def test_one_word_of_few_clips_does_not_undo_what_was_learned_and_a_worse_text_does():
    def counts(*errors: int) -> list[ErrorCounts]:
        return [ErrorCounts(each, 0, 0, 9) for each in errors]

    assert words_stay(counts(1, 0, 0), counts(1, 1, 0))
    assert words_stay(counts(3, 2, 1), counts(1, 1, 1))
    assert not words_stay(counts(1, 0, 1), counts(4, 3, 4))


def test_same_seed_same_weights_and_another_seed_other_ones(whisper):
    lessons = [Lesson(0.1 * noise(12_000, seed)[0].numpy(), (65, 66, 67)) for seed in range(4)]

    def learned(seed: int) -> str:
        result = learn(whisper, lessons[:3], lessons[3:], QUICK, seed)
        added = differences(result.weights, whisper, 1)
        return adapted(whisper, added, whisper.weights_hash()).weights_hash()

    assert learned(1) == learned(1) != learned(2)


def test_a_run_killed_after_an_epoch_goes_on_to_the_same_weights(whisper, tmp_path):
    lessons = [Lesson(0.1 * noise(12_000, seed)[0].numpy(), (65, 66)) for seed in range(4)]
    schedule = replace(QUICK, epochs=3, patience=9)
    whole = learn(whisper, lessons[:3], lessons[3:], schedule, 0)
    file = LearningFile(tmp_path / "a.safetensors", "key")

    def killed(learning) -> None:
        file.keep(learning)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(whisper, lessons[:3], lessons[3:], schedule, 0, keep=killed)
    assert LearningFile(tmp_path / "a.safetensors", "another key").load() is None
    begun = file.load()
    assert begun is not None
    assert begun.epochs == 1
    rest = learn(whisper, lessons[:3], lessons[3:], schedule, 0, begun)
    assert rest.history == whole.history
    assert all(torch.equal(rest.best[name], whole.best[name]) for name in whole.best)


def test_whispers_labels_are_the_tokens_that_it_would_have_written_itself(whisper):
    how = whisper.tokens.autoregression
    assert how is not None
    text, _, _ = heard_by(whisper, 0.1 * noise(15_000)[0].numpy())
    ids = spelled_by(text, whisper.tokens)
    assert ids is not None
    assert ids_to_text(list(ids), whisper.tokens) == text


def test_pairs_are_merged_in_the_order_of_their_ids_as_gpt2_does():
    symbols = ("Ġ", *"abcd", "bc", "ab", "Ġa", "cd")
    how = Autoregression((9, 9), 10, 20)
    tokens = Tokens((*symbols, "", ""), None, how, byte_level=True)
    ids = spelled_by("abcd", tokens)
    assert ids is not None
    # bc before ab and cd: what is left is Ġa, bc, d.
    assert [tokens.symbols[index] for index in ids] == ["Ġa", "bc", "d"]
    assert spelled_by("abe", tokens) is None


def test_a_ctc_student_gets_text_in_its_own_letters():
    letters = Tokens(("", " ", *"ABC'"), blank=0)
    assert writable("a-B, ‘c’!", letters) == "A B 'C'"
    assert spelled_by("a b", letters) == (2, 1, 3)
    assert spelled_by("abd", letters) is None
    assert spelled_by("a 1", letters) is None
    assert spelled_by("...", letters) is None
    pieces = Tokens(("", " a", "b", " ab", "<unk>"), blank=0)
    assert spelled_by("ab a", pieces) == (3, 1)


def test_doubtful_clips_are_left_out_with_the_reason(whisper):
    said = Label("a", "and so it is", -0.1, "and so it is", "and so", looping=False)
    student = tiny_ctc()

    def why(**changed: object) -> str | None:
        return doubt(replace(said, **changed), student, Doubts())  # type: ignore[arg-type]

    assert why() is None
    assert why(text="") == "no speech"
    assert why(looping=True) == "looping"
    assert why(confidence=-2.0) == "unsure"
    assert why(other="and how is this") == "disagreement"
    assert why(text="it is 4", other="it is 4") == "can't be written"
    long = "and so on " * 30
    assert doubt(replace(said, text=long, other=long), whisper, Doubts()) == "too long"


def test_a_clip_with_more_text_than_frames_is_not_learned_from():
    model = tiny_ctc()
    waveform = noise(650 + 3 * 640)[0].numpy()
    assert fits(Lesson(waveform, (2, 3, 2, 3)), model)
    assert not fits(Lesson(waveform, (2, 2, 3, 4)), model)
    assert np.isfinite(loss(model, Lesson(waveform, (2, 3, 2, 3)))[0].item())


def test_too_few_clips_name_what_was_wrong_with_the_others(teacher, recordings):
    doubts = Doubts(least=0.0)
    with pytest.raises(UserError, match=r"only 0 of 6 clips.*6 unsure.*--teacher"):
        adapt(teacher, recordings[:6], teacher, AdaptOptions(doubts))


def test_a_classifier_neither_teaches_nor_learns(teacher, recordings, tmp_path):
    save_model("m5", tmp_path)
    classifier = load_model(str(tmp_path))
    with pytest.raises(ModelError, match=r"writes no text.*classification"):
        adapt(teacher, recordings, classifier, AdaptOptions())
    with pytest.raises(ModelError, match=r"can't learn.*Whisper.*CTC"):
        adapt(classifier, recordings, teacher, AdaptOptions())


def test_tables_that_two_layers_share_and_the_spectrogram_do_not_change(whisper):
    learning = trainable(whisper.module)
    assert "encoder.layers.0.fc1.weight" in learning
    assert "decoder.layer_norm.bias" in learning
    assert not [name for name in learning if "embed" in name or "features" in name]
    assert "proj_out.weight" not in learning


def test_held_back_clips_are_others_and_the_same_whatever_the_order():
    pairs = [(index, None) for index in range(10)]
    learned, unseen = split(pairs, 0.2, 3)  # type: ignore[arg-type]
    assert len(unseen) == 2
    assert sorted(learned + unseen) == pairs  # type: ignore[type-var]
    assert split(pairs, 0.2, 3)[1] == unseen  # type: ignore[arg-type]


def test_augmented_speech_is_as_long_as_its_speed_says_and_fits_the_window():
    waveform = 0.1 * noise(16_000)[0].numpy()
    assert abs(len(at_speed(waveform, 0.8)) - 20_000) <= 1
    still = Augmentation(0, 0, 0, 0.2, 0, 0.05)
    np.testing.assert_array_equal(
        augmented(waveform, still, np.random.default_rng(0), None), waveform
    )
    for seed in range(8):
        changed = augmented(waveform, Augmentation(), np.random.default_rng(seed), 16_000)
        assert len(changed) <= 16_000
        assert changed.dtype == np.float32
        assert 0 < np.square(changed).sum() < 5 * np.square(waveform).sum()


def test_a_gain_within_noise_is_not_taken_for_one():
    before = np.array([[10.0, 10], [10, 10], [10, 10], [10, 10]])
    assert change(before, before - [[1, 0]]).high < 0
    mixed = before + np.array([[3, 0], [-4, 0], [2, 0], [-2, 0]])
    assert change(before, mixed).high > 0


def test_the_strength_with_the_least_held_back_loss_is_chosen(whisper):
    lessons = [Lesson(0.1 * noise(12_000, seed)[0].numpy(), (65, 66)) for seed in range(3)]
    learned = learn(whisper, lessons, lessons, replace(QUICK, rate=1e-3), 0)
    found = choose(whisper, learned.best, lessons)
    assert found.strength == 1.0
    assert found.is_better
    away = {
        name: 9 * (weight - 8 / 9 * learned.best[name]) for name, weight in learned.best.items()
    }
    assert choose(whisper, away, lessons, (0.25, 1.0)).strength in (0.25, 1.0)


def test_confidence_is_that_of_the_tokens_written(teacher, recordings):
    logits = teacher.logits(recordings[0].waveform).astype(np.float64)
    text, confidence, looping = heard_by(teacher, recordings[0].waveform)
    best = logits.argmax(1)
    posterior = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert text == ids_to_text(collapse(best, 0), teacher.tokens)
    assert confidence == pytest.approx(posterior.max(1)[best != 0].mean(), rel=1e-4)
    assert not looping


def test_keeping_nothing_is_the_default_and_records_are_json(teacher, recordings):
    found, _ = adapt(
        teacher, recordings[:6], teacher, AdaptOptions(schedule=replace(QUICK, epochs=1)),
        keeping=Keeping(),
    )  # fmt: skip
    assert "took_seconds" in to_json(found)
    assert TOKENS.task == "transcription"
    assert best_tokens(np.eye(3), Autoregression((0, 1), 2, 5)) == [0, 1, 2]
