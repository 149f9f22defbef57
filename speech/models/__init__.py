"""Speech models by folder or hub id, all seen through one frozen value: `SpeechModel`."""

import importlib
from pathlib import Path

from myqasr.core.errors import ModelError
from myqasr.core.reading import json_object, reading
from myqasr.core.storage import sha256_of_file
from myqasr.speech.models.base import SpeechModel, split_language

ARCHITECTURES = {
    "Wav2Vec2ForCTC": "myqasr.speech.models.wav2vec2",
    "HubertForCTC": "myqasr.speech.models.wav2vec2",
    "Data2VecAudioForCTC": "myqasr.speech.models.wav2vec2",
    "WavLMForCTC": "myqasr.speech.models.wavlm",
    "Wav2Vec2ConformerForCTC": "myqasr.speech.models.wav2vec2_conformer",
    "Wav2Vec2BertForCTC": "myqasr.speech.models.wav2vec2_bert",
    "ParakeetForCTC": "myqasr.speech.models.parakeet",
    "WhisperForConditionalGeneration": "myqasr.speech.models.whisper.load",
    "Wav2Vec2ForSequenceClassification": "myqasr.speech.models.classifiers",
    "HubertForSequenceClassification": "myqasr.speech.models.classifiers",
    "M5": "myqasr.speech.models.m5",
    "EncoderASR": "myqasr.speech.models.speechbrain_asr",
}
"""Model class named in config.json -> module with `load(source, model_id, architecture) -> SpeechModel`."""

WHISPER = "WhisperForConditionalGeneration"

SPEECHBRAIN = "hyperparams.yaml"
TORCHAUDIO = "torchaudio:"

DEFAULT_MODEL = Path(__file__).parent.parent / "default_model"

DEFAULT_USERS = DEFAULT_MODEL.parent / "default_users"

HASHES = "sha256.json"
"""In a model folder: file name -> hex sha256 that the file must have."""


def load_model(source: str) -> SpeechModel:
    """Load a speech model in float32, ready for measuring and export.

    source: `default` for the embedded model; `whisper-tiny.en` or `whisper-base` from the extras of those
    names; a local folder with config.json, or as faster-whisper downloads it; OpenAI's `.pt`; a hub id; or
    `torchaudio:` and the name of a pipeline. `?language=de` after it says what is spoken, for multilingual
    Whisper.
    Raises UserError when it is not a model, not a supported class, has weights that aren't finite, or
    isn't what its `sha256.json` says, if it has one.
    """
    with reading(source, "can't be loaded", "pass a whole folder of a supported model", ModelError):
        model = _loaded(*split_language(source), source)
        model.check_weights()
        model.check_outputs()
    return model


def _loaded(source: str, language: str | None, model_id: str) -> SpeechModel:
    path = Path(source)
    packages = importlib.import_module("myqasr.speech.models.whisper.packages")
    if source in packages.PACKAGES and not path.exists():
        folder, parts = packages.located(source)
        return _whisper("load_ctranslate2", parts, folder, model_id, language)
    if path.is_dir():
        check_hashes(path)
        if (path / "model.bin").is_file():
            ctranslate2 = importlib.import_module("myqasr.speech.models.whisper.ctranslate2")
            if ctranslate2.is_ctranslate2(path):
                return _whisper("load_ctranslate2", (path / "model.bin",), path, model_id, language)
    elif path.is_file() and path.suffix == ".pt":
        return _whisper("load_openai", path, model_id, language)
    if source.startswith(TORCHAUDIO):
        pipelines = importlib.import_module("myqasr.speech.models.torchaudio_pipelines")
        _refuse_language(source, language)
        pipeline: SpeechModel = pipelines.load(source.removeprefix(TORCHAUDIO), source)
        return pipeline
    name = str(DEFAULT_MODEL) if source == "default" else source
    architecture = _architecture(name)
    if architecture == WHISPER:
        return _whisper("load", name, model_id, architecture, language)
    _refuse_language(source, language)
    module = ARCHITECTURES.get(architecture)
    if module is None:
        raise ModelError(
            f"{source} is a {architecture}, which isn't supported; supported: {', '.join(ARCHITECTURES)}, "
            f"{', '.join(packages.PACKAGES)}, and torchaudio:NAME for its pipelines"
        )
    model: SpeechModel = importlib.import_module(module).load(name, source, architecture)
    return model


def _whisper(loader: str, *args: object) -> SpeechModel:
    model: SpeechModel = getattr(importlib.import_module(ARCHITECTURES[WHISPER]), loader)(*args)
    return model


def _refuse_language(source: str, language: str | None) -> None:
    if language is not None:
        raise ModelError(f"{source} can't be told a language: only multilingual Whispers can")


def check_hashes(folder: Path) -> None:
    """Raise UserError naming the first file that isn't the one the folder was made with."""
    listed = folder / HASHES
    if not listed.is_file():
        return
    mend = f"fetch it again, or delete {HASHES} if the change is yours"
    for name, expected in json_object(listed, mend=mend, kind=ModelError).items():
        path = folder / name
        found = sha256_of_file(path) if path.is_file() else "nothing"
        if found != expected:
            raise ModelError(
                f"{path} has sha256 {found}, {listed} says {expected}: the file is damaged or was "
                f"replaced; fetch it again, or delete {HASHES} if the change is yours"
            )


def _architecture(source: str) -> str:
    """The model class that config.json names."""
    path = Path(source)
    if path.exists():
        config = path / "config.json"
        if (path / SPEECHBRAIN).is_file() and not config.is_file():
            return "EncoderASR"
        if not config.is_file():
            raise ModelError(
                f"{source} is not a model: no config.json in it; pass the folder that holds "
                "config.json and model.safetensors, a folder of faster-whisper, or a hub id"
            )
        what, mend = "is not valid JSON of a model", "fetch it again"
        architectures = json_object(config, what, mend, ModelError).get("architectures") or []
        if not isinstance(architectures, list):
            raise ModelError(f"{config}: 'architectures' is not a list of names; fetch it again")
    else:
        from transformers import AutoConfig

        try:
            architectures = AutoConfig.from_pretrained(source).architectures or []
        except Exception as error:
            raise ModelError(
                f"{source} is neither a folder here nor a model that can be fetched from the hub"
            ) from error
    if not architectures:
        raise ModelError(f"{source}: config.json names no model class under 'architectures'")
    return str(architectures[0])
