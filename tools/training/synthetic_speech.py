"""Speech from espeak-ng and flite, with the voices of training and of the users kept apart.

Both are small rule- and unit-based synthesisers installed by every distribution: they need no
network and no licence beyond their own for the sound they make, and a seed reproduces the corpus.
"""

import random
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
_PEAK = 0.7
_SILENCE_THRESHOLD = 0.01
_EDGE_SECONDS = 0.12
_TIMEOUT_SECONDS = 60

# Voice variants of espeak-ng that only training hears; the users' variants are in `USERS`.
_VARIANTS = (
    "m1 m2 m4 m5 m6 m8 f1 f4 klatt klatt2 klatt3 Andy Annie Alicia Denis Gene Jacky Lee Mike "
    "Diogo adam anika aunty belinda benjamin boris caleb david ed edward iven linda michel norbert "
    "paul rob shelby steph2 travis victor Hugo Marco Michael Zac"
)
TRAINING_VARIANTS: tuple[str, ...] = tuple(_VARIANTS.split())
TRAINING_ACCENTS: tuple[str, ...] = (
    "en-gb",
    "en-us",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-029",
    "en-us-nyc",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
)
TRAINING_FLITE_VOICES: tuple[str, ...] = ("awb", "kal", "kal16")

# flite has five voices in all, too few to generalise from: the two that users speak with are heard in
# training too, but never at their own pitch, which is how the users have them. Hertz.
SHIFTED_FLITE_VOICES: dict[str, tuple[int, int]] = {
    "awb": (90, 150),
    "kal16": (80, 130),
    "rms": (75, 135),
    "slt": (140, 230),
}


@dataclass(frozen=True, slots=True)
class Voice:
    """One way of speaking: `name` is `accent+variant` for espeak-ng, the voice for flite."""

    engine: Literal["espeak-ng", "flite"]
    name: str
    words_per_minute: int
    pitch: int  # espeak-ng: 0..99, 50 is the voice's own; flite: hertz, 0 is the voice's own


@dataclass(frozen=True, slots=True)
class User:
    """A synthetic user: a voice that training never hears as it is."""

    speaker: str
    gender: Literal["F", "M"]
    voice: Voice


USERS: tuple[User, ...] = (
    User("synth-ada", "F", Voice("espeak-ng", "en-gb+f3", 130, 55)),
    User("synth-bea", "F", Voice("espeak-ng", "en-us+f5", 140, 48)),
    User("synth-cleo", "F", Voice("espeak-ng", "en-gb-scotland+f2", 120, 62)),
    User("synth-dan", "M", Voice("espeak-ng", "en-us+m3", 135, 40)),
    User("synth-eli", "M", Voice("espeak-ng", "en-gb-x-rp+m7", 145, 52)),
    User("synth-finn", "M", Voice("espeak-ng", "en-029+max", 125, 35)),
    User("synth-gwen", "F", Voice("flite", "slt", 140, 0)),
    User("synth-hal", "M", Voice("flite", "rms", 150, 0)),
)


def check_voices_are_apart() -> None:
    """Raise ValueError if training hears a user's espeak-ng variant, or a user's flite voice as it is."""
    for user in USERS:
        timbre = user.voice.name.rpartition("+")[2]
        unshifted = user.voice.engine == "flite" and user.voice.pitch == 0
        heard = TRAINING_FLITE_VOICES if user.voice.engine == "flite" else TRAINING_VARIANTS
        if timbre in heard or (user.voice.engine == "flite" and not unshifted):
            raise ValueError(
                f"user {user.speaker} speaks with {timbre!r}, which training hears too: "
                f"take it out of the training voices or give the user another voice"
            )


def check_engines() -> None:
    """Raise RuntimeError naming the missing synthesisers and how to install them."""
    missing = [engine for engine in ("espeak-ng", "flite") if shutil.which(engine) is None]
    if missing:
        raise RuntimeError(
            f"synthesiser not found: {', '.join(missing)}; install with "
            f"`apt-get install {' '.join(missing)}` (macOS: `brew install {' '.join(missing)}`)"
        )


def training_voice(rng: random.Random) -> Voice:
    """Draw a voice for training: one clip in six by flite, the rest by espeak-ng."""
    words_per_minute = rng.randint(125, 195)
    if rng.random() < 1 / 6:
        return Voice("flite", rng.choice(TRAINING_FLITE_VOICES), words_per_minute, 0)
    name = f"{rng.choice(TRAINING_ACCENTS)}+{rng.choice(TRAINING_VARIANTS)}"
    return Voice("espeak-ng", name, words_per_minute, rng.randint(20, 80))


def shifted_flite_voice(
    rng: random.Random, names: tuple[str, ...] = tuple(sorted(SHIFTED_FLITE_VOICES))
) -> Voice:
    """Draw a flite voice, one of `names`, at a pitch and speed that aren't its own."""
    name = rng.choice(names)
    low, high = SHIFTED_FLITE_VOICES[name]
    return Voice("flite", name, rng.randint(125, 195), rng.randint(low, high))


def _run(command: list[str]) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    except FileNotFoundError:
        check_engines()
        raise
    if done.returncode != 0:
        raise RuntimeError(
            f"{command[0]} failed with exit code {done.returncode}: "
            f"{done.stderr.decode(errors='replace').strip()[:200]}; command: {' '.join(command)}"
        )
    return done.stdout


def _raw_speech(voice: Voice, text: str) -> tuple[NDArray[np.float32], int]:
    spoken = text.lower()
    with tempfile.TemporaryDirectory(prefix="myqasr-voice-") as folder:
        wav = Path(folder) / "speech.wav"
        if voice.engine == "espeak-ng":
            speed, pitch = str(voice.words_per_minute), str(voice.pitch)
            _run(["espeak-ng", "-v", voice.name, "-s", speed, "-p", pitch, "-w", str(wav), spoken])
        else:
            stretch = f"duration_stretch={160 / voice.words_per_minute:.3f}"
            command = ["flite", "-voice", voice.name, "--setf", stretch]
            if voice.pitch > 0:
                command += ["--setf", f"int_f0_target_mean={voice.pitch}"]
            _run([*command, "-t", spoken, "-o", str(wav)])
        samples, rate_hz = soundfile.read(wav, dtype="float32", always_2d=True)
    return samples[:, 0], int(rate_hz)


def speak(voice: Voice, text: str) -> NDArray[np.float32]:
    """Return `text` spoken by `voice`: mono, 16 kHz, peak 0.7, short silences at both ends.

    Raises RuntimeError when the synthesiser is missing, fails or returns silence.
    """
    samples, rate_hz = _raw_speech(voice, text)
    if rate_hz != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    peak = float(np.abs(samples).max()) if samples.size > 0 else 0.0
    if peak == 0.0:
        raise RuntimeError(f"{voice.engine} voice {voice.name!r} returned silence for {text!r}")
    loud = np.flatnonzero(np.abs(samples) > _SILENCE_THRESHOLD * peak)
    edge = int(_EDGE_SECONDS * SAMPLE_RATE_HZ)
    first, last = max(0, int(loud[0]) - edge), min(samples.size, int(loud[-1]) + edge)
    return (samples[first:last] * (_PEAK / peak)).astype(np.float32)
