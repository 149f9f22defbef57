"""Codes of layers that needn't all be in memory, or all come from one place."""

from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from myqasr.core.errors import BrokenFileError
from myqasr.personalize.rounding.codes import (
    Precisions,
    Rounding,
    belongs_to,
    load_rounding,
    save_rounding,
)

SUFFIX = ".safetensors"


class KeptLayers(MutableMapping[str, Precisions]):
    """Layer -> its codes, each in a file of its own, which is read whenever they are asked for.

    folder: made when the first layer is kept. key: what the codes belong to; files of another aren't there.
    A layer without any codes isn't kept.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._whole: set[str] = set()  # those that were read or written here

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def __getitem__(self, name: str) -> Precisions:
        try:
            return load_rounding(self._path(name), self._key).layers[name]
        except BrokenFileError as error:
            raise KeyError(name) from error

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        if name not in self._whole and belongs_to(self._path(name), self._key):
            try:
                load_rounding(self._path(name), self._key)
            except BrokenFileError:
                return False  # damaged: as if it weren't there
            self._whole.add(name)
        return name in self._whole

    def __setitem__(self, name: str, found: Precisions) -> None:
        if found:
            self._folder.mkdir(parents=True, exist_ok=True)
            save_rounding(Rounding({name: found}), self._key, self._path(name))
            self._whole.add(name)

    def __delitem__(self, name: str) -> None:
        self._path(name).unlink()
        self._whole.discard(name)

    def __iter__(self) -> Iterator[str]:
        names = sorted(path.name.removesuffix(SUFFIX) for path in self._folder.glob(f"*{SUFFIX}"))
        return (name for name in names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Joined(Mapping[str, Precisions]):
    """What either has of a layer; where both have a precision, the second's."""

    def __init__(self, first: Mapping[str, Precisions], second: Mapping[str, Precisions]) -> None:
        self._both = first, second

    def __getitem__(self, name: str) -> Precisions:
        found = [each[name] for each in self._both if name in each]
        if not found:
            raise KeyError(name)
        return {label: pair for each in found for label, pair in each.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for each in self._both for name in each))

    def __len__(self) -> int:
        return sum(1 for _ in self)
