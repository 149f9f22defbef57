"""The golden file that the phone app is checked with is what Python and the default model say today."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import trim_mean

from myqasr.runtime_bench.results.protocol import summarize
from myqasr.speech.audio import load_audio
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model
from myqasr.speech.scoring import character_errors, normalize_text, utterance_word_errors
from tools.golden.golden_clips import USERS
from tools.golden.golden_vectors import (
    counts,
    golden_tokens,
    load_golden,
    total_wer,
    unpacked_logits,
    word_confidences,
)


@pytest.fixture(scope="module")
def golden() -> Any:
    return load_golden()


def test_stored_logits_give_the_stored_text_confidences_and_errors(golden: Any) -> None:
    tokens = golden_tokens(golden)
    assert len(golden["clips"]) >= 50
    for entry in golden["clips"]:
        logits = unpacked_logits(entry["logits"], len(tokens.symbols))
        text = greedy_text(logits, tokens)
        words = word_confidences(logits, tokens)
        reference = entry["reference"]
        assert text == entry["text"]
        assert " ".join(word for word, _ in words) == text
        assert [value for _, value in words] == pytest.approx(entry["confidences"], abs=1e-5)
        assert counts(utterance_word_errors([reference], [text])[0]) == entry["words"]
        assert counts(character_errors([reference], [text])) == entry["characters"]
    assert golden["wer"] == pytest.approx(total_wer(golden), abs=1e-12)


def test_difficult_texts_have_the_stored_normal_form_and_errors(golden: Any) -> None:
    for pair in golden["scoring"]:
        reference, hypothesis = pair["reference"], pair["hypothesis"]
        assert [normalize_text(reference), normalize_text(hypothesis)] == pair["normal"]
        assert counts(utterance_word_errors([reference], [hypothesis])[0]) == pair["words"]
        assert counts(character_errors([reference], [hypothesis])) == pair["characters"]


def test_quantiles_trimmed_means_and_latency_are_as_stored(golden: Any) -> None:
    for entry in golden["statistics"]:
        values = entry["values"]
        assert list(np.quantile(values, entry["shares"])) == pytest.approx(entry["quantiles"])
        assert trim_mean(values, 0.2) == pytest.approx(entry["trimmed_mean"])
    timed = golden["latency"]
    found = summarize(timed["turns"], timed["seconds"], timed["audio_seconds"])
    for name, value in timed["expected"].items():
        assert getattr(found, name) == pytest.approx(value), name


def test_the_default_model_still_gives_the_stored_logits(golden: Any) -> None:
    model = load_model("default")
    assert model.weights_hash() == golden["weights_hash"]
    assert model.tokens == golden_tokens(golden)
    for entry in golden["clips"][::10]:
        stored = unpacked_logits(entry["logits"], len(model.tokens.symbols))
        found = model.logits(load_audio(USERS / entry["clip"]))
        # Stored ones are of the clip as 16-bit samples, in steps of 1/256.
        assert np.abs(found - stored).max() < 0.1
        assert greedy_text(found, model.tokens) == entry["text"]
