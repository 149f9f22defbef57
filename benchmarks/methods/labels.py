"""Which of a teacher's labels are right? Word errors by its confidence, and by what else might tell.

python -m benchmarks.methods.labels [--speakers 1272,84,1462,174] [--clips 36]

The transcripts are looked at here, and nowhere in the package. Needs the extras `whisper-tiny-en` and
`whisper-base` and $MYQASR_SPEECH; clip by clip, the same command goes on where it was stopped.
"""

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.adaptation.people import load_speaker
from benchmarks.results import BUILD, save_result
from myqasr.personalize.adapting.augmenting import at_speed
from myqasr.personalize.adapting.labelling import OTHER_SPEED, heard_by
from myqasr.speech.models import load_model
from myqasr.speech.normalizers import WHISPER_ENGLISH, normalizer
from myqasr.speech.scoring import utterance_word_errors

MODELS = {"teacher": "whisper-base", "teacher@10": "whisper-base?window=10"}
STUDENT = "whisper-tiny.en?window=10"
BANDS = (-np.inf, -0.5, -0.35, -0.25, -0.2, -0.15, 0.0)
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)
LONGEST = 15.0

Heard = dict[str, Any]
Counts = NDArray[np.float64]


def hear(speakers: Sequence[str], clips: int, path: Path) -> list[Heard]:
    """Texts and confidences of every clip, kept one by one as lines of JSON."""
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    done = {each["path"] for each in known}
    models = {name: load_model(source) for name, source in MODELS.items()}
    student = load_model(STUDENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in speakers:
        for clip, waveform, text in load_speaker(name, 0, clips).test:
            if clip in done or len(waveform) > LONGEST * 16_000:
                continue
            found: Heard = {"path": clip, "speaker": name, "spoken": text}
            for title, model in models.items():
                found[title], found[f"{title} confidence"], _ = heard_by(model, waveform)
            found["slow"] = models["teacher@10"].transcribe(at_speed(waveform, OTHER_SPEED))
            found["student"] = student.transcribe(waveform)
            known.append(found)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
    return known


def counted(references: Sequence[str], texts: Sequence[str]) -> Counts:
    """Word errors and words of every clip, [clips, 2]."""
    errors = utterance_word_errors(references, texts, normalizer(WHISPER_ENGLISH))
    return np.array([(each.errors, each.reference_length) for each in errors], np.float64)


def rate(counts: Counts) -> float:
    """Of all clips together."""
    return float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1))


def figures(heard: Sequence[Heard]) -> dict[str, object]:
    """Word errors of labels and student, by the teacher's confidence and by share of clips kept."""
    spoken = [each["spoken"] for each in heard]
    texts = {name: [each[name] for each in heard] for name in (*MODELS, "student", "slow")}
    wrong = {name: counted(spoken, said) for name, said in texts.items()}
    short = texts["teacher@10"]

    def differing(name: str) -> Counts:
        counts = counted(short, texts[name])
        return np.asarray(counts[:, 0] / np.maximum(counts[:, 1], 1))

    confidence = {name: np.array([each[f"{name} confidence"] for each in heard]) for name in MODELS}
    doubts = {
        "confidence": -confidence["teacher@10"],
        "student differs": differing("student"),
        "slower differs": differing("slow"),
        "window differs": differing("teacher"),
    }
    bands = []
    for low, high in itertools.pairwise(BANDS):
        within = (confidence["teacher"] >= low) & (confidence["teacher"] < high)
        if within.any():
            bands.append(
                {
                    "from": None if np.isinf(low) else low,
                    "to": high,
                    "clips": int(within.sum()),
                    "teacher": rate(wrong["teacher"][within]),
                    "student": rate(wrong["student"][within]),
                }
            )
    kept = {}
    for name, doubt in doubts.items():
        order = np.argsort(doubt, kind="stable")
        first = {share: order[: round(share * len(order))] for share in SHARES}
        kept[name] = {
            str(share): [rate(wrong["teacher@10"][each]), rate(wrong["student"][each])]
            for share, each in first.items()
        }
    sure = confidence["teacher@10"] >= -0.35
    again = sure & (doubts["slower differs"] <= 0.1)
    return {
        "clips": len(heard),
        "wer": {name: rate(each) for name, each in wrong.items()},
        "by_confidence": bands,
        "kept": kept,
        "second_hearing": [rate(wrong["teacher@10"][sure]), rate(wrong["teacher@10"][again])],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speakers", default="1272,84,1462,174")
    parser.add_argument("--clips", type=int, default=36)
    options = parser.parse_args()
    names = [f"libri-{name}" for name in options.speakers.split(",")]
    heard = hear(names, options.clips, BUILD / "labels" / "heard.jsonl")
    command = shlex.join(["python", "-m", "benchmarks.methods.labels", *sys.argv[1:]])
    print(save_result("labels", command, figures(heard)))


if __name__ == "__main__":
    main()
