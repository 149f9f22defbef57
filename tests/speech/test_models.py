"""Loading a model gives the same weights every time, and those that transformers computes with."""

import torch
from transformers import Wav2Vec2ForCTC

from myqasr.speech.models import load_model


def test_model_is_the_same_one_whatever_the_number_of_threads(tiny_model):
    before = torch.get_num_threads()
    hashes = set()
    try:
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            hashes.add(load_model(str(tiny_model)).weights_hash())
    finally:
        torch.set_num_threads(before)
    assert len(hashes) == 1


def test_folded_weights_compute_what_transformers_computes(tiny_model):
    waveform = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    theirs = Wav2Vec2ForCTC.from_pretrained(tiny_model, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = theirs(waveform).logits
        found = load_model(str(tiny_model)).module(waveform)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
