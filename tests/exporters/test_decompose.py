"""The graph that all files are written from."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from myqasr.exporters.graph.decompose import decomposed


class Frames(nn.Module):
    """Attention over frames of four samples: sizes that vary twice, and composite operators."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 8, 4, 4)
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, frames]."""
        frames = self.linear(self.norm(self.convolution(x[:, None]).transpose(1, 2)))
        scores = torch.matmul(frames, frames.transpose(1, 2))
        return scores.reshape(1, -1).reshape(1, frames.shape[1], frames.shape[1]).softmax(-1)


class InPlace(Frames):
    """Writes into what it has computed."""

    def forward(self, x: Tensor) -> Tensor:
        """The same, changed afterwards."""
        scores = super().forward(x)
        scores.mul_(2)
        scores[:, 0] += 1
        return scores


def traced(module: nn.Module) -> ExportedProgram:
    """As exporters trace: any number of samples from 12 to 400."""
    return export(
        module.eval(),
        (torch.zeros(1, 400),),
        dynamic_shapes=({1: Dim("length", min=12, max=400)},),
        strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )


@pytest.mark.parametrize("kind", [Frames, InPlace])
def test_every_length_computes_what_the_model_does(kind):
    torch.manual_seed(0)
    module = kind()
    program = decomposed(traced(module))
    again = program.module()
    for samples in (12, 43, 400):
        waveform = torch.randn(1, samples)
        assert torch.allclose(again(waveform), module(waveform), atol=1e-6)
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "aten.linear.default" in names
    assert not {"aten.matmul.default", "aten.layer_norm.default", "aten.conv1d.default"} & {*names}
    assert dict(program.named_parameters()).keys() == dict(module.named_parameters()).keys()


def test_sizes_come_from_the_input_or_delegates_must_hand_out_tensors_for_them():
    program = traced(Frames())
    asked = program.graph_signature.user_inputs
    sizes = [node for node in decomposed(program).graph.nodes if "sym_size" in str(node.target)]
    assert sizes and all(node.args[0].name in asked for node in sizes)
