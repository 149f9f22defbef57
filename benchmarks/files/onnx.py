"""Whisper for ONNX Runtime: our files beside those of its own quantisers, at equal bytes.

python -m benchmarks.files.onnx [--model whisper-tiny.en] [--speakers libri-1272,libri-84] [--clips 20]

Rivals are written from the same weights by ONNX Runtime's `quantize_dynamic` (int8 weights and
activations) and by its MatMulNBits quantiser (4 bits in blocks of 32). Ours has no more bytes than the
first, personalised for each speaker. Every system is run in the same ONNX Runtime; divergence is that of
its probabilities from the float model's, token by token, while it is made to write the float model's
text.
Needs the extras `peers`, `onnx` and `whisper-tiny-en`, and $MYQASR_SPEECH or ../shared/speech.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from benchmarks.peers.clips import Speaker, load_speaker
from benchmarks.peers.onnx_int8 import HALVES, write_float, write_onnx
from benchmarks.peers.workers.onnx_runtime import Steps, listener
from benchmarks.results import BUILD, save_result
from myqasr.api import export, personalize_model
from myqasr.core.storage import size_of
from myqasr.personalize.measuring.method import divergence
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.onnx_runtime import OnnxWriter, session
from myqasr.speech.decoding import Autoregression, best_tokens, greedy_logits, greedy_text
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.normalizers import normalizer
from myqasr.speech.scoring import word_errors

INT8, NBITS, OURS = "quantize_dynamic", "MatMulNBits quantiser", "myqasr"
NORMALIZER = "whisper-english"
BLOCK = 32

Listen = Callable[[NDArray[np.float32]], Steps]
"""From a waveform [samples] to what writes it down."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a system made of a clip. divergence: of every token of the float model's text, nats."""

    text: str
    divergence: list[float]


def rival_files(model: str, folder: Path) -> dict[str, Path]:
    """Both rivals' folders, written unless they are there."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    found = {INT8: folder / "int8", NBITS: folder / "nbits"}
    if not (found[INT8] / HALVES[1]).is_file():
        write_onnx(model, found[INT8])
    if not (found[NBITS] / HALVES[1]).is_file():
        found[NBITS].mkdir(parents=True, exist_ok=True)
        write_float(model, found[NBITS])
        for half in HALVES:
            file = found[NBITS] / half
            quantizer = MatMulNBitsQuantizer(
                onnx.load(file), bits=4, block_size=BLOCK, is_symmetric=True, accuracy_level=1
            )
            quantizer.process()
            quantizer.model.save_model_to_file(str(file))
    return found


def rival(model: SpeechModel, folder: Path) -> Listen:
    """ONNX Runtime's own files, with their own caches."""
    encoder, decoder = (session(folder / half, 1) for half in HALVES)
    filters: Any = model.module.features.mel.weight  # type: ignore[union-attr]
    return listener(encoder, decoder, filters.detach().numpy())


def ours(model: SpeechModel, path: Path) -> Listen:
    """A file of ours in our runner."""
    how = model.tokens.autoregression
    runner = open_system(System("", "onnxruntime", str(path), autoregression=how), 1)
    assert isinstance(runner, OnnxWriter)
    return lambda waveform: runner.steps(model.features(waveform)[0].numpy())


def hear(
    listen: Listen,
    waveform: NDArray[np.float32],
    float_rows: NDArray[np.float32],
    model: SpeechModel,
) -> Heard:
    """Its own text, and its divergence along the float model's. float_rows: logits [tokens, vocab]."""
    how = model.tokens.autoregression
    assert how is not None
    text = greedy_text(greedy_logits(listen(waveform), how), model.tokens)
    rows = list(_forced(listen(waveform), best_tokens(float_rows, how), how))
    return Heard(text, [_divergence(*pair) for pair in zip(float_rows, rows, strict=True)])


def _forced(steps: Steps, ids: list[int], how: Autoregression) -> Iterator[NDArray[np.float32]]:
    """Logits of each token of a text while that text is written."""
    fed = [*how.prompt, *ids[:-1]]
    for position, token in enumerate(fed):
        row = steps(token, position)
        if position >= len(how.prompt) - 1:
            yield row


def _divergence(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """KL of the second's probabilities from the first's, nats; logits [vocab] of both."""
    return divergence(
        *(torch.from_numpy(row).double().log_softmax(-1) for row in (expected, found))
    )


def row_of(
    name: str, file_bytes: int, heard: list[Heard], texts: list[str], spoken: list[str]
) -> dict[str, Any]:
    """A system's figures over all clips."""
    errors = word_errors(spoken, [each.text for each in heard], normalizer(NORMALIZER))
    nats = [value for each in heard for value in each.divergence]
    return {
        "system": name,
        "bytes": file_bytes,
        "divergence": float(np.mean(nats)) if nats else 0.0,
        "tokens": len(nats),
        "wer": errors.rate,
        "same_text": sum(each.text == text for each, text in zip(heard, texts, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--speakers", default="libri-1272,libri-84")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--budgets", default="25.3MB,31MB", help="of more files of ours")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = BUILD / "onnx" / options.model
    files = rival_files(options.model, folder)
    sizes = {name: sum(size_of(place / half) for half in HALVES) for name, place in files.items()}
    print(json.dumps(sizes), flush=True)
    budgets = [str(sizes[INT8]), *filter(None, options.budgets.split(","))]
    model = load_model(options.model)
    listeners = {name: rival(model, place) for name, place in files.items()}
    names, heard = options.speakers.split(","), {}
    texts, spoken, clips = [], [], 0
    for name in names:
        speaker = load_speaker(name, options.clips, BUILD / "peers" / "clips" / name)
        for budget, path in our_files(speaker, options.model, budgets, folder).items():
            system = f"{OURS} {budget}" if budget != budgets[0] else OURS
            listeners[system] = ours(model, path)
            sizes[system] = max(sizes.get(system, 0), size_of(path))
        for clip in speaker.test:
            waveform = np.load(clip.path)
            float_rows = model.logits(waveform)
            texts.append(greedy_text(float_rows, model.tokens))
            spoken.append(clip.text)
            for system, listen in listeners.items():
                found = hear(listen, waveform, float_rows, model)
                heard.setdefault(system, []).append(found)
        clips += len(speaker.test)
        print(name, clips, flush=True)
    plain = [Heard(text, []) for text in texts]
    rows = [row_of("float (torch)", 0, plain, texts, spoken)]
    rows += [row_of(each, sizes[each], found, texts, spoken) for each, found in heard.items()]
    figures = {
        "model": options.model, "speakers": names, "clips": clips, "normalizer": NORMALIZER,
        "rows": rows,
    }  # fmt: skip
    print(json.dumps(rows, indent=1))
    command = (
        f"python -m benchmarks.files.onnx --speakers {options.speakers} --clips {options.clips}"
    )
    print(save_result("onnx", command, figures))


def our_files(speaker: Speaker, model: str, budgets: list[str], folder: Path) -> dict[str, Path]:
    """One file for each budget, measured once on the speaker's clips for fitting."""
    found = {}
    for budget in budgets:
        place = folder / speaker.name
        run = personalize_model(model, list(speaker.fit), budget=budget, out=place, target="onnx")
        (written,) = export(run, target="onnx")
        kept = place.with_name(f"{speaker.name} {budget}.onnx")
        if kept.exists():
            for file in kept.iterdir():
                file.unlink()
            kept.rmdir()
        written.path.rename(kept)
        found[budget] = kept
    return found


if __name__ == "__main__":
    main()
