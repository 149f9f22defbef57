"""Make the golden vectors of the phone app from the default model and the default users' clips.

    make android-test BUILD_ONLY=1   # compiles the app's core and its tests
    python -m tools.golden.make_golden_vectors

The sessions run on the JVM, which writes down every input that the app's windowing gives the model; the float
model then runs on these inputs here.
"""

import json
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from myqasr.core.placing import write_bytes
from myqasr.core.storage import converter
from myqasr.runtime_bench.measure.transcription import model_inputs
from myqasr.runtime_bench.runners.exported import AudioInput
from myqasr.speech.audio import SAMPLE_RATE, load_audio
from myqasr.speech.datasets import Recording, audio_hash, find_clips
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from tools.golden.golden_clips import USERS, wav_name, write_clips
from tools.golden.golden_vectors import (
    GOLDEN_PATH,
    clip_entry,
    latency_entry,
    request_entry,
    scoring_entries,
    statistics_entries,
    total_wer,
)

BUILD = Path("build/android")
CLIPS = 50
MAX_SECONDS = 30
JOINED_CLIPS = 10  # of a long session
JOINED_MAX_SECONDS = 8


def main() -> None:
    model = load_model("default")
    test = [clip for clip in find_clips(USERS) if clip.split == "test"]
    chosen = [test[(2 * i + 1) * len(test) // (2 * CLIPS)] for i in range(CLIPS)]
    names = [str(clip.path.relative_to(USERS)) for clip in chosen]
    write_clips(names, BUILD / "clips")
    waves = {name: load_audio(BUILD / "clips" / wav_name(name)) for name in names}
    sessions = [{"clips": [name], "max_samples": MAX_SECONDS * SAMPLE_RATE} for name in names]
    for start in range(0, CLIPS, JOINED_CLIPS):
        joined = names[start : start + JOINED_CLIPS]
        sessions.append({"clips": joined, "max_samples": JOINED_MAX_SECONDS * SAMPLE_RATE})
    golden = {
        "model": model.model_id,
        "weights_hash": model.weights_hash(),
        "tokens": converter.unstructure(model.tokens),
        "input": {
            "sample_rate": SAMPLE_RATE,
            "normalize": model.normalize,
            "stride_samples": model.stride_samples,
        },
        "min_samples": model.min_samples,
        "clips": [
            clip_entry(name, clip.text or "", model.logits(waves[name]), model.tokens)
            for name, clip in zip(names, chosen, strict=True)
        ],
        "scoring": scoring_entries(),
        "statistics": statistics_entries(),
        "latency": latency_entry(),
    }
    golden["audio_hash"] = audio_hash(
        [Recording(clip, waves[name]) for name, clip in zip(names, chosen, strict=True)]
    )
    requested = requests(golden, sessions)
    for session in sessions:
        wave = np.concatenate([waves[name] for name in session["clips"]])
        session["text"] = offline_text(model, wave, session["max_samples"])
        session["clips"] = [wav_name(name) for name in session["clips"]]
    golden["wer"] = total_wer(golden)
    golden["sessions"] = sessions
    golden["requests"] = [
        request_entry(features, logits_of(model, features)) for features in requested
    ]
    write_bytes(GOLDEN_PATH, as_lines(golden).encode())
    print(f"{len(requested)} requests, {GOLDEN_PATH.stat().st_size:,} bytes in {GOLDEN_PATH}")


def as_lines(golden: dict) -> str:
    """JSON with one entry of each list a line, for readable differences."""
    parts = []
    for key, value in golden.items():
        if isinstance(value, list):
            entries = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in value)
            parts.append(f"{json.dumps(key)}: [\n{entries}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def offline_text(model: SpeechModel, wave: NDArray[np.float32], max_samples: int) -> str:
    """What `myqasr transcribe` would write, by the float model."""
    pieces = model_inputs(wave, AudioInput(model.normalize, model.min_samples, max_samples))
    texts = [greedy_text(logits_of(model, piece), model.tokens) for piece in pieces]
    return " ".join(text for text in texts if text)


def logits_of(model: SpeechModel, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits [frames, vocab] of features that are normalised already."""
    import torch

    from myqasr.speech.models.base import run

    return run(model.module, torch.from_numpy(features)[None], model.tokens)


def requests(golden: dict, sessions: list[dict]) -> list[NDArray[np.float32]]:
    """All inputs that the app's sessions give the model, in order."""
    plan = {key: golden[key] for key in ("tokens", "input", "min_samples")}
    plan["sessions"] = [
        session | {"clips": [wav_name(name) for name in session["clips"]]} for session in sessions
    ]
    with tempfile.TemporaryDirectory() as folder:
        listing, recorded = Path(folder, "sessions.json"), Path(folder, "requests.bin")
        listing.write_text(json.dumps(plan))
        subprocess.run(
            [
                "java",
                "-cp",
                f"{BUILD / 'core'}:{BUILD / 'tests'}",
                "org.myqasr.core.RecordRequests",
                str(BUILD / "clips"),
                str(listing),
                str(recorded),
            ],
            check=True,
        )
        data = recorded.read_bytes()
    found = []
    place = 0
    while place < len(data):
        (count,) = struct.unpack_from(">i", data, place)
        found.append(np.frombuffer(data, ">f4", count, place + 4).astype(np.float32))
        place += 4 + 4 * count
    return found


if __name__ == "__main__":
    main()
