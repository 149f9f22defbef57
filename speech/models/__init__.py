"""Speech models by folder or hub id, all seen through one frozen value: `SpeechModel`."""

import importlib
from dataclasses import replace
from pathlib import Path

from myqasr.core.errors import ModelError
from myqasr.core.reading import json_object, reading
from myqasr.core.storage import sha256_of_file
from myqasr.speech.models.base import Source, SpeechModel

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

BY_TYPE = {
    "wav2vec2": ("Wav2Vec2ForCTC", "Wav2Vec2ForSequenceClassification"),
    "hubert": ("HubertForCTC", "HubertForSequenceClassification"),
    "data2vec-audio": ("Data2VecAudioForCTC",),
    "wavlm": ("WavLMForCTC",),
    "wav2vec2-conformer": ("Wav2Vec2ConformerForCTC",),
    "wav2vec2-bert": ("Wav2Vec2BertForCTC",),
    "parakeet_ctc": ("ParakeetForCTC",),
    "whisper": ("WhisperForConditionalGeneration",),
}
"""`model_type` of config.json -> classes, for configurations that name none, or the one for pretraining."""

HEADS = {
    **dict.fromkeys((name for names in BY_TYPE.values() for name in names), ".lm_head"),
    "ParakeetForCTC": ".ctc_head",
    "WhisperForConditionalGeneration": ".decoder",
    "Wav2Vec2ForSequenceClassification": ".classifier",
    "HubertForSequenceClassification": ".classifier",
}
"""Class -> how the names of its own weights begin."""

WHISPER = "WhisperForConditionalGeneration"

CHECKPOINT = "myqasr.speech.models.files.checkpoint"
HUB = "myqasr.speech.models.files.hub"
SPEECHBRAIN = "hyperparams.yaml"
TORCHAUDIO = "torchaudio:"

DEFAULT_MODEL = Path(__file__).parent.parent / "default_model"

DEFAULT_USERS = DEFAULT_MODEL.parent / "default_users"
PEOPLE = DEFAULT_MODEL.parent / "people"


def embedded_users() -> dict[str, Path]:
    """Folders of the users that come with the package, each with `tune` and `test`: people first."""
    folders = [path for place in (PEOPLE, DEFAULT_USERS) for path in sorted(place.iterdir())]
    return {path.name: path for path in folders if (path / "tune").is_dir()}


HASHES = "sha256.json"
"""In a model folder: file name -> hex sha256 that the file must have."""


def load_model(source: str, language: str | None = None) -> SpeechModel:
    """Load a speech model in float32, ready for measuring and export.

    source: `default` for the embedded model; `whisper-tiny.en` or `whisper-base` from the extras of those
    names; a local folder with config.json, or as faster-whisper downloads it; OpenAI's `.pt`; a hub id; or
    `torchaudio:` and the name of a pipeline. After it, for Whisper: `?language=de` says what is spoken, to a
    multilingual one; `?window=10` has it take 10 s of audio at a time instead of 30; `?table=published`
    leaves its table of tokens as it is, for runtimes that need it so; `&` joins them.
    `?language=deu` also chooses among the vocabularies of MMS; `language` does where `source` doesn't.
    Raises UserError when it is not a model, not a supported class, has weights that aren't finite, or
    isn't what its `sha256.json` says, if it has one.
    """
    asked = Source.parse(source)
    mend = "pass a whole folder of a supported model"
    with reading(asked.name, "can't be loaded", mend, ModelError):
        model = _loaded(asked, language)
        model.check_weights()
        model.check_outputs()
    return model


def as_loaded(model: SpeechModel | str | Path, language: str | None = None) -> SpeechModel:
    """The model itself, or what `load_model` makes of its source."""
    return model if isinstance(model, SpeechModel) else load_model(str(model), language)


def _loaded(asked: Source, language: str | None) -> SpeechModel:
    packages = importlib.import_module("myqasr.speech.models.whisper.packages")
    if asked.name.startswith(TORCHAUDIO):
        pipelines = importlib.import_module("myqasr.speech.models.torchaudio_pipelines")
        _refuse_options(asked)
        pipeline: SpeechModel = pipelines.load(asked.name.removeprefix(TORCHAUDIO), asked.name)
        return pipeline
    if asked.name in packages.PACKAGES and not Path(asked.name).exists():
        folder, parts = packages.located(asked.name)
        return _whisper("load_ctranslate2", parts, folder, asked)
    path = _place(asked, language)
    weights = path / "model.bin" if path.is_dir() else path
    if path.is_dir():
        check_hashes(path)
    if weights.is_file() and (path.is_dir() or weights.suffix == ".pt"):
        importlib.import_module(CHECKPOINT).check_bytes(weights)
        ctranslate2 = importlib.import_module("myqasr.speech.models.whisper.ctranslate2")
        if weights.suffix == ".pt":
            return _whisper("load_openai", weights, asked)
        if ctranslate2.is_ctranslate2(path):
            return _whisper("load_ctranslate2", (weights,), path, asked)
    return _of_its_class(path, asked, language)


def _place(asked: Source, language: str | None) -> Path:
    """Where its files lie; those of a hub id are fetched."""
    path = DEFAULT_MODEL if asked.name == "default" else Path(asked.name)
    if not path.exists():
        fetched: Path = importlib.import_module(HUB).fetched(asked.name, asked.language or language)
        return fetched
    return path


def _of_its_class(path: Path, asked: Source, language: str | None) -> SpeechModel:
    """A folder whose config.json names a class."""
    architecture = _architecture(path)
    if architecture == WHISPER:
        return _whisper("load", str(path), architecture, asked)
    module = ARCHITECTURES.get(architecture)
    if module is None:
        packages = importlib.import_module("myqasr.speech.models.whisper.packages").PACKAGES
        raise ModelError(
            f"{asked.name} is a {architecture}, which isn't supported; supported: "
            f"{', '.join((*ARCHITECTURES, *packages))}, and torchaudio:NAME for its pipelines"
        )
    loader = importlib.import_module(module)
    if module == ARCHITECTURES["Wav2Vec2ForCTC"]:
        if loader.has_languages(path):
            asked = replace(asked, language=asked.language or language)
        _refuse_options(replace(asked, language=None))
        told: SpeechModel = loader.load(str(path), str(asked), architecture, asked.language)
        return told
    _refuse_options(asked)
    model: SpeechModel = loader.load(str(path), str(asked), architecture)
    return model


def _whisper(loader: str, *args: object) -> SpeechModel:
    model: SpeechModel = getattr(importlib.import_module(ARCHITECTURES[WHISPER]), loader)(*args)
    return model


def _refuse_options(asked: Source) -> None:
    if asked.language is not None:
        raise ModelError(
            f"{asked.name} can't be told a language: only multilingual Whispers and MMS can"
        )
    if asked.window is not None:
        raise ModelError(
            f"{asked.name} has no window: it takes audio of any length; --max-seconds of `myqasr export` "
            "says how long a file's may be"
        )
    if asked.table is not None:
        raise ModelError(f"{asked.name} has no table of tokens: table= is for Whispers")


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


def _architecture(path: Path) -> str:
    """The model class that config.json names, or that its type and weights make it."""
    config = path / "config.json"
    if (path / SPEECHBRAIN).is_file() and not config.is_file():
        return "EncoderASR"
    if path.is_dir() and not config.is_file():
        importlib.import_module(CHECKPOINT).check_adapter_only(path)
    if not config.is_file():
        raise ModelError(_no_model(path))
    what, mend = "is not valid JSON of a model", "fetch it again"
    held = json_object(config, what, mend, ModelError)
    named, kind = held.get("architectures"), held.get("model_type")
    if named is not None and not isinstance(named, list):
        raise ModelError(f"{config}: 'architectures' is not a list of names; fetch it again")
    name = str(named[0]) if isinstance(named, list) and named else None
    if name in ARCHITECTURES:
        return name
    if kind in BY_TYPE:
        return _by_weights(path, kind) if path.is_dir() else BY_TYPE[kind][0]
    if name is None:
        raise ModelError(
            f"{path}: config.json names no model class under 'architectures'; write the one that it was "
            f'trained as there, e.g. ["Wav2Vec2ForCTC"]; supported: {", ".join(ARCHITECTURES)}'
        )
    return name


def _no_model(path: Path) -> str:
    """Where the model is that was meant, if it is near."""
    if path.is_file() and (path.parent / "config.json").is_file():
        return f"{path} is one of a model's files; pass its folder, {path.parent}"
    if path.is_dir():
        below = sorted(each.parent for each in path.glob("*/config.json"))
        if below:
            names = ", ".join(each.name for each in below[:4]) + (", ..." if len(below) > 4 else "")
            return f"{path} is not a model, but folders in it are: {names}; pass one of these"
    what = "it is a file" if path.is_file() else "no config.json in it"
    return (
        f"{path} is not a model: {what}; pass the folder that holds config.json and model.safetensors, a "
        "folder of faster-whisper, or a hub id"
    )


def _by_weights(folder: Path, kind: str) -> str:
    """The class of a type whose head is among the weights; the recogniser where none is."""
    checkpoint = importlib.import_module(CHECKPOINT)
    names = checkpoint.weight_shapes(folder, str(folder))
    for architecture in BY_TYPE[kind]:
        if any(f"{HEADS[architecture]}." in f".{name}" for name in names):
            return architecture
    return BY_TYPE[kind][0]
