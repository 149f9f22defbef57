"""Write the default model as a normal Hugging Face folder: float16 safetensors and JSON only."""

import json
import os
from pathlib import Path

import torch
from transformers import Wav2Vec2ForCTC

from myqasr.core.storage import sha256_of_file
from myqasr.speech.models import HASHES
from tools.training.training_batches import BLANK, TOKEN_IDS, UNKNOWN, WORD_DELIMITER

WEIGHTS = "model.safetensors"
SIZE_LIMIT_BYTES = 15_000_000
_LOG_LIMIT_BYTES = 90_000

PREPROCESSOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "processor_class": "Wav2Vec2Processor",
    "feature_size": 1,
    "sampling_rate": 16_000,
    "padding_value": 0.0,
    "padding_side": "right",
    "do_normalize": True,
    "return_attention_mask": False,
}
TOKENIZER = {
    "tokenizer_class": "Wav2Vec2CTCTokenizer",
    "processor_class": "Wav2Vec2Processor",
    "pad_token": BLANK,
    "unk_token": UNKNOWN,
    "bos_token": None,
    "eos_token": None,
    "word_delimiter_token": WORD_DELIMITER,
    "replace_word_delimiter_char": " ",
    "do_lower_case": False,
}
SPECIAL_TOKENS = {"pad_token": BLANK, "unk_token": UNKNOWN}


def _write_json(path: Path, value: object) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _write_log(source: Path, target: Path) -> None:
    """Keep every evaluation, and as many other lines as fit."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    every = 1 + sum(len(line) for line in lines) // _LOG_LIMIT_BYTES
    kept = [line for i, line in enumerate(lines) if "wer_" in line or i % every == 0]
    target.write_text("".join(kept), encoding="utf-8")


def export(model: Wav2Vec2ForCTC, run: Path, folder: Path) -> int:
    """Write `model` and the log of `run` to `folder`; return the size of the weights in bytes.

    Raises ValueError if a weight is not finite in float16 or the file is above 15 MB.
    """
    half = model.half()
    for name, value in half.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} is not finite in float16: do not export this checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    staging = run / "export"
    half.save_pretrained(staging)
    size_bytes = (staging / WEIGHTS).stat().st_size
    if size_bytes > SIZE_LIMIT_BYTES:
        raise ValueError(
            f"model.safetensors has {size_bytes:,} bytes; the limit is {SIZE_LIMIT_BYTES:,}: "
            f"take a smaller hidden_size or fewer layers"
        )
    for name in (WEIGHTS, "config.json"):
        data = (staging / name).read_bytes()
        (folder / f"{name}.tmp").write_bytes(data)
        os.replace(folder / f"{name}.tmp", folder / name)
    _write_json(folder / "vocab.json", TOKEN_IDS)
    _write_json(folder / "tokenizer_config.json", TOKENIZER)
    _write_json(folder / "special_tokens_map.json", SPECIAL_TOKENS)
    _write_json(folder / "preprocessor_config.json", PREPROCESSOR)
    _write_json(folder / HASHES, {WEIGHTS: sha256_of_file(folder / WEIGHTS)})
    _write_log(run / "log.jsonl", folder / "training_log.jsonl")
    return size_bytes
