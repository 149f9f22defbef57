"""Shared material: a tiny model as a Hugging Face folder, a user's clips, a finished run, runtimes."""

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from myqasr.cli.main import app
from myqasr.speech.models import DEFAULT_USERS

USERS = DEFAULT_USERS


def invoke(*arguments: object) -> Result:
    """Run a command in this process, as a user would type it."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A Wav2Vec2ForCTC folder of random weights as `save_pretrained` and a processor leave it."""
    from tests.material.tiny_models import VOCABULARY, tiny_transformer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_transformer(3).save_pretrained(folder)
    vocabulary = {symbol: index for index, symbol in enumerate(VOCABULARY)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": True,
        "sampling_rate": 16000,
        "feature_size": 1,
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    return folder


@pytest.fixture(scope="session")
def tune_clips(tmp_path_factory) -> Path:
    """Six unlabelled recordings of one embedded user."""
    folder = tmp_path_factory.mktemp("audio") / "tune"
    folder.mkdir()
    for path in sorted((USERS / "synth-ada" / "tune").iterdir())[:6]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def test_clips() -> Path:
    """Labelled recordings of the same user."""
    return USERS / "synth-ada" / "test"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, tiny_model, tune_clips) -> Path:
    """A run folder with profile, plan and exported file; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("runs") / "alice"
    done = invoke("personalize", tiny_model, tune_clips, "--budget", "0.5x", "--out", out)
    assert done.exit_code == 0, done.output
    done = invoke("export", out, "--max-seconds", 6)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="session")
def coreml_run(tmp_path_factory, tiny_model, tune_clips) -> Path:
    """A run that was planned for Core ML and exported; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("coreml") / "bob"
    done = invoke(
        "personalize", tiny_model, tune_clips, "--budget", "0.25x", "--target", "coreml",
        "--clips", 2, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    done = invoke("export", out, "--max-seconds", 6)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def run_copy(finished_run, tmp_path) -> Path:
    """A copy of the finished run that a test may break."""
    return Path(shutil.copytree(finished_run, tmp_path / "alice"))


@pytest.fixture(scope="session")
def tflite_runtime(tmp_path_factory) -> Path:
    """The environment of tflite-runtime: as installed here, else made once for all test processes."""
    from myqasr.core.errors import NotInstalledError, UserError
    from myqasr.runtime_bench.devices.environments import (
        environment_folder,
        environment_python,
        install_environment,
    )

    name = "tflite-runtime"
    try:
        environment_python(name)
    except NotInstalledError:
        shared = tmp_path_factory.getbasetemp()
        shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
        os.environ["MYQASR_ENVIRONMENTS"] = str(shared / "environments")
        with (shared / "environments.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                environment_python(name)
            except NotInstalledError:
                try:
                    install_environment(name)
                except UserError as error:
                    pytest.skip(str(error))
    return environment_folder(name)
