"""Build the training corpus: one flat int16 file plus an index, so that reading never holds up
the CPU that trains.

    python -m tools.training.training_data --config tools/training/default_model_config.json

Real speech comes from the shared folder (`$MYQASR_SPEECH`, default `../shared/speech`). Speakers
reserved for benchmarks never enter, and neither does any text of the synthetic users.
"""

import argparse
import csv
import json
import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tools.training.sentence_grammar import digit_string, loose_words, sentence
from tools.training.synthetic_speech import (
    SAMPLE_RATE_HZ,
    Voice,
    check_engines,
    check_voices_are_apart,
    shifted_flite_voice,
    speak,
    training_voice,
)

RESERVED_SPEAKERS = frozenset(
    [f"libri-{n}" for n in (1272, 174, 2086, 652, 1462, 1673, 2412, 84)]
    + ["digits-jackson", "digits-nicolas"]
)
USERS_MANIFEST = Path("speech/default_users/manifest.csv")
DEV_EVERY = 25  # every 25th real clip is held out to choose the checkpoint with


@dataclass(frozen=True, slots=True)
class Clip:
    """Where one utterance lies in the flat audio file; `dev` clips are never trained on."""

    source: str
    text: str
    start: int  # samples
    length: int  # samples
    dev: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the shared manifest."""

    path: str
    speaker: str
    gender: str
    age_group: str
    split: str
    text: str


def speech_folder() -> Path:
    """Return the folder of real speech; raise FileNotFoundError naming the variable to set."""
    folder = Path(os.environ.get("MYQASR_SPEECH", "../shared/speech"))
    if not (folder / "manifest.csv").is_file():
        raise FileNotFoundError(
            f"no manifest.csv in {folder}: set MYQASR_SPEECH to the folder of real speech"
        )
    return folder


def read_manifest(folder: Path) -> list[Row]:
    """Read the shared manifest."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return [
            Row(r["path"], r["speaker"], r["gender"], r["age_group"], r["split"], r["text"].upper())
            for r in csv.DictReader(file)
        ]


def is_reserved(row: Row) -> bool:
    """Tell whether the speaker of `row` belongs to the benchmarks."""
    ocean_test = row.speaker.startswith("ocean-") and row.split == "test"
    return ocean_test or row.speaker in RESERVED_SPEAKERS


def load_16khz(path: Path) -> NDArray[np.float32]:
    """Return the first channel of an audio file at 16 kHz."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono: NDArray[np.float32] = samples[:, 0]
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    return mono


def real_clips(folder: Path, rows: list[Row]) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Yield source, text and samples of the training speakers' utterances (no digits)."""
    chosen = [r for r in rows if not r.path.startswith("digits/") and not is_reserved(r)]
    with ThreadPoolExecutor(3) as pool:
        loaded = pool.map(lambda row: load_16khz(folder / row.path), chosen)
        for row, samples in zip(chosen, loaded, strict=True):
            if row.speaker in RESERVED_SPEAKERS or is_reserved(row):
                raise ValueError(f"{row.path}: speaker {row.speaker} is reserved for benchmarks")
            yield row.path.partition("/")[0], row.text, samples


def join_digits(
    clips: list[NDArray[np.float32]], pauses_seconds: list[float]
) -> NDArray[np.float32]:
    """Concatenate single digits with pauses of faint noise, each digit at the same loudness."""
    noise = np.random.default_rng(len(clips))
    parts: list[NDArray[np.float32]] = []
    for clip, pause_seconds in zip(clips, pauses_seconds, strict=True):
        parts.append(clip * (0.05 / max(1e-4, float(np.sqrt(np.mean(clip**2))))))
        silence = noise.normal(0.0, 1e-4, int(pause_seconds * SAMPLE_RATE_HZ))
        parts.append(silence.astype(np.float32))
    return np.concatenate(parts)


def digit_strings(
    folder: Path, rows: list[Row], speakers: list[str], count: int, longest: int, seed: int
) -> list[tuple[str, NDArray[np.float32]]]:
    """Return `count` connected digit strings, each made of one speaker's isolated digits."""
    rng = random.Random(seed)
    by_digit: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    for row in rows:
        if row.speaker in speakers:
            clip = load_16khz(folder / row.path)
            by_digit.setdefault((row.speaker, row.text), []).append(clip)
    strings = []
    for number in range(count):
        speaker = speakers[number % len(speakers)]
        text = digit_string(rng, 1, longest)
        clips = [rng.choice(by_digit[speaker, word]) for word in text.split()]
        strings.append((text, join_digits(clips, [rng.uniform(0.02, 0.2) for _ in clips])))
    return strings


def synthetic_texts(counts: dict[str, int], read: list[str], seed: int) -> list[tuple[str, str]]:
    """Return (source, text) pairs; `read` are transcripts of training speakers to cut from."""
    rng = random.Random(seed)
    pairs = []
    for source, count in counts.items():
        for _ in range(count):
            if source == "synth_digits":
                text = digit_string(rng, 1, 7)
            elif source == "synth_words":
                text = loose_words(rng, 1, 4)
            elif source.startswith("synth_sentences"):
                text = sentence(rng)
            elif source.startswith("synth_flite"):
                text = digit_string(rng, 2, 7) if rng.random() < 0.3 else sentence(rng)
            elif source == "synth_read":
                words = rng.choice(read).split()
                first = rng.randrange(max(1, len(words) - 3))
                text = " ".join(words[first : first + rng.randint(2, 9)])
            else:
                raise ValueError(f"unknown synthetic source {source!r} in the configuration")
            pairs.append((source, text))
    return pairs


def training_voice_of(source: str, rng: random.Random) -> Voice:
    """Draw a voice for a clip of `source`."""
    if source == "synth_flite_slt":
        return shifted_flite_voice(rng, ("slt",))
    return shifted_flite_voice(rng) if source.startswith("synth_flite") else training_voice(rng)


def user_texts() -> frozenset[str]:
    """Return every text of the synthetic users, which training must not hear."""
    with USERS_MANIFEST.open(encoding="utf-8", newline="") as file:
        return frozenset(row["text"] for row in csv.DictReader(file))


class CorpusWriter:
    """Appends clips to `audio.i16` and keeps their index; `close` makes both visible at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._audio = (folder / "audio.i16.tmp").open("wb")
        self._clips: list[Clip] = []
        self._samples = 0
        self._seen: dict[str, int] = {}

    def add(self, source: str, text: str, samples: NDArray[np.float32], dev_every: int) -> None:
        """Append one clip; every `dev_every`-th of a source is held out (0: none)."""
        count = self._seen[source] = self._seen.get(source, 0) + 1
        peak = max(1e-6, float(np.abs(samples).max()))
        self._audio.write((samples * (30_000 / peak)).astype("<i2").tobytes())
        dev = dev_every > 0 and count % dev_every == 0
        self._clips.append(Clip(source, text, self._samples, samples.size, dev))
        self._samples += samples.size

    def close(self) -> list[Clip]:
        """Finish both files and return the index."""
        self._audio.close()
        index = self._folder / "clips.json.tmp"
        index.write_text(json.dumps([asdict(clip) for clip in self._clips]))
        os.replace(self._folder / "audio.i16.tmp", self._folder / "audio.i16")
        os.replace(index, self._folder / "clips.json")
        return self._clips


def build_corpus(folder: Path, counts: dict[str, int], real_digit_strings: int, seed: int) -> None:
    """Write the corpus to `folder`. Raises when speech, synthesisers or the users are missing."""
    check_engines()
    check_voices_are_apart()
    heldout = user_texts()
    speech = speech_folder()
    rows = read_manifest(speech)
    writer = CorpusWriter(folder)
    for source, text, samples in real_clips(speech, rows):
        writer.add(source, text, samples, DEV_EVERY)
    speakers = sorted({r.speaker for r in rows if r.path.startswith("digits/")} - RESERVED_SPEAKERS)
    for text, samples in digit_strings(speech, rows, speakers, real_digit_strings, 7, seed):
        writer.add("digits", text, samples, 0)
    read = [r.text for r in rows if not r.path.startswith("digits/") and not is_reserved(r)]
    pairs = [p for p in synthetic_texts(counts, read, seed) if p[1] not in heldout]
    rng = random.Random(seed + 1)
    jobs = [(training_voice_of(source, rng), text) for source, text in pairs]
    with ThreadPoolExecutor(4) as pool:
        spoken = pool.map(lambda job: speak(job[0], job[1]), jobs)
        for (source, text), samples in zip(pairs, spoken, strict=True):
            writer.add(source, text, samples, 0)
    clips = writer.close()
    for source in sorted({clip.source for clip in clips}):
        lengths = [clip.length for clip in clips if clip.source == source]
        hours = sum(lengths) / SAMPLE_RATE_HZ / 3600
        print(f"{source}: {len(lengths)} clips, {hours:.2f} h")


def main() -> int:
    """Command line: build the corpus that the configuration describes."""
    parser = argparse.ArgumentParser(description="Build the training corpus.")
    parser.add_argument(
        "--config", type=Path, default=Path("tools/training/default_model_config.json")
    )
    config = json.loads(parser.parse_args().config.read_text())["corpus"]
    try:
        build_corpus(
            Path(config["folder"]),
            config["synthetic_clips"],
            config["real_digit_strings"],
            config["seed"],
        )
    except (RuntimeError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
