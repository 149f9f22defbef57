"""Multilingual LibriSpeech (Pratap et al., 2020): transcripts.txt of id, tab, text, and audio by speaker."""

from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.audio import audio_files
from myqasr.speech.manifests import Clip
from myqasr.speech.tables import text_lines

_TABLE = "transcripts.txt"


def clips(folder: Path) -> list[Clip] | None:
    """Clips of a split's folder; those of audio files that the table doesn't list aren't among them."""
    table, audio = folder / _TABLE, folder / "audio"
    if not table.is_file() or not audio.is_dir():
        return None
    files = {path.stem: path for path in audio_files(audio)}
    split = folder.name if folder.name in ("train", "dev", "test") else None
    found = []
    for number, line in enumerate(text_lines(table), 1):
        name, tab, text = line.partition("\t")
        if not line.strip():
            continue
        if not tab:
            raise UserError(f"{table} line {number} has no tab; MLS writes id, tab, text")
        path = files.get(name, audio / f"{name}.flac")
        found.append(Clip(path, name.split("_")[0], text.strip() or None, split=split))
    return found or None
