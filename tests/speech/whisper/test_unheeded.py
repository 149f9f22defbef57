"""Settings that greedy decoding doesn't follow are said by every command that decodes, once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from myqasr.core.storage import save_record
from myqasr.exporters.manifest import MANIFEST_NAME, load_manifest
from myqasr.speech.decoding import notices
from myqasr.speech.models import load_model
from myqasr.speech.models.whisper.unheeded import unheeded
from tests.conftest import invoke
from tests.material.model_folders import save_model

ASKED = {"num_beams": 5, "length_penalty": 0.8, "repetition_penalty": 1.3, "do_sample": True}


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


def test_what_a_folder_asks_for_is_found_where_it_lies(tmp_path: Path) -> None:
    save_model("whisper", tmp_path)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **ASKED}))
    assert notices(load_model(str(tmp_path)).tokens) == [
        "decoding is greedy: without repetition_penalty 1.3, num_beams 5, length_penalty 0.8, "
        "do_sample True, which the model's files ask for"
    ]


def test_every_command_that_decodes_says_once_what_it_does_not_follow(
    tiny_model: Path, run_copy: Path, tune_clips: Path, test_clips: Path, tmp_path: Path
) -> None:
    folder, exports = tmp_path / "model", run_copy / "exports"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert notices(load_model(str(folder)).tokens) == []
    (folder / "language_model").mkdir()
    tokens = load_model(str(folder)).tokens
    save_record(replace(load_manifest(exports), tokens=tokens), exports / MANIFEST_NAME)
    clip = next(iter(sorted(Path(test_clips).rglob("*.ogg"))))
    fast = ("--limit", 1, "--runs", 1, "--seconds", 0)
    personalize = ("personalize", folder, tune_clips, "--clips", 1, "--budget", "0.5x")
    for command in (
        (*personalize, "--out", tmp_path / "out", "--sensitivity", "frobenius"),
        ("bench", run_copy, "--data", test_clips, *fast),
        ("transcribe", exports / "alice.pte", clip),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
        assert " ".join(done.output.split()).count("without the n-grams of language_model/") == 1
