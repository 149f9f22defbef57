"""What goes with a package to a Mac: what its layers are, golden inputs and logits, and a script that checks.

In `NAME.mac/` beside `NAME.mlpackage`: layers.json, golden.npz, bench_macos.py.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from myqasr.core.placing import replacing_folder
from myqasr.core.storage import to_json
from myqasr.exporters.coreml import bench_macos
from myqasr.exporters.coreml.mlpackage import MAIN
from myqasr.exporters.coreml.read import read_layers
from myqasr.exporters.manifest import Artifact
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.reference import build_half_reference
from myqasr.speech.audio import load_audio
from myqasr.speech.datasets import evenly
from myqasr.speech.lengths import filled, next_length
from myqasr.speech.models import DEFAULT_USERS
from myqasr.speech.models.base import SAMPLE_RATE, SpeechModel

GOLDEN_SPEECH = Path("synth-ada", "tune", "000.ogg")
LONGEST_NOISE = 10 * SAMPLE_RATE
MOST_STEPS = 8
"""Of a text that is written token by token, so many tokens' logits are kept."""


@dataclass(frozen=True, slots=True)
class KitLayer:
    """One layer of the package in the order it runs. payload_bytes: in weight.bin."""

    name: str
    kernel: str
    precision: QuantSpec
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class KitContents:
    """What the folder is about. lengths: as of `Artifact`. functions: `main`, or `encode` and `decode`."""

    package: str
    package_sha256: str
    sample_rate: int
    normalize: bool
    min_samples: int
    max_samples: int
    lengths: tuple[int, ...]
    functions: tuple[str, ...]
    layers: tuple[KitLayer, ...]


def write_kit(
    model: SpeechModel, codes: dict[str, LayerCodes], package: Path, artifact: Artifact
) -> Path:
    """Write the folder beside a package, whole or not at all; returns where."""
    stored = zip(artifact.layers.items(), read_layers(package), strict=True)
    contents = KitContents(
        package.name,
        artifact.sha256,
        SAMPLE_RATE,
        model.normalize,
        artifact.min_samples,
        artifact.max_samples,
        artifact.lengths,
        (MAIN,) if model.tokens.autoregression is None else ("encode", "decode"),
        tuple(
            KitLayer(name, layer.kernel, spec, layer.payload_bytes)
            for (name, spec), layer in stored
        ),
    )
    reference = build_half_reference(model, codes)
    golden = {
        f"{name}.{what}": array
        for name, waveform in golden_waveforms(artifact).items()
        for what, array in _golden(reference, waveform, artifact).items()
    }
    folder = package.with_suffix(".mac")
    with replacing_folder(folder) as draft:
        (draft / "layers.json").write_text(to_json(contents) + "\n")
        np.savez(draft / "golden.npz", **golden)  # type: ignore[arg-type]
        shutil.copyfile(bench_macos.__file__, draft / "bench_macos.py")
    return folder


def _golden(
    reference: SpeechModel, waveform: NDArray[np.float32], artifact: Artifact
) -> dict[str, NDArray[Any]]:
    """Inputs of one recording and what the reference says, as `bench_macos.golden_inputs` reads them."""
    features, *written = reference.inputs(waveform)
    with torch.inference_mode():
        if not written:
            samples = features.shape[1]
            length = next_length(artifact.lengths, samples) or samples
            whole = filled(features[0].numpy(), length)[None]
            return {
                "input": whole,
                "logits": reference.module(torch.from_numpy(whole)).numpy(),
            }
        module: Any = reference.module
        ids = written[0]
        how: Any = reference.tokens.autoregression
        prompt = len(how.prompt)
        steps = evenly(range(prompt, ids.shape[1] + 1), MOST_STEPS)
        places = [step - prompt for step in steps]
        return {
            "input": features.numpy(),
            "heard": module.encode(features)[-1].numpy(),
            "ids": ids.numpy().astype(np.int32),
            "prompt": np.array(prompt),
            "places": np.array(how.max_tokens),
            "steps": np.array(steps),
            "logits": module(features, ids)[:, places].numpy(),
        }


def golden_waveforms(artifact: Artifact) -> dict[str, NDArray[np.float32]]:
    """A synthetic voice, and noise as short and (up to 10 s) as long as the package takes; [samples].

    Where lengths are listed, noise of the shortest and the longest; for a model with a window of its own just
    the voice.
    """
    random = np.random.default_rng(0)
    longest = artifact.max_samples if artifact.lengths else min(artifact.max_samples, LONGEST_NOISE)
    shortest = artifact.lengths[0] if artifact.lengths else artifact.min_samples
    speech = load_audio(DEFAULT_USERS / GOLDEN_SPEECH)[: artifact.max_samples]
    voice = {"speech": np.pad(speech, (0, max(0, artifact.min_samples - len(speech))))}
    if artifact.min_samples == artifact.max_samples:
        return voice
    return {
        "longest": random.standard_normal(longest).astype(np.float32),
        "shortest": random.standard_normal(shortest).astype(np.float32),
        **voice,
    }
