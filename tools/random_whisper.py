"""A Whisper of random weights in a folder as the hub would have it: model, tokenizer, feature extractor."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

SPECIALS = ("endoftext", "startoftranscript", "en", "de", "transcribe", "notimestamps")
HOP_SAMPLES, SAMPLE_RATE = 160, 16_000
POSITION_GAIN = 20


def save_whisper(
    options: dict[str, Any], folder: Path, pieces: int = 0, max_tokens: int | None = None
) -> type:
    """Write everything that `from_pretrained` reads; returns the class.

    options: of the configuration. pieces: of text in the vocabulary, at least the 256 bytes.
    max_tokens: most that are written, prompt included; as many as there are positions if not given.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(f"Ġpiece{index}" for index in range(pieces - len(alphabet)))]
    tokenizer = WhisperTokenizer({symbol: index for index, symbol in enumerate(symbols)}, [])
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [f"<|{name}|>" for name in SPECIALS]}
    )
    vocabulary = tokenizer.get_vocab()
    start, end = vocabulary["<|startoftranscript|>"], vocabulary["<|endoftext|>"]
    config = WhisperConfig(
        **options,
        vocab_size=len(vocabulary),
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.dim() == 1:
                tensor.add_(0.1 * torch.rand_like(tensor))
        # Else it would repeat one token: the head finds what the embedding put in.
        model.model.decoder.embed_positions.weight.mul_(POSITION_GAIN)
    model.generation_config = GenerationConfig(
        is_multilingual=True,
        lang_to_id={f"<|{name}|>": vocabulary[f"<|{name}|>"] for name in ("en", "de")},
        task_to_id={"transcribe": vocabulary["<|transcribe|>"]},
        no_timestamps_token_id=vocabulary["<|notimestamps|>"],
        suppress_tokens=[vocabulary["["], vocabulary["]"]],
        begin_suppress_tokens=[vocabulary["Ġ"], end],
        decoder_start_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        max_length=max_tokens or config.max_target_positions,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    seconds = 2 * HOP_SAMPLES * config.max_source_positions // SAMPLE_RATE
    WhisperFeatureExtractor(config.num_mel_bins, chunk_length=seconds).save_pretrained(folder)
    return WhisperForConditionalGeneration
