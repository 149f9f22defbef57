"""The page for people who bring their own does what it says, block by block, on material of each kind."""

import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import soundfile
import transformers

from myqasr.speech.audio import load_audio
from myqasr.speech.datasets import find_clips
from tests.conftest import USERS, invoke
from tests.material.recordings import PHONES, encode

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own.md"
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", PAGE.read_text(), re.S)
CLIPS = find_clips(USERS / "synth-ada" / "test")[:2]


def memos(folder: Path) -> None:
    """What lies on a phone: recordings in its own formats, and a picture."""
    folder.mkdir()
    tune = sorted((USERS / "synth-ada" / "tune").glob("*.ogg"))
    for path, name in zip(tune, ("memo.m4a", "old.3gp", "browser.webm"), strict=False):
        container, codec, rate = PHONES[name]
        encode(folder / name, load_audio(path), container, codec, rate)
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")


def labelled(folder: Path) -> None:
    """The same two recordings as a NeMo, a Kaldi and a parquet set, and in a table of one's own."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (folder / "audio").mkdir()
    names = []
    for number, clip in enumerate(CLIPS):
        names.append(f"audio/{number}.wav")
        soundfile.write(folder / names[-1], load_audio(clip.path), 16_000)
    rows = [(name, clip.text or "") for name, clip in zip(names, CLIPS, strict=True)]
    (folder / "nemo.json").write_text(
        "\n".join(json.dumps({"audio_filepath": name, "text": text}) for name, text in rows)
    )
    table = "\n".join(f"{name};{text}" for name, text in rows)
    (folder / "table.csv").write_text(f"Audio File;Sentence\n{table}\n")
    kaldi = folder / "kaldi" / "data" / "test"
    kaldi.mkdir(parents=True)
    (kaldi / "wav.scp").write_text("".join(f"u{n} ../audio/{n}.wav\n" for n in range(2)))
    (kaldi / "text").write_text("".join(f"u{n} {text}\n" for n, (_, text) in enumerate(rows)))
    held = [
        {"audio": {"bytes": (folder / name).read_bytes(), "path": name}, "sentence": text}
        for name, text in rows
    ]
    (folder / "hub-set" / "data").mkdir(parents=True)
    file = folder / "hub-set" / "data" / "test-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(held), file)


def checkpoint(folder: Path, model: Path) -> None:
    """As the Trainer leaves it: weights and more of its own, no processor."""
    shutil.copytree(model, folder / "checkpoint-500")
    transformers.Wav2Vec2Processor(
        transformers.Wav2Vec2FeatureExtractor(),
        transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder / "checkpoint-500"),
    ).save_pretrained(folder / "my-processor")
    for name in ("vocab.json", "preprocessor_config.json"):
        (folder / "checkpoint-500" / name).unlink()
    (folder / "checkpoint-500" / "optimizer.pt").write_bytes(b"")


def run(kind: str, block: str) -> None:
    if kind == "python":
        exec(compile(block, str(PAGE), "exec"), {})
        return
    for line in block.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "myqasr"
        done = invoke(*arguments)
        assert done.exit_code == 0, f"{line}: {done.output}"


def test_every_block_of_the_page_runs_as_it_stands(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    memos(tmp_path / "memos")
    labelled(tmp_path)
    checkpoint(tmp_path, tiny_model)
    assert len(BLOCKS) == 4
    for kind, block in BLOCKS:
        if "from peft" in block:
            if importlib.util.find_spec("peft") is None:
                compile(block, str(PAGE), "exec")
                continue
            from peft import LoraConfig, get_peft_model

            model = transformers.AutoModelForCTC.from_pretrained("my-model")
            get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained("my-lora")
        run(kind, block)
    settings = json.loads((tmp_path / "out/me/run.json").read_text())
    assert any("1 .jpg" in reason for _, reason in settings["left_out"])
    (report,) = (tmp_path / "out/me/bench").glob("*.json")
    said = [utterance["text"] for utterance in json.loads(report.read_text())["utterances"]]
    # NeMo, Kaldi and the table name the same two files; the parquet set holds them itself.
    assert sorted(said) == sorted(2 * [clip.text for clip in CLIPS])
