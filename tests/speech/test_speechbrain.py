"""A SpeechBrain savedir, by SpeechBrain's own code, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from myqasr.core.errors import UserError
from myqasr.speech.models import load_model
from tests.material.python_layers import ROOT, installed

PACKAGES = (
    "speechbrain==1.1.2",
    "hyperpyyaml==1.2.3",
    "ruamel.yaml==0.18.16",
    "ruamel.yaml.clib==0.2.15",
    "sentencepiece==0.2.3",
    "joblib==1.6.0",
)

SCRIPT = """
import sys
from pathlib import Path

import torch
from speechbrain.inference.ASR import EncoderASR

from myqasr.speech.models import load_model
from tests.material.round_trips import assert_its_file_computes_the_plan
from tests.speech.test_speechbrain import save_folder
from tests.material.tiny_models import noise

folder = Path(sys.argv[1])
save_folder(folder)
model = load_model(str(folder))
theirs = EncoderASR.from_hparams(source=str(folder), savedir=str(folder / "links"))
for samples in (1_300, 16_000):
    audio = 0.1 * noise(samples)
    with torch.inference_mode():
        expected = theirs.encode_batch(audio, torch.ones(1))
        torch.testing.assert_close(model.module(audio), expected, rtol=1e-3, atol=1e-4)
        words, _ = theirs.transcribe_batch(audio, torch.ones(1))
    assert model.transcribe(audio[0].numpy()) == " ".join(words[0].split()), words
for name in ("xnnpack", "executorch"):
    assert_its_file_computes_the_plan(model, name, folder, (1_300, 32_000))
print("same text and same file")
"""

HYPERPARAMS = """
wav2vec2: !new:speechbrain.integrations.huggingface.wav2vec2.Wav2Vec2
    source: {hub}
    output_norm: True
    freeze: False
    save_path: {hub}
enc: !new:speechbrain.nnet.containers.Sequential
    input_shape: [null, null, 64]
    linear1: !name:speechbrain.nnet.linear.Linear
        n_neurons: 48
        bias: True
    bn1: !name:speechbrain.nnet.normalization.BatchNorm1d
    activation: !new:torch.nn.LeakyReLU
ctc_lin: !new:speechbrain.nnet.linear.Linear
    input_size: 48
    n_neurons: 20
log_softmax: !new:speechbrain.nnet.activations.Softmax
    apply_log: True
encoder: !new:speechbrain.nnet.containers.LengthsCapableSequential
    wav2vec2: !ref <wav2vec2>
    enc: !ref <enc>
    ctc_lin: !ref <ctc_lin>
    log_softmax: !ref <log_softmax>
tokenizer: !new:sentencepiece.SentencePieceProcessor
modules:
    encoder: !ref <encoder>
decoding_function: !name:speechbrain.decoders.ctc_greedy_decode
    blank_id: 0
model: !new:torch.nn.ModuleList
    - [!ref <enc>, !ref <ctc_lin>]
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        wav2vec2: !ref <wav2vec2>
        asr: !ref <model>
        tokenizer: !ref <tokenizer>
"""


def save_folder(folder: Path) -> None:
    """A savedir as SpeechBrain's recipes publish it, tiny and random."""
    import sentencepiece
    import torch
    from hyperpyyaml import load_hyperpyyaml

    from tests.material.model_folders import norm_statistics, save_model

    hub = folder / "hub"
    hub.mkdir()
    save_model("wav2vec2 large", hub)
    (folder / "hyperparams.yaml").write_text(HYPERPARAMS.format(hub=hub))
    words = folder / "words.txt"
    words.write_text("\n".join(["a tale of two cats", "the cat sat", "two hats at sea"] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(words), model_prefix=str(folder / "tokenizer"), vocab_size=20, model_type="unigram",
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer.model").rename(folder / "tokenizer.ckpt")
    built = load_hyperpyyaml((folder / "hyperparams.yaml").read_text())
    for tensor in norm_statistics(built["model"]):
        tensor.add_(0.1 * torch.rand_like(tensor))
    torch.save(built["wav2vec2"].state_dict(), folder / "wav2vec2.ckpt")
    torch.save(built["model"].state_dict(), folder / "asr.ckpt")


def test_a_speechbrain_recogniser_computes_in_its_file_what_speechbrain_computes(tmp_path):
    from tests.speech.test_torchaudio import torchaudio_layer

    layers = [torchaudio_layer(), installed("speechbrain-1.1.2", PACKAGES)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(path) for path in (ROOT, *layers)),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "same text and same file" in done.stdout


def test_a_speechbrain_folder_without_speechbrain_says_what_to_install(tmp_path):
    (tmp_path / "hyperparams.yaml").write_text("modules: {}\n")
    with pytest.raises(UserError, match=r"pip install 'myqasr\[speechbrain\]'"):
        load_model(str(tmp_path))
