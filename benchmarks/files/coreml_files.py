"""Core ML's files of the embedded model: bytes foretold on random plans, and what listed input lengths cost.

python -m benchmarks.files.coreml_files [--users 4]

Random plans draw every layer's precision from the menu. Clips are heard by evaluating the saved program in
float32 (no Mac here): a file for any length beside files for some lengths, where a clip is filled up, with
itself as our runners do or with silence.
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.methods.allocation import logit_divergence
from benchmarks.results import BUILD, save_result
from benchmarks.speakers import embedded_users, load_speaker
from myqasr.core.storage import size_of
from myqasr.exporters.audit import compare
from myqasr.exporters.coreml import ios18 as coreml
from myqasr.exporters.coreml import pte as coreml_pte
from myqasr.exporters.coreml.files import package_files
from myqasr.exporters.coreml.mlpackage import MODEL, WEIGHTS
from myqasr.exporters.export import export_options
from myqasr.exporters.target import ExportOptions
from myqasr.personalize.planning.plan import FLOAT32, LayerProfile, LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.layers import round_layer
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.runtime_bench.runners.coreml.lengths import ListedLengths
from myqasr.runtime_bench.runners.coreml.reference import CoreMLReference, reference_of
from myqasr.speech.decoding import greedy_text
from myqasr.speech.lengths import next_length
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.scoring import word_errors

PLANS, PTE_PLANS = 20, 5
HALF_SECONDS = tuple(half / 2 for half in range(2, 31))
LENGTHS = {
    "any up to 15 s": (),
    "every half second": HALF_SECONDS,
    "2, 4, 6, 10, 15 s": (2, 4, 6, 10, 15),
    "15 s": (15,),
}
FOLDER = BUILD / "coreml_files"


@dataclass(frozen=True, slots=True)
class RandomPlan:
    """One plan's files, in bytes. weights: of weight.bin, without what no plan changes.

    program: of model.mlmodel, without what was foretold of the layers. pte_bytes: of a .pte, where one was
    written; pte_container: of what lies around the package in it.
    """

    seed: int
    weights_foretold: int
    weights: int
    program: int
    pte_bytes: int | None
    pte_container: int | None


@dataclass(frozen=True, slots=True)
class LengthResult:
    """One user's clips on an int8 file. other_texts: that aren't those of the file for any length.

    fill: what fills it up. added: as a share of the audio.
    """

    user: str
    lengths: str
    fill: str
    size_bytes: int
    kl: float
    word_errors: int
    words: int
    clips: int
    other_texts: int
    added: float


def rounded(model: SpeechModel, specs: dict[str, QuantSpec]) -> dict[str, LayerCodes]:
    """Codes to nearest, scales and palettes as Core ML stores them."""
    codes = {}
    for name, module in model.layers().items():
        profile = LayerProfile(layer_shape(name, module), name, {})
        codes[name] = round_layer(module.weight, profile, specs[name], "float16")  # type: ignore[arg-type]
    return codes


def random_plans(model: SpeechModel, options: ExportOptions) -> list[RandomPlan]:
    """So many plans written, read back equal and weighed."""
    shapes = {name: layer_shape(name, module) for name, module in model.layers().items()}
    found, rest = [], None
    for seed in range(PLANS):
        draw = random.Random(seed)
        specs = {name: draw.choice(choices(shape)) for name, shape in shapes.items()}
        codes = rounded(model, specs)
        path = FOLDER / "plan.mlpackage"
        check(path, codes, coreml.write(model, codes, path, options), model)
        foretold = sum(coreml.weight_bytes(shapes[name], spec) for name, spec in specs.items())
        written = (path / WEIGHTS).stat().st_size
        rest = written - foretold if rest is None else rest
        graph = sum(coreml.layer_bytes(shapes[n], spec) for n, spec in specs.items()) - foretold
        pte = container = None
        if seed < PTE_PLANS:
            file = FOLDER / "plan.coreml.pte"
            check(file, codes, coreml_pte.write(model, codes, file, options), model)
            pte = size_of(file)
            container = pte - sum(len(content) for content in package_files(file).values())
        program = (path / MODEL).stat().st_size - graph
        found.append(RandomPlan(seed, foretold, written - rest, program, pte, container))
        print(found[-1], flush=True)
    return found


def choices(shape: LayerShape) -> list[QuantSpec]:
    """The menu without float32."""
    return [spec for spec in coreml.menu(shape) if spec != FLOAT32] or [FLOAT32]


def check(
    path: Path, codes: dict[str, LayerCodes], order: tuple[str, ...], model: SpeechModel
) -> None:
    """Stop when the file doesn't hold its plan."""
    if compare(coreml.read(path), codes, order, model):
        raise SystemExit(f"{path} doesn't hold its plan")


def lengths_of(model: SpeechModel, users: list[str]) -> list[LengthResult]:
    """The same int8 codes in files that differ only in the lengths that they take."""
    codes = rounded(model, dict.fromkeys(model.layers(), QuantSpec(8)))
    found: list[LengthResult] = []
    first: dict[str, list[str]] = {}
    for label, seconds in LENGTHS.items():
        options = export_options(model, 15.0, seconds)
        path = FOLDER / "lengths.mlpackage"
        check(path, codes, coreml.write(model, codes, path, options), model)
        runner = reference_of(path)
        limits = ListedLengths(options.lengths, model.stride_samples)
        for fill in ("the clip", "silence") if seconds else ("",):
            for name in users:
                speaker = load_speaker(name)
                clips = [model.features(clip)[0].numpy() for clip in speaker.test]
                logits = [heard(runner, clip, limits, fill) for clip in clips]
                base = [model.logits(clip) for clip in speaker.test]
                texts = [greedy_text(each, model.tokens) for each in logits]
                known = first.setdefault(name, texts)
                # A last frame that reaches beyond the clip has no counterpart.
                total = sum(
                    logit_divergence(p, q[: len(p)]) for p, q in zip(base, logits, strict=True)
                )
                counts = word_errors(list(speaker.texts), texts)
                sizes = [len(clip) for clip in clips]
                whole = sum(next_length(options.lengths, size) or size for size in sizes)
                result = LengthResult(
                    name, label, fill, size_of(path), total / sum(map(len, base)), counts.errors,
                    counts.reference_length, len(texts),
                    sum(a != b for a, b in zip(texts, known, strict=True)), whole / sum(sizes) - 1,
                )  # fmt: skip
                print(result, flush=True)
                found.append(result)
    return found


def heard(
    runner: CoreMLReference, clip: NDArray[np.float32], limits: ListedLengths, fill: str
) -> NDArray[np.float32]:
    """Logits [frames, vocab] of features [samples]: as the runner fills them up, or after silence."""
    if fill != "silence":
        return runner.logits(clip)
    length = next_length(limits.lengths, len(clip)) or len(clip)
    return limits.trimmed(runner.logits(np.pad(clip, (0, length - len(clip)))), len(clip))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = load_model("default")
    figures = {
        "plans": random_plans(model, export_options(model, 15.0)),
        "lengths": lengths_of(model, embedded_users()[: options.users]),
    }
    command = f"python -m benchmarks.files.coreml_files --users {options.users}"
    print(save_result("coreml_files", command, figures))


if __name__ == "__main__":
    main()
