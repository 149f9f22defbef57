"""Make `speech/default_users`: eight synthetic people, so that the main job runs offline.

    python -m tools.training.make_synthetic_users speech/default_users

Each user has tune clips (used without their texts) and test clips (scored); no text occurs twice,
and training leaves out every text found here. The same seed gives the same texts and the same
sound; the Ogg files themselves differ in a stream number that the encoder draws.
"""

import argparse
import csv
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tools.training.sentence_grammar import digit_string, sentence
from tools.training.synthetic_speech import (
    SAMPLE_RATE_HZ,
    USERS,
    User,
    check_engines,
    check_voices_are_apart,
    speak,
)

HEADER = ("path", "speaker", "gender", "age_group", "split", "seconds", "text")
TUNE_CLIPS = 16
TEST_CLIPS = 24
DIGIT_CLIP_SHARE = 4  # every fourth clip is a digit string
SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 5.0
_VORBIS_COMPRESSION = 0.8  # 0 is the best quality, 1 the smallest file


def _new_text(rng: random.Random, taken: set[str], digits: bool) -> str:
    while True:
        text = digit_string(rng, 3, 7) if digits else sentence(rng)
        if text not in taken and len(text.split()) <= 9:
            return text


def _new_clip(
    rng: random.Random, user: User, taken: set[str], digits: bool
) -> tuple[str, NDArray[np.float32]]:
    while True:
        text = _new_text(rng, taken, digits)
        samples = speak(user.voice, text)
        if SHORTEST_SECONDS <= samples.size / SAMPLE_RATE_HZ <= LONGEST_SECONDS:
            taken.add(text)
            return text, samples


def make_users(folder: Path, seed: int) -> int:
    """Write every user's clips and `manifest.csv` under `folder`; return the bytes written."""
    check_engines()
    check_voices_are_apart()
    rng = random.Random(seed)
    taken: set[str] = set()
    rows: list[tuple[str, ...]] = []
    for user in USERS:
        shutil.rmtree(folder / user.speaker, ignore_errors=True)
        for split, clips in (("tune", TUNE_CLIPS), ("test", TEST_CLIPS)):
            (folder / user.speaker / split).mkdir(parents=True)
            for number in range(clips):
                digits = number % DIGIT_CLIP_SHARE == DIGIT_CLIP_SHARE - 1
                text, samples = _new_clip(rng, user, taken, digits)
                path = f"{user.speaker}/{split}/{number:03d}.ogg"
                soundfile.write(
                    folder / path,
                    samples,
                    SAMPLE_RATE_HZ,
                    format="OGG",
                    subtype="VORBIS",
                    compression_level=_VORBIS_COMPRESSION,
                )
                seconds = f"{samples.size / SAMPLE_RATE_HZ:.3f}"
                rows.append((path, user.speaker, user.gender, "adult", split, seconds, text))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    """Command line: write the users, print how many bytes they take."""
    parser = argparse.ArgumentParser(description="Make the synthetic users.")
    parser.add_argument("folder", type=Path, help="where to write, e.g. speech/default_users")
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    try:
        size_bytes = make_users(arguments.folder, arguments.seed)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    clips = len(USERS) * (TUNE_CLIPS + TEST_CLIPS)
    print(f"{len(USERS)} users, {clips} clips, {size_bytes:,} bytes in {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
