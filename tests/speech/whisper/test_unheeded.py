"""Settings that greedy decoding doesn't follow are said by every command that decodes, once."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from myqasr.speech.decoding import notices
from myqasr.speech.models import load_model
from myqasr.speech.models.whisper.unheeded import unheeded
from tests.conftest import invoke
from tests.material.model_folders import save_model

ASKED = {"num_beams": 5, "length_penalty": 0.8, "repetition_penalty": 1.3, "do_sample": True}
LINE = (
    "decoding is greedy: without repetition_penalty 1.3, num_beams 5, length_penalty 0.8, do_sample True, "
    "which the model's files ask for"
)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, ()),
        ({"num_beams": 1, "repetition_penalty": 1.0, "do_sample": False, "min_length": 0}, ()),
        ({"length_penalty": 0.8, "temperature": 0.7, "top_k": 50}, ()),
        ({"num_beams": 4, "early_stopping": True}, ("num_beams 4", "early_stopping True")),
        ({"do_sample": True, "temperature": 0.7}, ("do_sample True", "temperature 0.7")),
        ({"no_repeat_ngram_size": 3, "min_new_tokens": 2},
         ("no_repeat_ngram_size 3", "min_new_tokens 2")),
        ({"bad_words_ids": [[5], [6, 7]]}, ("bad_words_ids [[5], [6, 7]]",)),
    ],
)  # fmt: skip
def test_what_changes_the_text_is_named_and_what_does_not_is_left_alone(
    asked: dict[str, Any], said: tuple[str, ...]
) -> None:
    assert unheeded(GenerationConfig(**asked)) == said


def test_every_command_that_decodes_says_once_what_it_does_not_follow(
    tune_clips: Path, test_clips: Path, tmp_path: Path
) -> None:
    folder, run = tmp_path / "model", tmp_path / "out"
    save_model("whisper", folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **ASKED}))
    fast = ("--limit", 1, "--runs", 1, "--seconds", 0)
    personalize = ("personalize", folder, tune_clips, "--clips", 2, "--budget", "1.2MB")
    clip = next(iter(sorted(Path(test_clips).rglob("*.ogg"))))
    for command in (
        (*personalize, "--out", run, "--sensitivity", "frobenius"),
        ("export", run),
        ("bench", run, "--data", test_clips, *fast),
        ("transcribe", run / "exports" / "out.pte", clip),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
        said = " ".join(done.output.split()).count(LINE)
        assert said == (command[0] != "export"), done.output


def test_a_language_model_that_is_not_used_is_said(tiny_model: Path, tmp_path: Path) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert notices(load_model(str(tmp_path)).tokens) == []
    (tmp_path / "language_model").mkdir()
    (line,) = notices(load_model(str(tmp_path)).tokens)
    assert "without the n-grams of language_model/" in line
