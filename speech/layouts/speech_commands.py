"""Speech Commands (Warden, arXiv 1804.03209): a folder per word, the word is the text.

Files are named `<speaker>_nohash_<n>.wav`; two lists say which are for validation and for testing.
"""

from pathlib import Path

from myqasr.speech.manifests import Clip
from myqasr.speech.tables import text_lines

_MARK = "_nohash_"
_LISTS = {"validation_list.txt": "dev", "testing_list.txt": "test"}


def clips(folder: Path) -> list[Clip] | None:
    """Clips of all words, in order of path; `_background_noise_` is left out."""
    files = sorted(
        path
        for path in folder.glob(f"[!.]*/[!.]*{_MARK}*.wav")
        if not path.parent.name.startswith(("_", "."))
    )
    if not files:
        return None
    splits = {
        line.strip(): split
        for name, split in _LISTS.items()
        if (folder / name).is_file()
        for line in text_lines(folder / name)
    }
    return [
        Clip(
            path,
            speaker=path.name.partition(_MARK)[0],
            text=path.parent.name,
            split=splits.get(f"{path.parent.name}/{path.name}", "train"),
            language="en",
        )
        for path in files
    ]
