"""What goes with a package to a Mac: what its layers are, golden inputs and logits, and a script that checks.

In `NAME.mac/` beside `NAME.mlpackage`: layers.json, golden.npz, bench_macos.py.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporters import bench_macos
from exporters.coreml_read import read_layers
from exporters.manifest import Artifact
from exporters.priors import USERS
from personalize.codes import LayerCodes
from personalize.plan import QuantSpec
from personalize.reference import build_half_reference
from speech.audio import load_audio
from speech.models.base import SAMPLE_RATE, SpeechModel
from speech.storage import replacing_folder, to_json

GOLDEN_SPEECH = Path("synth-ada", "tune", "000.ogg")
LONGEST_NOISE = 10 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class KitLayer:
    """One layer of the package in the order it runs. payload_bytes: in weight.bin."""

    name: str
    kernel: str
    precision: QuantSpec
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class KitContents:
    """What the folder is about."""

    package: str
    package_sha256: str
    sample_rate: int
    normalize: bool
    min_samples: int
    max_samples: int
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
        tuple(
            KitLayer(name, layer.kernel, spec, layer.payload_bytes)
            for (name, spec), layer in stored
        ),
    )
    reference = build_half_reference(model, codes)
    golden = {}
    for name, waveform in golden_waveforms(artifact).items():
        golden[f"{name}.input"] = model.features(waveform).numpy()
        golden[f"{name}.logits"] = reference.logits(waveform)[None]
    folder = package.with_suffix(".mac")
    with replacing_folder(folder) as draft:
        (draft / "layers.json").write_text(to_json(contents) + "\n")
        np.savez(draft / "golden.npz", **golden)  # type: ignore[arg-type]
        shutil.copyfile(bench_macos.__file__, draft / "bench_macos.py")
    return folder


def golden_waveforms(artifact: Artifact) -> dict[str, NDArray[np.float32]]:
    """A synthetic voice, and noise as short and (up to 10 s) as long as the package takes; [samples]."""
    random = np.random.default_rng(0)
    longest = min(artifact.max_samples, LONGEST_NOISE)
    speech = load_audio(USERS / GOLDEN_SPEECH)[: artifact.max_samples]
    return {
        "longest": random.standard_normal(longest).astype(np.float32),
        "shortest": random.standard_normal(artifact.min_samples).astype(np.float32),
        "speech": np.pad(speech, (0, max(0, artifact.min_samples - len(speech)))),
    }
