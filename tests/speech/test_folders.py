"""Model folders as people save them: our text is transformers' own, or the way out is named in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from myqasr.core.errors import ModelError, UserError
from myqasr.speech.decoding import collapse, ids_to_text, single_spaces
from myqasr.speech.models import load_model
from tests.material.recordings import talk
from tests.material.tiny_models import noise

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
USUAL = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
EXTRACTOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "do_normalize": True,
    "sampling_rate": 16000,
    "feature_size": 1,
}


def save_ctc(
    folder: Path,
    symbols: list[str],
    blank: str = "<pad>",
    outputs: int | None = None,
    named: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A tiny wav2vec 2.0 whose every frame writes something else, with a vocabulary of these symbols."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    count = len(symbols) if outputs is None else outputs
    options = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16, 16),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        vocab_size=count,
        pad_token_id=symbols.index(blank),
        **config,
    )
    model = transformers.Wav2Vec2ForCTC(options)
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({s: i for i, s in enumerate(symbols)}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "Wav2Vec2CTCTokenizer",
                "pad_token": blank,
                "word_delimiter_token": "|",
                **(named or {}),
            }
        )
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR))
    return folder


def their_text(folder: Path, waveform: np.ndarray, **options: Any) -> str:
    """By transformers alone: its model, its feature extractor, its tokenizer's decode."""
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder, **options).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    lang = {"target_lang": options["target_lang"]} if options else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **lang)
    values = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        best = model(values).logits[0].argmax(-1)
    return single_spaces(tokenizer.decode(best))


def same_text(folder: Path) -> str:
    """Our text, after it was seen to be theirs."""
    waveform = (0.1 * noise(8_000)[0].numpy() + talk(0.5)).astype(np.float32)
    found = load_model(str(folder)).transcribe(waveform)
    assert found == their_text(folder, waveform)
    assert len(found) > 5
    return found


VOCABULARIES: dict[str, tuple[list[str], str, dict[str, Any]]] = {
    "usual": (USUAL, "<pad>", {}),
    "blank last": ([*USUAL[1:], "[PAD]"], "[PAD]", {"unk_token": "<unk>"}),
    "blank _": (["_", "|", "<unk>", *LETTERS], "_", {}),
    "blank in the middle": (["a", "b", "<blank>", "|", "<unk>", "c", "d", "e"], "<blank>", {}),
    "blank <ctc>": (["|", "<unk>", *LETTERS, "<ctc>"], "<ctc>", {}),
    **{
        f"delimiter {mark}": (["<pad>", "<unk>", mark, *LETTERS], "<pad>", {"word_delimiter_token": mark})
        for mark in ("<space>", "[SPACE]", " ")
    },
    "lower case": (["<pad>", "<unk>", "|", *LETTERS.upper()], "<pad>", {"do_lower_case": True}),
    "tidied": (["<pad>", "<unk>", "|", *".,!?'smabc"], "<pad>", {"clean_up_tokenization_spaces": True}),
    "tags": (["<pad>", "|", "<unk>", "[noise]", "<laugh>", *"abcdefg"], "<pad>", {}),
    "phonemes": (
        ["<pad>", "<s>", "</s>", "<unk>", "ɐ", "tʃ", "aɪ", "n", "s", "ə", "l"],
        "<pad>",
        {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "word_delimiter_token": None},
    ),
    "any script": (["<pad>", "<unk>", "|", *"अआइईउऊ日本語ёжąęñ", "क्ष", "\u3000"], "<pad>", {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_text_is_the_tokenizers_own_whatever_it_calls_blank_and_space(
    tmp_path: Path, kind: str
) -> None:
    symbols, blank, named = VOCABULARIES[kind]
    same_text(save_ctc(tmp_path, symbols, blank, named=named))


def test_tokens_in_added_tokens_json_count(tmp_path: Path) -> None:
    base = ["<pad>", "<unk>", "|", *LETTERS]
    save_ctc(tmp_path, base, outputs=len(base) + 2)
    added = {"<s>": len(base), "</s>": len(base) + 1}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    same_text(tmp_path)


@pytest.mark.parametrize("multiple", [8, 64])
def test_a_padded_head_is_taken(tmp_path: Path, multiple: int) -> None:
    outputs = -(-len(USUAL) // multiple) * multiple
    save_ctc(tmp_path, [*USUAL, "é"], outputs=max(outputs, len(USUAL) + multiple))
    state = load_file(tmp_path / "model.safetensors")
    state["lm_head.bias"][len(USUAL) + 1 :] = -100  # as training leaves what is never right
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    same_text(tmp_path)


def test_a_tokenizer_and_a_configuration_that_disagree_about_the_blank_are_refused(
    tmp_path: Path,
) -> None:
    save_ctc(tmp_path, USUAL)
    edit(tmp_path / "config.json", pad_token_id=4)
    with pytest.raises(
        ModelError, match=r"config\.json says that the CTC blank is id 4 .* it is 0"
    ):
        load_model(str(tmp_path))


def edit(path: Path, **changes: Any) -> None:
    held = json.loads(path.read_text())
    held.update(changes)
    path.write_text(json.dumps({k: v for k, v in held.items() if v != "gone"}))


@pytest.mark.parametrize("named", ["gone", None, [], ["Wav2Vec2ForPreTraining"], ["MyModel"]])
def test_a_configuration_that_names_no_class_of_ours_is_known_by_its_type(
    tmp_path: Path, named: object
) -> None:
    edit(save_ctc(tmp_path, USUAL) / "config.json", architectures=named)
    same_text(tmp_path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_names_that_training_programs_prefix_are_read(
    tmp_path: Path, prefix: str, wrapper: str | None
) -> None:
    save_ctc(tmp_path, USUAL)
    expected = same_text(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    renamed = {prefix + name: tensor for name, tensor in state.items()}
    if wrapper is None:
        save_file(renamed, tmp_path / "model.safetensors", {"format": "pt"})
    else:
        (tmp_path / "model.safetensors").unlink()
        torch.save({wrapper: renamed, "epoch": 3}, tmp_path / "pytorch_model.bin")
    waveform = (0.1 * noise(8_000)[0].numpy() + talk(0.5)).astype(np.float32)
    assert load_model(str(tmp_path)).transcribe(waveform) == expected


def test_a_vocabulary_by_language_is_that_of_the_language_with_its_adapter(tmp_path: Path) -> None:
    nested = {
        "eng": {s: i for i, s in enumerate(USUAL)},
        "fra": {s: i for i, s in enumerate([*USUAL, "é", "à"])},
    }
    save_ctc(tmp_path, USUAL, adapter_attn_dim=4)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path)
    torch.manual_seed(1)
    adapter = {
        name: torch.randn_like(tensor)
        for name, tensor in model.state_dict().items()
        if "adapter_layer" in name
    }
    adapter["lm_head.weight"] = 30 * torch.randn(len(USUAL) + 2, 16)
    adapter["lm_head.bias"] = torch.zeros(len(USUAL) + 2)
    save_file(adapter, tmp_path / "adapter.fra.safetensors", {"format": "pt"})
    (tmp_path / "vocab.json").write_text(json.dumps(nested))
    edit(tmp_path / "tokenizer_config.json", target_lang="eng")
    same_text(tmp_path)
    waveform = (0.1 * noise(8_000)[0].numpy() + talk(0.5)).astype(np.float32)
    theirs = their_text(tmp_path, waveform, target_lang="fra", ignore_mismatched_sizes=True)
    assert load_model(f"{tmp_path}?language=fra").transcribe(waveform) == theirs
    with pytest.raises(ModelError, match=r"deu isn't among them; name one as .*: eng, fra"):
        load_model(f"{tmp_path}?language=deu")
    edit(tmp_path / "tokenizer_config.json", target_lang="gone")
    with pytest.raises(ModelError, match="none isn't among them"):
        load_model(str(tmp_path))


def broken_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def only_adapter(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"")


def cut(folder: Path, keep: float) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def more_weights(folder: Path, name: str) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, name: torch.ones(2)}, folder / "model.safetensors", {"format": "pt"})


def write(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no vocabulary": (lambda f: (f / "vocab.json").unlink(), "says what its outputs write; put the"),
    "empty vocabulary": (write("vocab.json", b"{}"), "the head has 32 outputs but the tokenizer 5"),
    "vocabulary is a web page": (write("vocab.json", b"<html>"), r"vocab\.json is a web page"),
    "vocabulary isn't JSON": (write("vocab.json", b"{"), r"vocab\.json is not JSON.*fetch it"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.save_pretrained"),
    "only a training checkpoint": (
        lambda f: (f / "model.safetensors").rename(f / "last.ckpt"),
        r"last\.ckpt is a training program's own file",
    ),
    "LFS pointer": (
        write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "pointer of Git LFS.*git lfs pull",
    ),
    "LFS pointer .bin": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            (f / "pytorch_model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        ),
        "pointer of Git LFS",
    ),
    "web page": (write("model.safetensors", b"\n<!DOCTYPE html><html>"), "is a web page"),
    "empty": (write("model.safetensors", b""), r"model\.safetensors is empty"),
    "half": (lambda f: cut(f, 0.5), "cut off or damaged"),
    "header only": (lambda f: cut(f, 0.001), "cut off or damaged"),
    "a part is missing": (broken_index, r"model-00001-of-00002\.safetensors is missing"),
    "bitsandbytes": (
        lambda f: edit(f / "config.json", quantization_config={"quant_method": "bitsandbytes"}),
        r"quantised already \(bitsandbytes\); pass the float checkpoint",
    ),
    "integers without a word": (
        lambda f: save_file(
            {
                name: tensor.to(torch.int8) if tensor.dim() == 2 else tensor
                for name, tensor in load_file(f / "model.safetensors").items()
            },
            f / "model.safetensors",
        ),
        r"holds I8, no float numbers: its weights are quantised already",
    ),
    "whole objects": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            torch.save(torch.nn.Linear(2, 2), f / "pytorch_model.bin"),
        ),
        r"holds more than weights \(Python objects, which would run as code\)",
    ),
    "adapter beside": (write("adapter_config.json", b"{}"), "isn't merged.*merge_and_unload"),
    "adapter alone": (only_adapter, "adapter without its model.*merge_and_unload"),
    "lora in the weights": (
        lambda f: more_weights(f, "wav2vec2.encoder.layers.0.attention.q_proj.lora_A.weight"),
        "adapter that isn't merged",
    ),
    "unexpected weight": (
        lambda f: more_weights(f, "my_head.weight"),
        r"1 weights belong to no layer of Wav2Vec2ForCTC \(my_head\.weight\)",
    ),
    "another size": (lambda f: edit(f / "config.json", intermediate_size=24), "config.json makes it"),
    "CTranslate2's pointer": (write("model.bin", b"version https://git-lfs"), "pointer of Git LFS"),
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json in it"),
    "config isn't JSON": (write("config.json", b"{"), "not valid JSON"),
    "config is a list": (write("config.json", b"[]"), "not valid JSON"),
    "no preprocessor": (lambda f: (f / "preprocessor_config.json").unlink(), "says how audio becomes input"),
    "another rate": (
        lambda f: edit(f / "preprocessor_config.json", sampling_rate=8000),
        "wants 8000 Hz",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_loaded_says_in_one_line_what_mends_it(tmp_path: Path, fault: str) -> None:
    spoil, expected = REFUSED[fault]
    spoil(save_ctc(tmp_path, USUAL))
    with pytest.raises(UserError, match=expected) as caught:
        load_model(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_any_path_is_written_as_the_tokenizer_decodes_it(tmp_path: Path, kind: str) -> None:
    symbols, blank, named = VOCABULARIES[kind]
    tokens = load_model(str(save_ctc(tmp_path, symbols, blank, named=named))).tokens
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    draw = np.random.default_rng(0)
    for length in range(60):
        path = np.repeat(draw.integers(0, len(symbols), length), draw.integers(1, 4, length))
        assert tokens.blank is not None
        found = ids_to_text(collapse(path, tokens.blank), tokens)
        expected = single_spaces(tokenizer.decode(path.tolist())) if length else ""
        assert found == expected


def test_a_folder_is_read_as_it_was_after_it_is_copied(tmp_path: Path) -> None:
    save_ctc(tmp_path / "a", USUAL)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert load_model(str(tmp_path / "b")).tokens == load_model(str(tmp_path / "a")).tokens
