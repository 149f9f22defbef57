"""Files of rivals that we write ourselves: a wrong byte would make a rival worse than it is."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.peers.blocks import FORMATS
from benchmarks.peers.ctranslate2_int8 import write_int8
from benchmarks.peers.ggml import write_ggml
from benchmarks.peers.onnx_int8 import Decoder, Encoder
from benchmarks.peers.workers.mel import log_mel
from myqasr.speech.models import load_model
from myqasr.speech.models.whisper import ctranslate2
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise
from tests.material.whisper_files import ctranslate2_variables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("whisper")
    save_model("whisper", path)
    return path


@pytest.fixture(scope="module")
def stored(folder):
    return transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()


RAMP = np.arange(-48, 48, dtype=np.float32).reshape(3, 32) / 7
RAMP[1] = 0
LIBRARY = {
    "q4_0": "db3a30303031314141414142425252525253008088888888888888888888888888888888b7ba3525"
    "2525252424141414141313030303",
    "q4_1": "b934dbc680809191a2a2b3b3c4c4d5d5e6e6f7f7000000000000000000000000000000000000"
    "0000b934924080809191a2a2b3b3c4c4d5d5e6e6f7f7",
    "q5_1": "9230dbc60000ffff00112233445566778899aabbccddeeff0000000000000000000000000000"
    "00000000000000000000923092400000ffff00112233445566778899aabbccddeeff",
    "q5_0": "db360000000050606161717272828383939494a4a5a50080ffffffff000000000000000000000000"
    "00000000b7b6000000005b5a4a4a493939382827271716160605",
    "q8_0": "e92a818486898c8e919496999b9ea1a3a6a9abaeb1b3b6b9bbbec0c3c6c8cbced0d3000000000000"
    "00000000000000000000000000000000000000000000000000000000c42a2b2e313336393b3e4144"
    "46494c4e515456595c5f616467696c6f7174777a7c7f",
}
"""What ggml 0.13.1 (`ggml_quantize_chunk`) makes of `RAMP`; of a block of zeros, float16 -0 is 0080."""
LIBRARY_NORMAL = {
    "q4_0": "6101673c81070b28",
    "q4_1": "6584dbd3caeb886e",
    "q5_0": "c914d38358e35e47",
    "q5_1": "361c466ce14a31af",
    "q8_0": "3c6c2b7af6b8e44d",
}
"""The beginning of the sha256 of what it makes of normal weights."""


@pytest.mark.parametrize("name", LIBRARY)
def test_blocks_are_the_librarys_to_the_byte(name):
    assert FORMATS[name].encode(RAMP).hex() == LIBRARY[name]
    weights = np.random.default_rng(0).standard_normal((256, 384)) * 0.05
    weights = weights.astype(np.float32)
    weights[3, :32] = 0
    encoded = FORMATS[name].encode(weights)
    assert len(encoded) == weights.size // 32 * FORMATS[name].block_bytes
    assert hashlib.sha256(encoded).hexdigest()[:16] == LIBRARY_NORMAL[name]


@given(arrays(np.float32, (2, 32), elements=st.floats(-8, 8, width=32)))
def test_no_weight_moves_further_than_one_step(weights):
    for name, levels in (("q4_0", 8), ("q5_0", 16), ("q8_0", 127)):
        size = FORMATS[name].block_bytes
        blocks = np.frombuffer(FORMATS[name].encode(weights), np.uint8).reshape(-1, size)
        scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        if name == "q8_0":
            codes = blocks[:, 2:].view(np.int8).astype(np.float32)
        else:
            packed = blocks[:, -16:]
            codes = np.concatenate((packed & 15, packed >> 4), axis=1).astype(np.float32)
            if name == "q5_0":
                codes += 16 * np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little")
            codes -= levels
        moved = np.abs(scales * codes - weights)
        largest = np.abs(weights).max(axis=1, keepdims=True)
        assert (moved <= largest / levels * 1.01 + 2e-5).all()


def test_a_ggml_file_has_one_type_of_weights_and_ends_with_its_last_tensor(
    stored, folder, tmp_path
):
    model = load_model(str(folder))
    state = {
        name: tensor.numpy()
        for name, tensor in stored.state_dict().items()
        if name != "proj_out.weight"
    }
    path = tmp_path / "ggml.bin"
    mels = stored.config.num_mel_bins
    filters, heads = np.ones((mels, 201), np.float32), stored.config.encoder_attention_heads
    write_ggml(path, state, heads, filters, model.tokens.symbols, FORMATS["q8_0"])
    tensors = tensors_of(path, mels)
    assert len(tensors) == len(state)
    width = stored.config.d_model
    assert tensors["decoder.token_embedding.weight"] == (8, (width, stored.config.vocab_size))
    assert tensors["encoder.blocks.0.attn.query.weight"] == (8, (width, width))
    assert tensors["encoder.conv1.weight"] == (1, (3, mels, width))
    assert tensors["encoder.conv1.bias"] == (0, (1, width))
    assert tensors["decoder.positional_embedding"][0] == 0
    assert tensors["decoder.blocks.0.cross_attn_ln.bias"] == (0, (width,))
    assert {name.split(".")[0] for name in tensors} == {"encoder", "decoder"}


def tensors_of(path: Path, mels: int) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Type and sizes by name; fails where the bytes don't end with a tensor."""
    data = path.read_bytes()
    magic, *sizes = struct.unpack_from("<I11i", data)
    assert (magic, sizes[9], sizes[10]) == (0x67676D6C, mels, 2007)
    place = 48
    assert struct.unpack_from("<2i", data, place) == (mels, 201)
    place += 8 + 4 * mels * 201
    (count,) = struct.unpack_from("<i", data, place)
    place += 4
    for _ in range(count):
        place += 4 + struct.unpack_from("<I", data, place)[0]
    size_of = {0: 4, 1: 2, 8: 34 / 32}
    found = {}
    while place < len(data):
        rank, length, kind = struct.unpack_from("<3i", data, place)
        shape = struct.unpack_from(f"<{rank}i", data, place + 12)
        place += 12 + 4 * rank
        name = data[place : place + length].decode()
        place += length + int(np.prod(shape) * size_of[kind])
        found[name] = kind, shape
    assert place == len(data)
    return found


def test_an_int8_model_bin_reads_back_as_the_weights_it_was_made_of(stored, tmp_path):
    variables = ctranslate2_variables(stored)
    path = tmp_path / "model.bin"
    write_int8(path, variables)
    again = ctranslate2.read_variables([path])
    assert again["decoder/embeddings/weight"].dtype == np.int8
    assert again["encoder/conv1/weight"].dtype == np.int8
    state = ctranslate2.state_dict(again, "model.bin")
    expected = ctranslate2.state_dict(variables, "model.bin")
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        rows = tensor.reshape(len(tensor), -1)
        step = rows.abs().amax(1, keepdim=True) / 127 if tensor.ndim > 1 else torch.zeros(1)
        moved = (state[name].reshape(rows.shape) - rows).abs() - 0.51 * step
        assert moved.max() < 1e-7, name


def test_the_rivals_get_whispers_own_features():
    extractor = transformers.WhisperFeatureExtractor()
    waveform = noise(40_000)[0].numpy()
    expected = extractor(waveform, sampling_rate=16_000, return_tensors="np")["input_features"][0]
    found = log_mel(waveform, extractor.mel_filters.T.astype(np.float32))
    assert found.shape == expected.shape == (80, 3000)
    assert np.abs(found - expected).max() < 1e-3


def test_the_two_halves_for_onnx_compute_what_the_model_does(folder):
    model = load_model(str(folder))
    module, features = model.module, model.features(noise(32_000)[0].numpy())
    ids = [*model.tokens.autoregression.prompt, 5, 7, 70]
    with torch.inference_mode():
        expected = module(features, torch.tensor([ids]))[0]
        mel = module.log_mel(features).transpose(1, 2)
        heard = Encoder(module)(mel)
        heads, _, size = heard[1].shape
        kept = tuple(torch.zeros(heads, 0, size) for _ in heard)
        decoder, rows = Decoder(module), []
        for position, token in enumerate(ids):
            row, *kept = decoder(torch.tensor([[token]]), torch.tensor([position]), *kept, *heard)
            rows.append(row[0])
    found = torch.stack(rows[len(model.tokens.autoregression.prompt) - 1 :])
    assert torch.allclose(found, expected, atol=1e-4)
