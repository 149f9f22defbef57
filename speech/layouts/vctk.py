"""VCTK (Yamagishi et al., 2019): a folder per speaker, texts in a tree beside the audio."""

from pathlib import Path

from myqasr.speech.manifests import Clip, gender_of
from myqasr.speech.tables import read_text, text_lines

_AUDIO = ("wav48_silence_trimmed", "wav48", "wav16")
_OTHER_MICROPHONE = "_mic2"


def clips(folder: Path, told: bool = True) -> list[Clip] | None:
    """Clips of all speakers, of the first microphone where there are two; `told`: with their texts."""
    audio = next((folder / name for name in _AUDIO if (folder / name).is_dir()), None)
    if audio is None or not (folder / "txt").is_dir():
        return None
    genders = _genders(folder / "speaker-info.txt")
    found = []
    for path in sorted([*audio.glob("[!.]*/[!.]*.wav"), *audio.glob("[!.]*/[!.]*.flac")]):
        if path.stem.endswith(_OTHER_MICROPHONE):
            continue
        speaker = path.parent.name
        text = folder / "txt" / speaker / f"{path.stem.removesuffix('_mic1')}.txt"
        found.append(
            Clip(
                path,
                speaker,
                (read_text(text).strip() or None) if told and text.is_file() else None,
                gender=genders.get(speaker),
                language="en",
            )
        )
    return found


def _genders(file: Path) -> dict[str, str | None]:
    """Speaker -> gender; the table has columns of spaces: ID AGE GENDER ACCENTS ..."""
    genders: dict[str, str | None] = {}
    for line in text_lines(file) if file.is_file() else ():
        cells = line.split()
        if len(cells) > 2 and cells[0] != "ID":
            # Old releases write 225 for the speaker whose folder is p225.
            for name in (cells[0], f"p{cells[0]}"):
                genders[name] = gender_of(cells[2])
    return genders
