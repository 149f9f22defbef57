"""Convolutions that run as matrix products over their windows: the arithmetic, and the file."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from myqasr.exporters.audit import compare
from myqasr.exporters.target import ExportOptions, load_target
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.kernels import has_rows, rows
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.personalize.rounding.reference import build_reference
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.speech.models.base import SpeechModel
from tests.material.tiny_models import TOKENS, noise, random_codes


@settings(max_examples=40, deadline=None)
@given(
    taps=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
    channels=st.integers(2, 5),
    extra=st.integers(0, 9),
)
def test_windows_times_weights_is_the_convolution(taps, stride, padding, dilation, channels, extra):
    module = nn.Conv1d(channels, 3, taps, stride, padding, dilation)
    x = torch.randn(1, channels, taps * dilation + extra)
    product = functional.linear(rows(module, x), module.weight.flatten(1), module.bias)
    torch.testing.assert_close(product.transpose(1, 2), module(x), atol=1e-5, rtol=1e-5)


def test_shape_record_and_module_agree_on_what_has_windows():
    modules = (
        nn.Conv1d(1, 4, 3),
        nn.Conv1d(4, 4, 3),
        nn.Conv1d(4, 4, 17),
        nn.Conv1d(4, 4, 3, groups=2),
        nn.Linear(4, 4),
        nn.Conv1d(1, 4, 12, stride=4),
        nn.Conv1d(1, 4, 10, stride=4),
    )
    found = [has_rows(module) for module in modules]
    assert found == [layer_shape("layer", module).has_rows for module in modules]
    assert found == [False, True, False, False, True, True, False]


class Convolutions(nn.Module):
    """Padded, dilated, single-tap and grouped convolutions in a row; 20 samples a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 16, 30, stride=10)
        self.padded = nn.Conv1d(16, 32, 3, stride=2, padding=1)
        self.dilated = nn.Conv1d(32, 32, 3, padding=2, dilation=2, bias=False)
        self.single = nn.Conv1d(32, 32, 1)
        self.grouped = nn.Conv1d(32, 32, 3, padding=1, groups=4)
        self.head = nn.Linear(32, len(TOKENS.symbols))

    def forward(self, waveform: Tensor) -> Tensor:
        hidden = functional.gelu(self.first(waveform.unsqueeze(1)))
        hidden = functional.relu(self.padded(hidden))
        hidden = hidden + functional.gelu(self.dilated(hidden))
        hidden = self.grouped(functional.gelu(self.single(hidden)))
        logits: Tensor = self.head(hidden.transpose(1, 2))
        return logits


def test_padded_and_dilated_convolutions_of_other_models_run_as_windows_too(tmp_path):
    torch.manual_seed(0)
    module = Convolutions().eval()
    model = SpeechModel("convolutions", module, "", TOKENS, True, 20, 40)
    target = load_target("xnnpack")
    for label in ("fp32", "int8-a8d", "int4-a8d", "fp16"):
        spec = QuantSpec.from_label(label)
        specs = {
            name: spec
            if spec in target.menu(layer_shape(name, layer))
            else QuantSpec.from_label("fp32")
            for name, layer in model.layers().items()
        }
        codes = random_codes(model, target, specs)
        path = tmp_path / f"{label}.pte"
        order = target.write(model, codes, path, ExportOptions(40, 16_000))
        stored = target.read(path)
        assert compare(stored, codes, order, model) == []
        windows = [layer for layer in stored if "fully connected" in layer.kernel]
        assert len(windows) == 5  # all but the grouped one
        runner = open_system(System("file", "executorch", str(path)), threads=1)
        reference = build_reference(model, codes)
        for samples in (60, 4_321, 16_000):
            waveform = noise(samples, seed=1)
            with torch.inference_mode():
                expected = reference.module(waveform)[0].numpy()
            assert signal_to_noise_db(expected, runner.logits(waveform[0].numpy())) > 50
