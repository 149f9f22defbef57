"""Models other than letter recognisers, by the commands a user types: keywords and word pieces."""

import json

import numpy as np
import pytest
import soundfile

from tests.conftest import invoke
from tests.material.model_folders import save_model

WORDS = ("yes", "no", "up")


@pytest.fixture
def keywords(tmp_path):
    """A small tree as Speech Commands unpacks: one folder a word, speaker and take in the name."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "commands"
    for word in WORDS:
        (folder / word).mkdir(parents=True)
        for take in range(4):
            noise = rng.normal(0, 0.1, 16_000)
            soundfile.write(folder / word / f"0a1b2c3d_nohash_{take}.wav", noise, 16_000)
    return folder


def test_a_keyword_spotter_is_scored_by_accuracy_and_not_by_word_errors(keywords, tmp_path):
    save_model("m5", tmp_path)
    out = tmp_path / "spotter"
    tune = sorted((keywords / "yes").iterdir())[:2]
    done = invoke("personalize", tmp_path, *tune, "--budget", "0.7x", "--out", out)
    assert done.exit_code == 0, done.output
    assert invoke("export", out, "--max-seconds", 2).exit_code == 0
    done = invoke("bench", out, "--data", keywords, "--runs", 5, "--seconds", 0)
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.stdout
    assert "WER" not in done.stdout
    done = invoke("bench", out, "--data", keywords, "--runs", 5, "--seconds", 0, "--json")
    report = json.loads(done.stdout)
    assert report["task"] == "classification"
    assert len(report["utterances"]) == len(WORDS) * 4 - len(tune)
    for system in report["systems"]:
        assert set(system["transcripts"]) <= set(WORDS)


@pytest.mark.parametrize("case", ["parakeet", "bert, clipped distances"])
def test_a_model_with_its_own_features_is_personalised_and_transcribes(case, tmp_path, tune_clips):
    save_model(case, tmp_path)
    out = tmp_path / "alice"
    clips = sorted(tune_clips.iterdir())
    done = invoke("personalize", tmp_path, *clips[:2], "--budget", "0.85x", "--out", out)
    assert done.exit_code == 0, done.output
    done = invoke("export", out, "--max-seconds", 6)
    assert done.exit_code == 0, done.output
    exported = out / "exports" / "alice.pte"
    done = invoke("inspect", exported, "--json")
    stored = {row["layer"]: row["precision"] for row in json.loads(done.stdout)}
    assert stored["features.transform"] == stored["features.mel"] == "fp32"
    assert set(stored.values()) > {"fp32"}
    done = invoke("transcribe", exported, clips[2])
    assert done.exit_code == 0, done.output
    assert clips[2].name in done.stdout
