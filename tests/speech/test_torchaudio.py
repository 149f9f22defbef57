"""torchaudio's pipelines, by torchaudio's own Python code, in a process of its own.

Its wheel is linked to CUDA: the compiled files are removed, which leaves all that a pipeline needs.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from myqasr.core.errors import UserError
from myqasr.speech.models import load_model
from tests.material.python_layers import ROOT, installed

WHEEL = "torchaudio==2.11.0"

SCRIPT = """
import sys
from pathlib import Path

import torch
import torchaudio
from torchaudio.pipelines import WAV2VEC2_ASR_BASE_960H, Wav2Vec2ASRBundle

from myqasr.speech.models import load_model
from tests.material.round_trips import assert_its_file_computes_the_plan
from tests.material.tiny_models import noise

folder = Path(sys.argv[1])
sizes = dict(
    extractor_mode=sys.argv[2], extractor_conv_layer_config=[(32, 10, 10), (32, 8, 8), (64, 8, 8)],
    extractor_conv_bias=True, encoder_embed_dim=64, encoder_projection_dropout=0.0,
    encoder_pos_conv_kernel=16, encoder_pos_conv_groups=4, encoder_num_layers=2, encoder_num_heads=2,
    encoder_attention_dropout=0.0, encoder_ff_interm_features=128, encoder_ff_interm_dropout=0.0,
    encoder_dropout=0.0, encoder_layer_norm_first=sys.argv[2] == "layer_norm", encoder_layer_drop=0.0,
)
labels = WAV2VEC2_ASR_BASE_960H._labels
bundle = Wav2Vec2ASRBundle(
    "tiny.pth", {**sizes, "aux_num_out": len(labels) + 1}, 16_000,
    sys.argv[2] == "layer_norm", "Wav2Vec2", labels,
)
torchaudio.pipelines.TINY = bundle
torch.manual_seed(0)
# Published weights have three outputs more, which the pipeline removes.
published = torchaudio.models.wav2vec2_model(**sizes, aux_num_out=len(labels) + 4)
checkpoints = folder / "hub" / "checkpoints"
checkpoints.mkdir(parents=True)
torch.save(published.state_dict(), checkpoints / "tiny.pth")

model = load_model("torchaudio:TINY")
theirs = bundle.get_model()
for samples in (1_300, 16_000):
    audio = 0.1 * noise(samples)
    with torch.inference_mode():
        torch.testing.assert_close(model.module(audio), theirs(audio)[0], rtol=1e-3, atol=1e-4)
for name in ("xnnpack", "executorch"):
    assert_its_file_computes_the_plan(model, name, folder, (1_300, 32_000))
print("same text:", model.transcribe(0.1 * noise(16_000)[0].numpy())[:20])
"""


def torchaudio_layer() -> Path:
    """torchaudio without its compiled files."""
    return installed("torchaudio-2.11.0", [WHEEL], without="torchaudio/lib/*.so")


@pytest.mark.parametrize("norm", ["group_norm", "layer_norm"])
def test_a_pipeline_computes_in_its_file_what_torchaudio_computes(norm, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{torchaudio_layer()}",
        "TORCH_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), norm]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "same text:" in done.stdout


def test_a_pipeline_without_torchaudio_says_what_to_install():
    with pytest.raises(UserError, match=r"torchaudio:WAV2VEC2_ASR_BASE_960H needs torchaudio"):
        load_model("torchaudio:WAV2VEC2_ASR_BASE_960H")
