"""Whisper folders as people fine-tune and save them: we write what transformers' generate() writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from myqasr.core.errors import ModelError
from myqasr.speech.decoding import ids_to_text, single_spaces
from myqasr.speech.models import load_model
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise
from tests.material.whisper_files import save_ctranslate2


def edit(folder: Path, name: str = "generation_config.json", **changes: Any) -> None:
    """Set values of a JSON file; those that are `...` are taken out."""
    held = {**json.loads((folder / name).read_text()), **changes}
    (folder / name).write_text(
        json.dumps({key: value for key, value in held.items() if value is not ...})
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model("whisper", tmp_path)
    edit(tmp_path, max_length=..., task_to_id=..., suppress_tokens=[])
    return tmp_path


def tokenizer_of(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def add_tokens(folder: Path, tokens: list[Any], special: bool = False) -> None:
    """As a fine-tuning script does: to the tokenizer, and to the embeddings."""
    tokenizer = tokenizer_of(folder)
    tokenizer.add_tokens(tokens, special_tokens=special)
    tokenizer.save_pretrained(folder)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    torch.manual_seed(5)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)


def waveforms() -> list[np.ndarray]:
    return [0.1 * noise(samples)[0].numpy() for samples in (9_000, 20_000, 32_000)]


def theirs(folder: Path, waveform: np.ndarray) -> tuple[list[int], str]:
    """Ids and text of generate() and decode(), nothing of ours."""
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    features = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        ids = model.generate(features, do_sample=False, num_beams=1)[0].tolist()
    return ids, single_spaces(tokenizer_of(folder).decode(ids, skip_special_tokens=True))


def told_english(folder: Path) -> None:
    """Else transformers hears the language of every clip for itself."""
    (transcribe,) = ids_of(folder, "transcribe")
    edit(folder, language="en", task_to_id={"transcribe": transcribe})


def check_same_text(folder: Path) -> None:
    model = load_model(str(folder))
    for waveform in waveforms():
        _, expected = theirs(folder, waveform)
        assert model.transcribe(waveform) == expected


def prompt_of(folder: Path) -> list[str]:
    how = load_model(str(folder)).tokens.autoregression
    assert how is not None
    return list(tokenizer_of(folder).convert_ids_to_tokens(list(how.prompt)))


def ids_of(folder: Path, *names: str) -> list[int]:
    return list(tokenizer_of(folder).convert_tokens_to_ids([f"<|{name}|>" for name in names]))


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_the_language_that_forced_decoder_ids_name_is_written(folder: Path, file: str) -> None:
    german, transcribe, stamps = ids_of(folder, "de", "transcribe", "notimestamps")
    edit(folder, file, forced_decoder_ids=[[1, german], [2, transcribe], [3, stamps]])
    assert prompt_of(folder)[1] == "<|de|>"
    assert load_model(str(folder)).language == "de"
    check_same_text(folder)


def test_language_comes_before_forced_decoder_ids(folder: Path) -> None:
    english, transcribe, stamps = ids_of(folder, "en", "transcribe", "notimestamps")
    forced = [[1, english], [2, transcribe], [3, stamps]]
    edit(
        folder, forced_decoder_ids=forced, language="german", task_to_id={"transcribe": transcribe}
    )
    assert prompt_of(folder)[1] == "<|de|>"


def test_a_task_is_followed(folder: Path) -> None:
    add_tokens(folder, ["<|translate|>"], special=True)
    (translate,) = ids_of(folder, "translate")
    edit(folder, language="german", task="translate", task_to_id={"translate": translate})
    assert prompt_of(folder)[1:3] == ["<|de|>", "<|translate|>"]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"task": "summarise"}, "names the task 'summarise'; Whisper has transcribe, translate"),
        ({"language": "klingon"}, "Whisper has no language 'klingon'"),
        ({"decoder_start_token_id": 7}, r"decoding starts with id 7, the tokenizer's"),
        ({"no_timestamps_token_id": 9}, r"has no_timestamps_token_id 9, the tokenizer's"),
        ({"return_timestamps": True}, "set return_timestamps to false"),
        ({"forced_decoder_ids": [[1, 5]]}, "name `language` and `task` in generation_config.json"),
    ],
)
def test_a_start_that_cannot_be_followed_is_refused(
    folder: Path, changes: dict[str, Any], refusal: str
) -> None:
    edit(folder, **changes)
    with pytest.raises(ModelError, match=refusal) as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)


def test_suppressed_ids_that_do_not_exist_do_nothing(folder: Path) -> None:
    listed = [3, 357, 50_362, -1]
    edit(folder, suppress_tokens=listed, begin_suppress_tokens=[220, 50_256, -7])
    how = load_model(str(folder)).tokens.autoregression
    assert how is not None
    assert (how.suppressed, how.suppressed_first) == ((3,), (220,))
    edit(folder, suppress_tokens=[3], begin_suppress_tokens=[220])  # theirs can't take them
    told_english(folder)
    check_same_text(folder)


@pytest.mark.parametrize("limit", [{"max_new_tokens": 5}, {"max_length": 7}])
def test_limits_of_generation_config_are_kept(folder: Path, limit: dict[str, int]) -> None:
    edit(folder, **limit)
    told_english(folder)
    check_same_text(folder)


@pytest.mark.parametrize("ends", [[256, 175], 175, [175, 144], [175], [256, 99_999, 175]])
def test_any_of_several_end_tokens_ends_the_text(folder: Path, ends: int | list[int]) -> None:
    edit(folder, eos_token_id=ends)
    told_english(folder)
    _, text = theirs(folder, waveforms()[0])
    edit(folder, eos_token_id=256)
    _, longer = theirs(folder, waveforms()[0])
    assert len(text) < len(longer)
    edit(folder, eos_token_id=ends)
    check_same_text(folder)


ADDED: dict[str, tuple[list[Any], bool]] = {
    "a word": (["Evangelium"], False),
    "another script": (["евангелие", "naïve"], False),
    "special": (["<sep>", "[noise]"], True),
    "not special": (["<|speaker|>", "[laugh]"], False),
}


@pytest.mark.parametrize("kind", ADDED)
def test_added_tokens_write_what_the_tokenizer_says(folder: Path, kind: str) -> None:
    tokens, special = ADDED[kind]
    add_tokens(folder, tokens, special)
    check_same_decoding(folder)


def check_same_decoding(folder: Path, first: tuple[int, ...] = ()) -> None:
    """Any ids, behind the first: our text is that of decode() without special tokens."""
    tokens, tokenizer = load_model(str(folder)).tokens, tokenizer_of(folder)
    draw = np.random.default_rng(0)
    for length in range(1, 40):
        ids = [*first, *draw.integers(0, len(tokenizer), length).tolist()]
        expected = single_spaces(tokenizer.decode(ids, skip_special_tokens=True).strip())
        assert ids_to_text(ids, tokens) == expected


def own_tokenizer(folder: Path, model: Any, decoder: Any) -> None:
    """A tokenizer that isn't OpenAI's, with Whisper's special tokens added."""
    from tokenizers import Tokenizer

    library = Tokenizer(model)
    library.decoder = decoder
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=library, unk_token="<unk>")
    names = ("endoftext", "startoftranscript", "en", "de", "transcribe", "notimestamps")
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    for path in folder.glob("*token*"):
        path.unlink()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    whisper = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    whisper.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    start, english, stamps, end = ids_of(
        folder, "startoftranscript", "en", "notimestamps", "endoftext"
    )
    whisper.generation_config = transformers.GenerationConfig(
        is_multilingual=True, lang_to_id={"<|en|>": english}, no_timestamps_token_id=stamps,
        decoder_start_token_id=start, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    whisper.config.decoder_start_token_id, whisper.config.eos_token_id = start, end
    whisper.config.pad_token_id = whisper.config.bos_token_id = end
    whisper.save_pretrained(folder)


def test_tokenizers_of_other_kinds_write_their_own_text(folder: Path) -> None:
    from tokenizers import decoders, models

    words = ["<unk>", *(f"▁{word}" for word in ("and", "classes", "are", "we", "naïve")), "s", "▁"]
    own_tokenizer(
        folder, models.Unigram([(word, -1.0) for word in words], 0, False), decoders.Metaspace()
    )
    check_same_decoding(folder)
    pieces = ["<unk>", "j", "k", "##j", "##ung", "we", "naïve", "."]
    own_tokenizer(
        folder,
        models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="<unk>"),
        decoders.WordPiece(),
    )
    check_same_decoding(folder, first=(1,))


def test_a_padded_head_writes_nothing_for_ids_that_no_token_has(folder: Path) -> None:
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    model.resize_token_embeddings(pad_to_multiple_of=64, mean_resizing=False)
    model.save_pretrained(folder)
    loaded = load_model(str(folder))
    how = loaded.tokens.autoregression
    assert how is not None
    assert set(range(262, 320)) <= set(how.suppressed)
    assert all(isinstance(loaded.transcribe(waveform), str) for waveform in waveforms())


def test_a_tokenizer_one_larger_than_the_head_is_taken(folder: Path) -> None:
    tokenizer = tokenizer_of(folder)
    tokenizer.add_tokens(["never trained"])
    tokenizer.save_pretrained(folder)
    told_english(folder)
    check_same_text(folder)


@pytest.mark.parametrize("mels", [128, 40])
def test_mels_that_two_files_tell_differently_are_refused(folder: Path, mels: int) -> None:
    transformers.WhisperFeatureExtractor(mels, chunk_length=2).save_pretrained(folder)
    with pytest.raises(
        ModelError, match=rf"has feature_size {mels}, config.json num_mel_bins 80; copy the"
    ):
        load_model(str(folder))


def test_an_adapter_beside_the_weights_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    save_file({"a": torch.ones(1)}, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"an adapter that isn't merged .*merge_and_unload"):
        load_model(str(folder))


def test_lora_weights_of_a_peft_model_saved_whole_are_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    renamed = {
        "base_model.model." + name.replace("q_proj.", "q_proj.base_layer."): tensor
        for name, tensor in state.items()
    }
    renamed["base_model.model.model.decoder.layers.0.self_attn.q_proj.lora_A.default.weight"] = (
        torch.ones(2, 64)
    )
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="merge_and_unload"):
        load_model(str(folder))


def test_an_english_only_model_is_told_neither_language_nor_task() -> None:
    how = load_model("whisper-tiny.en").tokens.autoregression
    assert how is not None
    assert how.prompt == (50_257, 50_362)


def test_added_tokens_of_a_folder_of_faster_whisper_write_what_its_tokenizer_says(
    folder: Path,
) -> None:
    add_tokens(folder, ["naïve", "<|speaker|>"])
    add_tokens(folder, ["[noise]"], special=True)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    save_ctranslate2(folder, model, folder / "ct2")
    assert load_model(str(folder / "ct2")).tokens.symbols == load_model(str(folder)).tokens.symbols


def test_a_matrix_that_head_and_embedding_share_is_counted_once(folder: Path) -> None:
    model = load_model(str(folder))
    every = sum(weight.numel() for weight in model.module.parameters())
    assert model.float_bytes() == 4 * (every - 262 * 64)
