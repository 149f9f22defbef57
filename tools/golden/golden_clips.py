"""The clips of the golden vectors as WAV files, for the tests on the JVM, which can't read Ogg Vorbis.

python -m tools.golden.golden_clips GOLDEN.json FOLDER
"""

import json
import sys
from pathlib import Path

import soundfile

from myqasr.speech.audio import SAMPLE_RATE, load_audio
from myqasr.speech.models import DEFAULT_USERS

USERS = DEFAULT_USERS


def wav_name(clip: str) -> str:
    """E.g. `synth-ada-test-000.wav` for `synth-ada/test/000.ogg`."""
    return clip.replace("/", "-").removesuffix(".ogg") + ".wav"


def write_clips(clips: list[str], folder: Path) -> None:
    """Decode clips of the default users to 16-bit WAV files; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        path = folder / wav_name(clip)
        if not path.is_file():
            soundfile.write(path, load_audio(USERS / clip), SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    golden = json.loads(Path(sys.argv[1]).read_text())
    write_clips([entry["clip"] for entry in golden["clips"]], Path(sys.argv[2]))
