"""Recordings in a zip file, as the phone app shares them; read in place, without unpacking."""

import zipfile
from pathlib import Path, PurePosixPath

from myqasr.core.errors import UserError
from myqasr.speech.audio import AUDIO_SUFFIXES
from myqasr.speech.manifests import Clip

SUFFIX = ".zip"
MAX_BYTES = 512 * 2**20
MAX_TEXT_BYTES = 2**20


def clips(path: Path) -> list[Clip]:
    """Clips of the audio files in a zip, sorted by name; their paths go on behind the zip's.

    The text of each is that of a .txt of the same name in it.

    Raises UserError when the file isn't a zip.
    """
    found = []
    with _opened(path) as archive:
        names = set(archive.namelist())
        for name in sorted(names):
            place = PurePosixPath(name)
            hidden = any(part.startswith((".", "__MACOSX")) for part in place.parts)
            if place.suffix.lower() in AUDIO_SUFFIXES and not hidden:
                beside = str(place.with_suffix(".txt"))
                text = _text(archive, path, beside) if beside in names else None
                found.append(Clip(path / name, text=text))
    return found


def _text(archive: zipfile.ZipFile, path: Path, name: str) -> str | None:
    try:
        if archive.getinfo(name).file_size > MAX_TEXT_BYTES:
            raise UserError(f"{path / name} holds more than the text of a recording; take it out")
        return archive.read(name).decode("utf-8-sig").strip() or None
    except UnicodeDecodeError as error:
        raise UserError(f"{path / name} isn't UTF-8; save the file as UTF-8") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path / name}: can't be unpacked ({error}); zip it again") from error


def recording(path: Path) -> bytes | None:
    """The encoded bytes of a clip in a zip; None for a path that doesn't lead into one.

    Raises UserError `<path>: <reason>` when it is damaged, encrypted or larger than 512 MB.
    """
    folder = archive_of(path)
    if folder is None:
        return None
    name = path.relative_to(folder).as_posix()
    try:
        with _opened(folder) as archive:
            size = archive.getinfo(name).file_size
            if size > MAX_BYTES:
                raise UserError(f"{path}: holds {size:,} bytes, {MAX_BYTES:,} are the most")
            return archive.read(name)
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path}: can't be unpacked ({error}); zip it again") from error


def archive_of(path: Path) -> Path | None:
    """The zip file that a clip's path leads into, if it does."""
    for folder in path.parents:
        if folder.suffix.lower() == SUFFIX and folder.is_file():
            return folder
    return None


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} can't be read as a zip file: {error}") from error
