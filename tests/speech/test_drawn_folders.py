"""Whole model folders drawn at random: our text is transformers' own, or one line says what mends them.

A folder is drawn in three steps: what it holds (read by transformers as it is: the reference), how it is
packed (which may not change the text), and at most one fault.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from myqasr.core.errors import UserError
from myqasr.speech.decoding import single_spaces
from myqasr.speech.models import load_model
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise
from tests.speech.test_folders import VOCABULARIES, edit, save_ctc, their_text
from tests.speech.whisper import test_whisper_folders as whispers

Step = Callable[[Path, st.DataObject], None]

FOLDERS = {"ctc": 40, "whisper": 12}
"""How many of each kind are drawn in each test; as many times more as MYQASR_DRAWN says."""


def drawn(kind: str) -> settings:
    return settings(
        max_examples=FOLDERS[kind] * int(os.environ.get("MYQASR_DRAWN", "1")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        derandomize="MYQASR_DRAWN" not in os.environ,
    )


WAY_OUT = re.compile(
    r"\b(pass|put|fetch|fetches|write|merge|set|name|take|leave|use|pull|load|copy|delete)\b"
)
WEIGHTS = "model.safetensors"


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / WEIGHTS))


def put(folder: Path, state: dict[str, torch.Tensor]) -> None:
    held = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(held, folder / WEIGHTS, {"format": "pt"})


# ---- what a folder holds ------------------------------------------------------------------------------


def any_ctc(folder: Path, data: st.DataObject) -> None:
    """A vocabulary, perhaps with tokens that were added later and a padded head."""
    kind = data.draw(st.sampled_from(sorted(VOCABULARIES)))
    symbols, blank, named = VOCABULARIES[kind]
    added = data.draw(st.lists(st.sampled_from(["<s>", "</s>", "é", "[noise]"]), unique=True))
    added = [token for token in added if token not in symbols and "Phoneme" not in str(named)]
    multiple = data.draw(st.sampled_from([1, 8, 64]))
    count = len(symbols) + len(added)
    outputs = -(-count // multiple) * multiple
    save_ctc(folder, symbols, blank, outputs, named)
    if added:
        ids = {token: len(symbols) + place for place, token in enumerate(added)}
        (folder / "added_tokens.json").write_text(json.dumps(ids))
    state = weights_of(folder)
    state["lm_head.bias"][count:] = -1000
    put(folder, state)


def any_whisper(folder: Path, data: st.DataObject) -> None:
    """What generation_config.json may say, and tokens that were added."""
    save_model("whisper", folder)
    whispers.edit(folder, max_length=..., task_to_id=..., suppress_tokens=[])
    if data.draw(st.booleans()):
        added = st.sampled_from(["Evangelium", "naïve", "<|speaker|>", "[laugh]", "<sep>"])
        words = data.draw(st.lists(added, min_size=1, max_size=3, unique=True))
        whispers.add_tokens(folder, words, special=data.draw(st.booleans()))
    outputs = len(whispers.tokenizer_of(folder))
    ids = st.integers(0, outputs - 1)
    few = st.lists(ids, max_size=3, unique=True)
    told = {
        "suppress_tokens": few,
        "begin_suppress_tokens": few,
        "max_new_tokens": st.integers(2, 15),
        "eos_token_id": st.lists(ids, min_size=1, max_size=3, unique=True),
        "num_beams": st.just(1),
    }
    for name in data.draw(st.lists(st.sampled_from(sorted(told)), unique=True)):
        whispers.edit(folder, **{name: data.draw(told[name], label=name)})
    transcribe, stamps = whispers.ids_of(folder, "transcribe", "notimestamps")
    code, name = data.draw(st.sampled_from([("en", "english"), ("de", "german"), ("de", "de")]))
    (language,) = whispers.ids_of(folder, code)
    lang_to_id = {f"<|{code}|>": language}
    if data.draw(st.booleans(), label="by forced ids"):
        forced = [[1, language], [2, transcribe], [3, stamps]]
        file = data.draw(st.sampled_from(["generation_config.json", "config.json"]))
        whispers.edit(folder, file, forced_decoder_ids=forced)
    else:
        task = {"transcribe": transcribe}
        whispers.edit(folder, language=name, task_to_id=task, lang_to_id=lang_to_id)


# ---- how it is packed ---------------------------------------------------------------------------------


def as_half(folder: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float64]))
    put(folder, {name: tensor.to(kind) for name, tensor in weights_of(folder).items()})


def without_class(folder: Path, data: st.DataObject) -> None:
    named: list[object] = ["gone", None, [], ["MyModel"]]
    edit(folder / "config.json", architectures=data.draw(st.sampled_from(named)))


def prefixed(folder: Path, data: st.DataObject) -> None:
    kinds = ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_forward_module."]
    prefix = data.draw(st.sampled_from(kinds))
    put(folder, {prefix + name: tensor for name, tensor in weights_of(folder).items()})


def only_training(folder: Path, data: st.DataObject) -> None:
    put(folder, {**weights_of(folder), "quantizer.codevectors": torch.ones(2)})


def with_litter(folder: Path, data: st.DataObject) -> None:
    """What lies in a folder of the Trainer, or of a clone."""
    names = (
        "README.md",
        "training_args.bin",
        "optimizer.pt",
        "trainer_state.json",
        ".gitattributes",
    )
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)):
        (folder / name).write_bytes(b"{}")


def sharded(folder: Path, data: st.DataObject) -> None:
    state = weights_of(folder)
    names = sorted(state)
    cut = data.draw(st.integers(1, len(names) - 1))
    parts = (names[:cut], names[cut:])
    suffix, stem = data.draw(
        st.sampled_from([(".safetensors", "model"), (".bin", "pytorch_model")])
    )
    where = {}
    for place, part in enumerate(parts, 1):
        file = f"{stem}-0000{place}-of-00002{suffix}"
        held = {name: state[name].contiguous() for name in part}
        if suffix == ".bin":
            torch.save(held, folder / file)
        else:
            save_file(held, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
    (folder / WEIGHTS).unlink()


def pickled(folder: Path, data: st.DataObject) -> None:
    wrapper = data.draw(st.sampled_from([None, "state_dict", "model", "model_state_dict"]))
    state: dict[str, Any] = weights_of(folder)
    held = state if wrapper is None else {wrapper: state, "epoch": 3, "args": {"lr": 0.1}}
    torch.save(held, folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


LOOSE: tuple[Step, ...] = (without_class, prefixed, only_training, with_litter)
ENDING: tuple[Step, ...] = (sharded, pickled)
"""After these the weights lie elsewhere."""


# ---- what is wrong with it ----------------------------------------------------------------------------


def replaced(folder: Path, data: st.DataObject) -> None:
    """A file that git, a server or a disk left instead of what it was."""
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    whole = path.read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    others = st.sampled_from(
        [pointer, b"<!DOCTYPE html><html></html>", b"", b"\0" * 64, b"null", b"[]"]
    )
    keep = st.integers(0, len(whole) - 1).map(lambda length: whole[:length])
    path.write_bytes(data.draw(others | keep))


def removed(folder: Path, data: st.DataObject) -> None:
    data.draw(st.sampled_from(sorted(folder.iterdir()))).unlink()


def quantised(folder: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["bitsandbytes", "gptq", "awq", "quanto", "fp8"]))
    edit(folder / "config.json", quantization_config={"quant_method": kind, "load_in_8bit": True})


def adapter(folder: Path, data: st.DataObject) -> None:
    if data.draw(st.booleans(), label="alone"):
        for path in folder.iterdir():
            path.unlink()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file(
        {"base_model.model.x.lora_A.weight": torch.ones(1)}, folder / "adapter_model.safetensors"
    )


def other_weights(folder: Path, data: st.DataObject) -> None:
    """One more, one fewer, one of another shape, one that isn't finite."""
    if not (folder / WEIGHTS).is_file():
        return
    state = weights_of(folder)
    name = data.draw(st.sampled_from(sorted(state)))
    fault = data.draw(st.sampled_from(["more", "fewer", "shape", "nan", "lora"]))
    if fault in ("more", "lora"):
        state[f"{name}.lora_A.weight" if fault == "lora" else "my_head.weight"] = torch.ones(2)
    elif fault == "fewer":
        del state[name]
    elif fault == "shape":
        state[name] = torch.ones(3, 1)
    else:
        state[name] = torch.full_like(state[name], torch.nan)
    put(folder, state)


def said_otherwise(folder: Path, data: st.DataObject) -> None:
    """A value of one of its JSON files that is of another type, or gone."""
    path = data.draw(st.sampled_from(sorted(folder.glob("*.json"))))
    held = json.loads(path.read_text())
    if isinstance(held, dict) and held:
        key = data.draw(st.sampled_from(sorted(held)))
        values: list[object] = [
            "gone",
            None,
            [],
            {},
            "x",
            -1,
            10**9,
            0.5,
            True,
            [[]],
            {"a": [None]},
        ]
        edit(path, **{key: data.draw(st.sampled_from(values))})


FAULTS: tuple[Step, ...] = (
    *(replaced, removed, quantised, adapter, other_weights, said_otherwise),
)


# ---- the tests ----------------------------------------------------------------------------------------


def packed(folder: Path, data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.sampled_from(LOOSE), max_size=3, unique=True))
    last = data.draw(st.sampled_from([None, *ENDING]))
    for step in (*steps, *(() if last is None else (last,))):
        note(step.__name__)
        step(folder, data)


def heard() -> np.ndarray:
    waveform: np.ndarray = 0.1 * noise(9_000)[0].numpy()
    return waveform


def by_transformers(kind: str, folder: Path) -> str:
    if kind == "ctc":
        return their_text(folder, heard())
    return whispers.theirs(folder, heard())[1].strip()


KINDS: dict[str, Step] = {"ctc": any_ctc, "whisper": any_whisper}


@pytest.mark.parametrize("kind", KINDS)
def test_any_folder_however_packed_gives_the_text_of_transformers(kind: str) -> None:
    drawn(kind)(given(st.data())(lambda data: check_packed(kind, data)))()


def check_packed(kind: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        KINDS[kind](folder, data)
        rounded = data.draw(st.booleans(), label="as half")
        if rounded:
            as_half(folder, data)
        expected = by_transformers(kind, folder)
        packed(folder, data)
        found = load_model(str(folder)).transcribe(heard())
        assert single_spaces(found) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_any_folder_with_a_fault_is_read_right_or_refused_in_one_line(kind: str) -> None:
    drawn(kind)(given(st.data())(lambda data: check_fault(kind, data)))()


def check_fault(kind: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        KINDS[kind](folder, data)
        if data.draw(st.booleans()):
            sharded(folder, data)
        fault = data.draw(st.sampled_from(FAULTS))
        fault(folder, data)
        try:
            found = load_model(str(folder)).transcribe(heard())
        except UserError as error:
            message = str(error)
            assert "\n" not in message
            assert place in message, message
            assert WAY_OUT.search(message), message
            return
        # What goes through is what transformers reads, where it reads the folder at all.
        plain = Path(place) / "plain"
        shutil.copytree(folder, plain)
        try:
            expected = by_transformers(kind, plain)
        except Exception:
            return
        note(f"{fault.__name__}: {found!r}, by transformers {expected!r}")
        # Of ids in a row that no token has, transformers writes one.
        once = [re.sub(r"(<unk>)+", "<unk>", text) for text in (single_spaces(found), expected)]
        assert once[0] == once[1]
