"""A small Whisper of random weights, for trying the runtime."""

import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from myqasr.speech.decoding import Autoregression, Tokens, byte_alphabet
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.models.whisper.network import Whisper

SECONDS = 1
TOKENS = 8
POSITION_GAIN = 20


def small_whisper(width: int = 64) -> SpeechModel:
    """Two layers so wide; it writes bytes, a second of audio at a time."""
    symbols = (*byte_alphabet(), "", "")
    start, end = len(symbols) - 2, len(symbols) - 1
    extractor = WhisperFeatureExtractor(chunk_length=SECONDS)
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(symbols),
        d_model=width,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        max_source_positions=extractor.n_samples // (2 * extractor.hop_length),
        max_target_positions=32,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        # Else it would write one token again and again: the head finds what the embedding put in.
        model.model.decoder.embed_positions.weight.mul_(POSITION_GAIN)
    how = Autoregression((start, start), end, TOKENS)
    return SpeechModel(
        model_id="probe",
        module=Whisper(model.eval().requires_grad_(False), extractor, len(how.prompt)).eval(),
        layer_prefix="",
        tokens=Tokens(symbols, None, how, byte_level=True),
        normalize=False,
        stride_samples=2 * extractor.hop_length,
        min_samples=extractor.n_samples,
        max_samples=extractor.n_samples,
    )
