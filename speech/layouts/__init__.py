"""Public data sets as they unpack, recognised by what lies in the folder.

One module each, with `clips(folder)`: its clips, or None when the folder is something else. Files that a
table names aren't opened.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from myqasr.speech.layouts import (
    arrow,
    audiofolder,
    common_voice,
    fleurs,
    kaldi,
    ljspeech,
    mls,
    speech_commands,
    stm,
    vctk,
)
from myqasr.speech.manifests import Clip

_APART = (vctk.clips, kaldi.clips)
"""Those whose transcripts lie in files of their own, which can be left closed."""

LAYOUTS: dict[str, Callable[[Path], list[Clip] | None]] = {
    "Speech Commands": speech_commands.clips,
    "VCTK": vctk.clips,
    "Common Voice": common_voice.clips,
    "FLEURS": fleurs.clips,
    "Kaldi": kaldi.clips,
    "STM": stm.clips,
    "LJSpeech": ljspeech.clips,
    "MLS": mls.clips,
    "Hugging Face AudioFolder": audiofolder.clips,
    "Hugging Face save_to_disk and parquet": arrow.clips,
}
"""Name -> recogniser, tried in this order."""


def clips_of(folder: Path, texts: bool = True) -> list[Clip] | None:
    """Clips of the first layout that knows the folder; None when none does.

    texts: whether files that only hold transcripts are opened, too.
    """
    closed: dict[object, Callable[[Path], list[Clip] | None]] = {
        each: partial(each, told=False) for each in _APART
    }
    for recognise in LAYOUTS.values():
        found = (recognise if texts else closed.get(recognise, recognise))(folder)
        if found is not None:
            return found
    return None
