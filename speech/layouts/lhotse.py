"""JSON that names recordings: Lhotse's cuts (Zelasko et al., 2021), NeMo's and other plain manifests."""

from pathlib import Path

from myqasr.core.errors import UserError
from myqasr.speech.manifests import Clip, gender_of, located, once, read_nemo
from myqasr.speech.tables import Json, json_lines, plain_text


def read_objects(file: Path) -> list[Clip]:
    """Clips of a manifest of cuts, or of one whose objects name files themselves. Raises UserError."""
    first = next(json_lines(file), None)
    if first is None or "recording" not in first[1] or "supervisions" not in first[1]:
        return read_nemo(file)
    try:
        clips = [_cut(file, number, cut) for number, cut in json_lines(file)]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise UserError(f"{file} holds a cut that isn't one of Lhotse's: {error!r}") from error
    return once(clips, file)


def _cut(file: Path, number: int, cut: dict[str, Json]) -> Clip:
    where = f"{file} line {number}"
    recording, supervisions = cut["recording"], cut["supervisions"]
    source = recording["sources"][0]
    if source["type"] != "file":
        raise UserError(
            f"{where}: the recording is a {source['type']}, only files are read; "
            "save the cuts' audio as files"
        )
    texts = [plain_text(each.get("text"), where) for each in supervisions]
    speakers = {plain_text(each.get("speaker"), where) for each in supervisions}
    first = supervisions[0] if supervisions else {}
    start, length = float(cut.get("start", 0.0)), float(cut["duration"])
    whole = start == 0 and abs(length - float(recording["duration"])) < 1e-3
    return Clip(
        located(file.parent, source["source"]),
        speakers.pop() if len(speakers) == 1 else None,
        " ".join(text for text in texts if text) or None,
        window=None if whole else (start, length),
        gender=gender_of(plain_text(first.get("gender"), where)),
        language=plain_text(first.get("language"), where),
    )
