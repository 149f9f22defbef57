"""Every supported model class at its real size, random weights, through every target: docs/models.md.

python -m benchmarks.files.models [--only NAME]

Each model is saved as its class saves it, loaded from the folder, measured on one clip and exported with all
layers at 8 and at 4 bits; every file is read back against its plan (else the export fails) and its output on
the clip is held against the torch reference of the plan. Finished rows are kept: a stopped run goes on.
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.results import BUILD, run_command, save_result
from myqasr.core.placing import write_bytes
from myqasr.exporters.export import export_options, export_plan
from myqasr.exporters.target import Target, load_target
from myqasr.personalize.measuring.sensitivity import (
    Measurement,
    ProfileOptions,
    measure,
    round_plan,
)
from myqasr.personalize.planning.exact import uniform_plan
from myqasr.personalize.planning.plan import LayerShape, QuantSpec
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.speech.audio import load_audio
from myqasr.speech.decoding import comparable
from myqasr.speech.models import DEFAULT_MODEL, load_model
from myqasr.speech.models.base import SpeechModel
from tools.random_whisper import save_whisper
from tools.training.word_pieces import save_pieces

CLIP = Path("speech/default_users/synth-ada/tune/000.ogg")
MAX_SECONDS = 15.0
WIDE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
CONFORMER = {"hidden_act": "swish", "num_hidden_layers": 6}
SHALLOW = {"num_hidden_layers": 6}

WHISPER = "WhisperForConditionalGeneration"
WHISPER_PIECES, WRITTEN_TOKENS = 51_859, 64

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec 2.0 base": ("Wav2Vec2ForCTC", {}),
    "wav2vec 2.0 large, stable layer norm": ("Wav2Vec2ForCTC", {**WIDE, **STABLE}),
    "HuBERT base": ("HubertForCTC", {}),
    "WavLM base": ("WavLMForCTC", {}),
    "data2vec base": ("Data2VecAudioForCTC", {}),
    "wav2vec 2.0 Conformer, relative, 6 layers": (
        "Wav2Vec2ConformerForCTC",
        {**CONFORMER, "position_embeddings_type": "relative"},
    ),
    "wav2vec 2.0 Conformer, rotary, 6 layers": (
        "Wav2Vec2ConformerForCTC",
        {**CONFORMER, "position_embeddings_type": "rotary"},
    ),
    "wav2vec 2.0 BERT, 6 of 24 layers": ("Wav2Vec2BertForCTC", SHALLOW),
    "Parakeet 0.6b, 6 of 24 layers": ("ParakeetForCTC", {"encoder_config": SHALLOW}),
    "Whisper tiny": (WHISPER, {}),
}
"""Name -> class and what differs from the defaults of its configuration."""

TIMED = ("wav2vec 2.0 large, stable layer norm", "Whisper tiny")
"""Models whose `myqasr personalize` is timed."""

MEASURED = ("xnnpack", "executorch")
"""Targets of the table; others have tables of their own."""
THREADS = 2


def save_random(architecture: str, options: dict[str, Any], folder: Path) -> None:
    """Write a model folder as its class and processor leave it."""
    torch.manual_seed(0)
    if architecture == WHISPER:
        # Random weights never end by themselves.
        save_whisper(options, folder, WHISPER_PIECES, WRITTEN_TOKENS)
        return
    vocabulary = json.loads((DEFAULT_MODEL / "vocab.json").read_text())
    model_class = getattr(transformers, architecture)
    if architecture == "ParakeetForCTC":
        pieces = ["<unk>", *(f"▁piece{index}" for index in range(1023)), "<pad>"]
        save_pieces(pieces, folder)
        transformers.ParakeetFeatureExtractor().save_pretrained(folder)
    else:
        options = {**options, "vocab_size": len(vocabulary), "pad_token_id": vocabulary["<pad>"]}
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        if architecture == "Wav2Vec2BertForCTC":
            transformers.SeamlessM4TFeatureExtractor().save_pretrained(folder)
        else:
            name = "preprocessor_config.json"
            (folder / name).write_bytes((DEFAULT_MODEL / name).read_bytes())
    model_class(model_class.config_class(**options)).save_pretrained(folder)


def per_channel(target: Target) -> Callable[[LayerShape], list[QuantSpec]]:
    """The target's menu without groups, which a uniform plan doesn't use."""
    return lambda shape: [spec for spec in target.menu(shape) if spec.group_size is None]


def one_file(
    model: SpeechModel, speaker: Measurement, target: Target, bits: int, waveform: np.ndarray
) -> dict[str, Any]:
    """Export a uniform plan and run it; figures of the file."""
    started = time.perf_counter()
    overhead = target.overhead_bytes(model)
    plan = uniform_plan(
        speaker.profile,
        target.name,
        replace(target.offer, menu=per_channel(target)),
        overhead,
        bits,
    )
    path = BUILD / f"model{target.suffix}"
    written = export_plan(model, speaker, plan, target, path, export_options(model, MAX_SECONDS))
    seconds = time.perf_counter() - started
    reference = build_reference(model, round_plan(speaker, written.plan))
    how = model.tokens.autoregression
    runner = open_system(System("file", target.runner, str(path), autoregression=how), threads=1)
    padded = model.features(waveform)[0].numpy()
    expected, found = reference.logits(waveform), runner.logits(padded)
    if how is not None:
        expected, found = comparable(expected, found, how)
    figures = {
        "size_bytes": written.artifact.size_bytes,
        "parity_db": round(signal_to_noise_db(expected, found), 1),
        "export_seconds": round(seconds, 1),
    }
    path.unlink()
    return figures


def one_model(name: str) -> dict[str, Any]:
    """A row of the table."""
    architecture, options = CASES[name]
    waveform = load_audio(CLIP)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        save_random(architecture, options, Path(folder))
        model = load_model(folder)
    speaker = measure(
        model,
        [waveform],
        lambda shape: list(
            dict.fromkeys(
                spec for name in MEASURED for spec in per_channel(load_target(name))(shape)
            )
        ),
        lambda spec: "float32",
        "one clip",
        ProfileOptions(label_draws=1),
    )
    weights = sum(parameter.numel() for parameter in model.module.parameters())
    row: dict[str, Any] = {
        "name": name,
        "architecture": architecture,
        "parameters": weights,
        "float_bytes": 4 * weights,
        "targets": {},
    }
    for target_name in MEASURED:
        target = load_target(target_name)
        row["targets"][target_name] = {
            str(bits): one_file(model, speaker, target, bits, waveform) for bits in (8, 4)
        }
        print(name, target_name, row["targets"][target_name], flush=True)
    return row


def personalize_cost(name: str) -> dict[str, Any]:
    """Wall clock and peak memory of `myqasr personalize` on two clips, the command itself."""
    architecture, options = CASES[name]
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        model = Path(folder) / "model"
        model.mkdir()
        save_random(architecture, options, model)
        command = [
            *(sys.executable, "-m", "myqasr.cli.main", "personalize", str(model), str(CLIP.parent)),
            *("--budget", "0.2x", "--clips", "2", "--out", str(Path(folder) / "out")),
        ]
        cost = run_command(command, THREADS)
    return {"wall_seconds": cost.wall_seconds, "peak_rss_bytes": cost.peak_rss_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="one row, measured again")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    kept = BUILD / "models.json"
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    rows.pop(options.only, None)
    for name in CASES:
        if name not in rows and options.only in (None, name):
            rows[name] = one_model(name)
            write_bytes(kept, json.dumps(rows).encode())
            gc.collect()
        if name in TIMED and name in rows and "personalize" not in rows[name]:
            rows[name]["personalize"] = personalize_cost(name)
            write_bytes(kept, json.dumps(rows).encode())
    figures = [rows[name] for name in CASES if name in rows]
    print(save_result("models", "python -m benchmarks.files.models", figures))


if __name__ == "__main__":
    main()
