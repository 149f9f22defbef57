"""M5, the waveform CNN for keyword spotting (Dai et al., "Very deep convolutional neural networks for raw
waveforms", ICASSP 2017), with the layer names of torchaudio's Speech Commands tutorial.

A model is a folder with `model.safetensors` and a `config.json` such as

    {"architectures": ["M5"], "labels": ["yes", "no"], "channels": 32, "stride": 16, "sample_rate": 16000}
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from myqasr.core.errors import ModelError
from myqasr.speech.models.base import SAMPLE_RATE, SpeechModel, need_sample_rate
from myqasr.speech.models.classifiers import label_tokens
from myqasr.speech.models.pretrained import fold_batch_norm

FIRST_TAPS, TAPS, POOL = 80, 3, 4
BLOCKS = 4


class M5(nn.Module):
    """Four convolutions, each with batch norm, ReLU and pooling by four; mean over time; linear head."""

    def __init__(self, labels: int, channels: int = 32, stride: int = 16) -> None:
        super().__init__()
        widths = [1, channels, channels, 2 * channels, 2 * channels]
        for block in range(BLOCKS):
            taps, step = (FIRST_TAPS, stride) if block == 0 else (TAPS, 1)
            convolution = nn.Conv1d(widths[block], widths[block + 1], taps, stride=step)
            self.add_module(f"conv{block + 1}", convolution)
            self.add_module(f"bn{block + 1}", nn.BatchNorm1d(widths[block + 1]))
        self.fc1 = nn.Linear(widths[-1], labels)

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, 1, labels]."""
        hidden = waveform[:, None]
        for block in range(1, BLOCKS + 1):
            hidden = self.get_submodule(f"conv{block}")(hidden)
            hidden = self.get_submodule(f"bn{block}")(hidden).relu()
            hidden = pooled(hidden)
        logits: Tensor = self.fc1(hidden.mean(dim=2))
        return logits[:, None]


def pooled(frames: Tensor) -> Tensor:
    """Largest of every four neighbours, [1, channels, frames] -> [1, channels, frames // 4].

    Written as maxima of strided slices: pooling over an unknown number of frames can't be traced.
    """
    last = frames.shape[2] - POOL + 1
    parts = [frames[:, :, at : last + at : POOL] for at in range(POOL)]
    return torch.maximum(torch.maximum(parts[0], parts[1]), torch.maximum(parts[2], parts[3]))


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load a folder as described above; raises UserError when files are missing or don't fit."""
    folder = Path(source)
    config = json.loads((folder / "config.json").read_text())
    need_sample_rate(model_id, config.get("sample_rate", SAMPLE_RATE))
    labels = config.get("labels")
    if not isinstance(labels, list):
        raise ModelError(f"{folder / 'config.json'} has no list of 'labels'")
    stride = config.get("stride", 16)
    model = M5(len(labels), config.get("channels", 32), stride)
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{model_id} can't be loaded as {architecture}: {reason}") from error
    model.eval().requires_grad_(False)
    for block in range(1, BLOCKS + 1):
        fold_batch_norm(model.get_submodule(f"conv{block}"), model.get_submodule(f"bn{block}"))  # type: ignore[arg-type]
        model.set_submodule(f"bn{block}", nn.Identity())
    return SpeechModel(
        model_id=model_id,
        module=model,
        layer_prefix="",
        tokens=label_tokens({label: index for index, label in enumerate(labels)}, source),
        normalize=False,
        stride_samples=stride * POOL**BLOCKS,
        min_samples=shortest_input(stride),
    )


def shortest_input(stride: int) -> int:
    """Samples from which the last pooling still gives one frame."""
    frames = 1
    for _ in range(BLOCKS - 1):
        frames = frames * POOL + TAPS - 1
    return (frames * POOL - 1) * stride + FIRST_TAPS
