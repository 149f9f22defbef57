"""Models by hub id: what is fetched, of a server that stands in for the hub, and what comes of it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from myqasr.core.errors import ModelError
from myqasr.speech.datasets import Selection
from myqasr.speech.models import languages, load_model
from myqasr.speech.models.files.hub import wanted
from tests.conftest import invoke
from tests.material.tiny_models import noise
from tests.speech.test_folders import USUAL, edit, save_ctc, their_text

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A folder of folders, served as the hub serves its repositories."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sent: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        path = request.path.split("?")[0].strip("/")
        headers = {"X-Repo-Commit": COMMIT}
        if path.startswith("api/models/"):
            name = "/".join(path.split("/")[2:4])
            folder = self.root / name
            names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
            held: Any = {
                "id": name, "sha": COMMIT, "siblings": [{"rfilename": each} for each in names]
            }  # fmt: skip
            if "/tree/" in path:
                held = [{"type": "file", "path": each, "size": 1, "oid": each} for each in names]
            data = json.dumps(held).encode() if names else None
        else:
            owner, name, _, _, *rest = path.split("/")
            file = self.root / owner / name / "/".join(rest)
            data = file.read_bytes() if file.is_file() else None
            if data is not None:
                headers["ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
                if body:
                    self.sent.append(file.name)
        if data is None:
            headers["X-Error-Code"] = "RepoNotFound"
        request.send_response(404 if data is None else 200)
        for key, value in {**headers, "Content-Length": str(len(data or b""))}.items():
            request.send_header(key, value)
        request.end_headers()
        if body:
            request.wfile.write(data or b"")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", served.url)
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def mms(hub: Hub) -> Path:
    """Two languages; the weights are those of the first."""
    folder = hub.root / "someone" / "mms"
    folder.mkdir(parents=True)
    save_ctc(folder, USUAL, adapter_attn_dim=4)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder)
    state = {key: each for key, each in model.state_dict().items() if "adapter_layer" in key}
    nested = {}
    for seed, (language, more) in enumerate({"eng": "", "fra": "éà", "deu": "ß"}.items()):
        symbols = [*USUAL, *more]
        nested[language] = {symbol: index for index, symbol in enumerate(symbols)}
        torch.manual_seed(seed)
        adapter = {key: torch.randn_like(each) for key, each in state.items()}
        adapter["lm_head.weight"] = 30 * torch.randn(len(symbols), 16)
        adapter["lm_head.bias"] = torch.zeros(len(symbols))
        save_file(adapter, folder / f"adapter.{language}.safetensors", {"format": "pt"})
    (folder / "vocab.json").write_text(json.dumps(nested))
    edit(folder / "tokenizer_config.json", target_lang="eng")
    (folder / "optimizer.pt").write_bytes(b"not needed")
    (folder / "pytorch_model.bin").write_bytes(b"not needed either")
    return folder


def waveform() -> np.ndarray:
    return 0.1 * noise(8_000)[0].numpy()


@pytest.mark.parametrize("language", ["fra", "deu"])
def test_of_a_hub_id_the_adapter_of_the_language_is_fetched_and_no_other(
    hub: Hub, mms: Path, language: str
) -> None:
    model = load_model(f"someone/mms?language={language}")
    assert model.language == language
    assert model.model_id == f"someone/mms?language={language}"
    theirs = their_text(mms, waveform(), target_lang=language, ignore_mismatched_sizes=True)
    assert theirs
    assert model.transcribe(waveform()) == theirs
    fetched = {name for name in hub.sent if "adapter" in name or name[-3:] in (".pt", "bin")}
    assert fetched == {f"adapter.{language}.safetensors"}


def test_without_a_language_it_is_the_one_that_the_tokenizer_names(hub: Hub, mms: Path) -> None:
    model = load_model("someone/mms")
    theirs = their_text(mms, waveform(), target_lang="eng", ignore_mismatched_sizes=True)
    assert model.transcribe(waveform()) == theirs
    assert "adapter.eng.safetensors" in hub.sent


def test_what_was_fetched_before_is_found_without_a_connection(hub: Hub, mms: Path) -> None:
    expected = load_model("someone/mms?language=fra").transcribe(waveform())
    hub.server.shutdown()
    hub.server.server_close()
    assert load_model("someone/mms?language=fra").transcribe(waveform()) == expected
    with pytest.raises(ModelError, match=r"no adapter\.deu\.safetensors in .*those of eng; put"):
        load_model("someone/mms?language=deu")


def test_a_name_that_is_neither_here_nor_on_the_hub_is_refused_at_once(hub: Hub) -> None:
    with pytest.raises(ModelError, match="no/such is neither a folder here nor a model that can"):
        load_model("no/such")
    with pytest.raises(ModelError, match="is neither a folder here"):
        load_model("no/such/folder/at/all")
    with pytest.raises(ModelError, match=r"fetched from the hub; pass someone/mms$"):
        load_model("https://huggingface.co/someone/mms/tree/main")


@pytest.mark.parametrize(
    ("listed", "language", "weights"),
    [
        (["model.safetensors", "pytorch_model.bin", "model.fp16.safetensors", "tf_model.h5"],
         None, ["model.safetensors"]),
        (["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "a.msgpack"],
         None, ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]),
        (["model.bin", "vocabulary.txt"], None, ["vocabulary.txt", "model.bin"]),
        (["model.safetensors", "adapter.fra.safetensors", "adapter.fra.bin", "adapter.deu.bin"],
         "fra", ["model.safetensors", "adapter.fra.safetensors", "adapter.fra.bin"]),
        (["runs/events", "checkpoint-5/model.safetensors", "training_args.bin", "kenlm.arpa"],
         None, []),
    ],
)  # fmt: skip
def test_only_what_loading_takes_is_fetched(
    listed: list[str], language: str | None, weights: list[str]
) -> None:
    assert wanted([*listed, "config.json"], language) == [
        name for name in ("vocabulary.txt", "config.json") if name in [*listed, "config.json"]
    ] + [name for name in weights if name != "vocabulary.txt"]


def test_the_language_of_the_command_reaches_a_vocabulary_by_language(
    mms: Path, tune_clips: Path, tmp_path: Path
) -> None:
    run = tmp_path / "out"
    command = ("personalize", mms, tune_clips, "--language", "fra", "--clips", 1, "--budget")
    done = invoke(*command, "0.9x", "--out", run, "--sensitivity", "frobenius")
    assert done.exit_code == 0, done.output
    kept = json.loads((run / "run.json").read_text())["model"]
    assert kept == f"{mms}?language=fra"  # what export, and bench's float model, load
    assert load_model(kept).tokens.symbols[-2:] == ("é", "à")
    asked = languages.asked_of_told(Selection(language="fra"), [tune_clips])
    assert asked.language is None  # no recording names one: bench, too, takes all of them


def test_a_language_that_is_not_there_is_refused_with_those_most_like_it(mms: Path) -> None:
    with pytest.raises(ModelError, match=r"fr isn't among them; name one as .*: fra, deu, eng"):
        load_model(f"{mms}?language=fr")
