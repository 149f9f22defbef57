"""What one operator computes on the TFLite runtimes, to the last digits; whole models add up roundings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from myqasr.exporters.target import ExportOptions, Target, load_target
from myqasr.exporters.tflite import litert, tflite_runtime
from myqasr.exporters.tflite.file import FileWriter, GraphWriter
from myqasr.exporters.tflite.layers import Layer, LayerWriter
from myqasr.personalize.planning.plan import FLOAT32, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.kernels import layer_output
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SpeechModel
from tests.material.tiny_models import grid, nearest_codes

pytestmark = pytest.mark.usefixtures("tflite_runtime")

INPUTS, OUTPUTS, ROWS = 128, 64, 64
SAME_CODES = 1e-6
"""Largest difference, relative to the largest output, when all codes are the same; one other code: 1e-3."""

CHANNELS, FRAMES = 16, 6_000

VERSIONS = {
    litert.NAME: litert.FULLY_CONNECTED_VERSION,
    tflite_runtime.NAME: tflite_runtime.FULLY_CONNECTED_VERSION,
}


def run(path: Path, target: Target, x: Tensor) -> np.ndarray:
    runner = open_system(System("file", TARGET_RUNNERS[target.name], str(path)), threads=1)
    return runner.logits(x.flatten().numpy())


def write_layer(path: Path, target: Target, layer: nn.Linear, codes: LayerCodes) -> None:
    """A file with one linear layer, [1, ROWS * INPUTS] to [1, ROWS, OUTPUTS]."""
    graph = GraphWriter(FileWriter({}), "forward")
    x = graph.input("x", [1, ROWS * INPUTS])
    shape = [1, ROWS, INPUTS]
    rows = graph.call("RESHAPE", [x, graph.ints(*shape)], shape)
    graph.output(
        LayerWriter(graph, VERSIONS[target.name], looks_up_codes=False).linear(
            rows, Layer("layer", layer, codes)
        )
    )
    graph.finish(["input_0"], ["output_0"])
    path.write_bytes(graph.file.packed())


@pytest.mark.parametrize(
    ("target_name", "label"),
    [
        (litert.NAME, "int2-a8d"),
        (litert.NAME, "int4-a8d"),
        (litert.NAME, "int4-g32-a8d"),
        (litert.NAME, "int4-g128-a8d"),
        (litert.NAME, "int8-a8d"),
        (tflite_runtime.NAME, "int4-a8s"),
        (tflite_runtime.NAME, "int8-a8s"),
        (tflite_runtime.NAME, "int8"),
    ],
)
def test_a_layer_rounds_to_the_codes_of_the_reference(target_name, label, tmp_path):
    torch.manual_seed(0)
    target, layer = load_target(target_name), nn.Linear(INPUTS, OUTPUTS).requires_grad_(False)
    rows = torch.rand(1, ROWS, 1)  # some loud, some quiet, some off zero
    x = rows * torch.randn(1, ROWS, INPUTS) + 0.3 * torch.randn(1, ROWS, 1)
    spec = QuantSpec.from_label(label)
    codes = nearest_codes(layer.weight, spec, target, grid(x), grid(layer(x)))
    path = tmp_path / f"layer{target.suffix}"
    write_layer(path, target, layer, codes)
    expected = layer_output(layer, x, codes, codes.dequantized(layer.weight))[0].numpy()
    off = np.abs(run(path, target, x) - expected).max(axis=1) / np.abs(expected).max()
    print(f"{target_name} {label}: {off.max():.1e}")
    # A kernel's scale may differ by an ulp, which turns one rounding in a hundred thousand; tflite-runtime's
    # results at int8-a8s, one in a thousand.
    assert (off < SAME_CODES).mean() > 0.9


class Normed(nn.Module):
    """Frames of CHANNELS samples, each channel normalised over all frames."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv1d(1, CHANNELS, CHANNELS, stride=CHANNELS, bias=False)
        self.norm = nn.GroupNorm(CHANNELS, CHANNELS)
        nn.init.eye_(self.cut.weight[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.cut(x[:, None])).transpose(1, 2)


@pytest.mark.parametrize("target_name", [litert.NAME, tflite_runtime.NAME])
def test_a_norm_over_a_long_recording_is_as_exact_as_in_torch(target_name, tmp_path):
    """Frames added one after the other would be wrong by more than 1e-6 here."""
    torch.manual_seed(0)
    target, module = load_target(target_name), Normed().eval().requires_grad_(False)
    samples = CHANNELS * FRAMES
    symbols = tuple(map(chr, range(97, 97 + CHANNELS)))
    model = SpeechModel("norm", module, "", Tokens(symbols, 0), False, CHANNELS, CHANNELS)
    path = tmp_path / f"norm{target.suffix}"
    target.write(model, {"cut": LayerCodes(FLOAT32)}, path, ExportOptions(160, samples))
    x = 3 * torch.randn(1, samples) + 1
    expected = module.double()(x.double())[0].numpy()
    off = np.abs(run(path, target, x) - expected).max() / np.abs(expected).max()
    print(f"{target_name}: {off:.1e}")
    assert off < 5e-7
