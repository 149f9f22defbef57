"""Every menu entry at its lowest and highest codes, largest and smallest scales and rows of zeros."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from myqasr.exporters.target import ExportOptions, load_target
from myqasr.personalize.planning.plan import FLOAT32, QuantSpec
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.layers import code_limits, round_weight
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SpeechModel
from tests.material.tiny_models import layer_shapes, nearest_codes, noise, observed_ranges

CHANNELS, FRAMES = 64, 40
LAYERS = {
    "linear": lambda: nn.Linear(CHANNELS, CHANNELS),
    "windows": lambda: nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1),
    "conv1d": lambda: nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1, groups=4),
    "depthwise": lambda: nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS),
    "same": lambda: nn.Conv1d(CHANNELS, CHANNELS, 16, padding="same", groups=4),
    "even": lambda: nn.Conv1d(CHANNELS, CHANNELS, 16, padding=8, groups=4),
}
TARGETS = ("xnnpack", "executorch", "litert", "tflite-runtime", "onnx")
RIGHT_DB = 35.0
"""A channel may be so quiet that it fills few codes of a stored range. A misread code gives 7 dB."""


class One(nn.Module):
    """Frames of CHANNELS samples, and one layer that reads them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.cut = nn.Conv1d(1, CHANNELS, CHANNELS, stride=CHANNELS, bias=False)
        nn.init.eye_(self.cut.weight[:, 0])
        self.layer = LAYERS[kind]()
        nn.init.normal_(self.layer.bias)

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, CHANNELS]."""
        frames = self.cut(waveform[:, None])
        if self.kind == "linear":
            return self.layer(frames.transpose(1, 2))
        out = self.layer(frames)
        return out[:, :, : frames.shape[2]].transpose(1, 2)


def one_layer(kind: str) -> SpeechModel:
    torch.manual_seed(0)
    symbols = tuple(chr(200 + index) for index in range(CHANNELS))
    module = One(kind).eval().requires_grad_(False)
    return SpeechModel(f"one {kind}", module, "", Tokens(symbols, 0), False, CHANNELS, CHANNELS)


def extreme(weight: Tensor, spec: QuantSpec, scale_dtype: str) -> tuple[Tensor, Tensor]:
    """Codes with whole rows at either limit, both in turn, and zeros; scales from tiny to large."""
    codes, scales = round_weight(weight, spec, scale_dtype)
    low, high = code_limits(spec)
    rows = codes.reshape(len(codes), -1)
    rows[0], rows[1], rows[3] = low, high, 0
    rows[2, ::2], rows[2, 1::2] = low, high
    rows[5::7, 0], rows[6::7, -1] = low, low
    scales[4], scales[5] = scales[4] * 2.0**-10, scales[5] * 2.0**6
    return codes, scales


def entries() -> list[tuple[str, str, str]]:
    found = []
    for target_name in TARGETS:
        for kind in (name for name in LAYERS if name != "same"):
            shape = layer_shapes(one_layer(kind))["layer"]
            labels = [spec.label for spec in load_target(target_name).menu(shape)]
            found += [(target_name, kind, label) for label in labels if label.startswith("int")]
    return found


def written(target_name: str, kind: str, label: str, path: Path) -> tuple[SpeechModel, Tensor]:
    """A file whose layer has extreme codes, its reference, and an input of many sizes."""
    model, target = one_layer(kind), load_target(target_name)
    spec = QuantSpec.from_label(label)
    waveform = noise(CHANNELS * FRAMES)
    ranges = observed_ranges(model, waveform)["layer"] if spec.activation == "int8-static" else ()
    weight = model.layers()["layer"].weight
    codes = LayerCodes(spec, *extreme(weight, spec, target.scale_dtype(spec)), *ranges)

    planned = {"cut": LayerCodes(FLOAT32), "layer": codes}
    target.write(model, planned, path, ExportOptions(CHANNELS * 20, CHANNELS * FRAMES))
    return build_reference(model, planned, target.half_activations), waveform


def worst_channel_db(expected: np.ndarray, found: np.ndarray) -> float:
    """A channel that is wrong mustn't drown in a loud one."""
    return min(
        signal_to_noise_db(expected[:, channel], found[:, channel])
        for channel in range(expected.shape[1])
        if np.abs(expected[:, channel]).max() > 0
    )


@pytest.mark.usefixtures("tflite_runtime")
@pytest.mark.parametrize(("target_name", "kind", "label"), entries())
def test_extreme_codes_are_computed_as_the_reference_does(target_name, kind, label, tmp_path):
    path = tmp_path / f"one{load_target(target_name).suffix}"
    reference, waveform = written(target_name, kind, label, path)
    expected = reference.logits(waveform[0].numpy())
    runner = open_system(System("file", TARGET_RUNNERS[target_name], str(path)), 1)
    decibels = worst_channel_db(expected, runner.logits(waveform[0].numpy()))
    print(f"{target_name} {kind} {label}: {decibels:.1f} dB")
    assert decibels > RIGHT_DB


LITERT_ENTRIES = [entry[1:] for entry in entries() if entry[0] == "litert"]


@pytest.mark.parametrize(("kind", "label"), LITERT_ENTRIES)
def test_litert_computes_them_without_its_delegate_too(kind, label, tmp_path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = tmp_path / "one.litert.tflite"
    reference, waveform = written("litert", kind, label, path)
    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, list(waveform.shape))
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, waveform.numpy())
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    expected = reference.logits(waveform[0].numpy())
    decibels = worst_channel_db(expected, found)
    print(f"built-in {kind} {label}: {decibels:.1f} dB")
    assert decibels > RIGHT_DB


@pytest.mark.parametrize("target_name", TARGETS)
def test_a_convolution_of_same_padding_and_even_taps_is_right_at_every_precision(
    target_name, tmp_path, request
):
    """wav2vec 2.0's position convolution; lowering one that is quantised as it is would shift it."""
    request.getfixturevalue("tflite_runtime")
    model, target = one_layer("same"), load_target(target_name)
    waveform = noise(CHANNELS * FRAMES)
    ranges = observed_ranges(model, waveform)["layer"]
    weight = model.layers()["layer"].weight
    for spec in target.menu(layer_shapes(model)["layer"]):
        layer = nearest_codes(weight, spec, target, *ranges)
        planned = {"cut": LayerCodes(FLOAT32), "layer": layer}
        path = tmp_path / f"{spec.label}{target.suffix}"
        target.write(model, planned, path, ExportOptions(CHANNELS * 20, CHANNELS * FRAMES))
        expected = build_reference(model, planned, target.half_activations)
        runner = open_system(System("file", TARGET_RUNNERS[target_name], str(path)), 1)
        found = runner.logits(waveform[0].numpy())
        decibels = signal_to_noise_db(expected.logits(waveform[0].numpy()), found)
        print(f"{target_name} {spec.label}: {decibels:.1f} dB")
        assert decibels > RIGHT_DB
