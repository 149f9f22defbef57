"""What a run listens to: all of long recordings in pieces, counted as heard; nothing for a vain budget."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import myqasr
from myqasr.core.errors import AudioError, BudgetError
from myqasr.personalize import profiling
from myqasr.personalize.hearing import recordings_for, remarks
from myqasr.personalize.run_folder import SCHEMA_VERSION, RunSettings
from myqasr.personalize.unfinished import tune_clip
from myqasr.runtime_bench.measure.run_bench import held_out_recordings
from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.datasets import Selection, find_clips
from myqasr.speech.models import load_model
from myqasr.speech.models.base import PIECE_SECONDS
from myqasr.speech.recordings import overlap
from tests.material.model_folders import save_model
from tests.material.recordings import talk

EVERY = Selection()


@pytest.fixture
def long(tmp_path: Path) -> Path:
    (tmp_path / "long").mkdir()
    soundfile.write(tmp_path / "long" / "talk.wav", talk(110), SAMPLE_RATE)
    return tmp_path / "long"


def test_a_long_recording_is_heard_whole_in_pieces_that_the_model_takes(
    tiny_model: Path, long: Path
) -> None:
    pieces, _ = recordings_for(long, EVERY, 32, load_model(str(tiny_model)))
    assert max(piece.seconds for piece in pieces) <= PIECE_SECONDS
    heard = np.concatenate([piece.waveform for piece in pieces])
    np.testing.assert_allclose(heard, talk(110), atol=1e-4)
    few, _ = recordings_for(long, EVERY, 3, load_model(str(tiny_model)))
    assert len(few) == 3 and sum(piece.seconds for piece in few) < 46


def test_a_long_recording_is_written_down_piece_by_piece(tiny_model: Path) -> None:
    model = load_model(str(tiny_model))
    waveform = talk(40)
    pieces = model.pieces(waveform)
    assert len(pieces) > 2
    texts = [model.transcribe(piece) for piece in pieces]
    assert model.transcribe(waveform) == " ".join(text for text in texts if text)


def test_what_a_model_would_not_hear_is_refused(tmp_path: Path) -> None:
    save_model("whisper", tmp_path)
    model = load_model(str(tmp_path))
    assert model.max_samples is not None
    with pytest.raises(AudioError, match="at once, not"):
        model.features(talk(1 + model.max_samples / SAMPLE_RATE))
    assert len(model.pieces(talk(3 * model.max_samples / SAMPLE_RATE))) >= 3


@pytest.mark.parametrize("budget", ["1GB", "1KB", "1.01x", "lots"])
def test_a_budget_that_cannot_be_is_refused_before_anything_is_measured(
    tmp_path: Path, tiny_model: Path, long: Path, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(profiling, "profile_speaker", measured)
    with pytest.raises(BudgetError):
        myqasr.personalize_model(tiny_model, long, budget=budget, out=tmp_path / "out")
    with pytest.raises(AssertionError, match="measured"):
        myqasr.personalize_model(tiny_model, long, budget="0.5x", out=tmp_path / "out")


def settings(model: Path, source: Path, clips: int = 32) -> RunSettings:
    heard, _ = recordings_for(source, EVERY, clips, load_model(str(model)))
    return RunSettings(SCHEMA_VERSION, "tiny", "", "", 0, tuple(map(tune_clip, heard)))


def table(folder: Path, rows: list[str]) -> Path:
    (folder / "m.csv").write_text("\n".join(["path,start,duration,text", *rows]) + "\n")
    return folder / "m.csv"


def test_segments_of_a_file_that_was_tuned_on_are_left_out_of_the_test(
    tiny_model: Path, long: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "other.wav", talk(3, 9), SAMPLE_RATE)
    rows = ["long/talk.wav,3,2,a", "long/talk.wav,60,2,b", "other.wav,0,3,c"]
    test = find_clips(table(tmp_path, rows))
    heard = held_out_recordings(settings(tiny_model, long), test, None)
    assert ([each.clip.text for each in heard.recordings], heard.tuned) == (["c"], 2)


def test_a_file_of_which_segments_were_tuned_on_is_left_out_but_not_its_other_segments(
    tiny_model: Path, long: Path, tmp_path: Path
) -> None:
    rows = ["long/talk.wav,10,2,a", "long/talk.wav,14,2,b"]
    run = settings(tiny_model, table(tmp_path, rows))
    (long / "talk.txt").write_text("all of it")
    test = [*find_clips(table(tmp_path, ["long/talk.wav,20,2,c", "long/talk.wav,11,2,d"]))]
    heard = held_out_recordings(run, [*test, *find_clips(long)], None)
    assert ([each.clip.text for each in heard.recordings], heard.tuned) == (["c"], 2)


def test_a_copy_of_a_long_recording_is_known_though_only_pieces_were_heard(
    tiny_model: Path, long: Path, tmp_path: Path
) -> None:
    run = settings(tiny_model, long, 2)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "renamed.wav").write_bytes((long / "talk.wav").read_bytes())
    (copy / "renamed.txt").write_text("words")
    soundfile.write(copy / "new.wav", talk(3, 9), SAMPLE_RATE)
    (copy / "new.txt").write_text("words")
    heard = held_out_recordings(run, find_clips(copy), None)
    assert [each.clip.path.name for each in heard.recordings] == ["new.wav"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (None, (5, 1), True),
        ((0, 5), (5, 1), False),
        ((0, 5.1), (5, 1), True),
        ((6, 1), (5, 1), False),
    ],
)
def test_windows_that_touch_do_not_overlap(
    one: tuple[float, float] | None, other: tuple[float, float], expected: bool
) -> None:
    assert overlap(one, other) is overlap(other, one) is expected


def test_whose_channels_cancelled_out_is_said(tmp_path: Path, tiny_model: Path) -> None:
    both = np.stack([talk(3), -talk(3)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, SAMPLE_RATE)
    heard, _ = recordings_for(tmp_path, EVERY, 32, load_model(str(tiny_model)))
    assert "cancel each other out" in remarks(heard)[0]
