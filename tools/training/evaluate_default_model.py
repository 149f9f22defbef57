"""Measure the default model's greedy WER and print the table of its model card.

    python -m tools.training.evaluate_default_model speech/default_model build/evaluation.json
    (add `--card speech/default_model/README.md` to put the tables into the model card)

Synthetic users' test clips always; reserved real speakers when the shared speech is there
(`$MYQASR_SPEECH`, default `../shared/speech`), and a line saying so when it is not.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import Wav2Vec2ForCTC

from tools.training.training_data import (
    RESERVED_SPEAKERS,
    Row,
    digit_strings,
    is_reserved,
    load_16khz,
    read_manifest,
    speech_folder,
)
from tools.training.training_evaluation import Labelled, user_clips, word_errors

DIGIT_STRINGS_PER_SPEAKER = 100
LONGEST_DIGIT_STRING = 7
SEED = 11
_CARD_START = "<!-- scores: start -->"
_CARD_END = "<!-- scores: end -->"


@dataclass(frozen=True, slots=True)
class Score:
    """Word errors of one group of clips."""

    group: str
    clips: int
    words: int
    errors: int
    wer: float


def score(model: Wav2Vec2ForCTC, clips: list[Labelled]) -> list[Score]:
    """Return one score per group, in the order in which the groups first occur."""
    scores = []
    for group in dict.fromkeys(clip.group for clip in clips):
        members = [clip for clip in clips if clip.group == group]
        errors, words, _ = word_errors(model, members)
        scores.append(Score(group, len(members), words, errors, errors / words))
    return scores


def _reserved_group(row: Row) -> str | None:
    if row.path.startswith("libri/") and is_reserved(row):
        return f"{row.speaker} ({row.gender})"
    if row.path.startswith("ocean/") and is_reserved(row) and row.age_group == "adult":
        return f"ocean, adult test speakers ({row.gender})"
    return None


def real_clips() -> list[Labelled]:
    """Return the reserved real speakers' clips; raise FileNotFoundError when they are absent."""
    folder = speech_folder()
    rows = read_manifest(folder)
    chosen = [(group, row) for row in rows if (group := _reserved_group(row)) is not None]
    chosen.sort(key=lambda pair: pair[0])
    with ThreadPoolExecutor(2) as pool:
        audio = list(pool.map(lambda pair: load_16khz(folder / pair[1].path), chosen))
    clips = [Labelled(g, row.text, x) for (g, row), x in zip(chosen, audio, strict=True)]
    for speaker in sorted(name for name in RESERVED_SPEAKERS if name.startswith("digits-")):
        strings = digit_strings(
            folder, rows, [speaker], DIGIT_STRINGS_PER_SPEAKER, LONGEST_DIGIT_STRING, SEED
        )
        clips += [Labelled(f"{speaker}, 1-7 digits", text, x) for text, x in strings]
    return clips


def table(scores: list[Score]) -> str:
    """Return the scores as a Markdown table."""
    lines = ["| speaker | clips | words | WER |", "|---|---:|---:|---:|"]
    lines += [f"| {s.group} | {s.clips} | {s.words} | {100 * s.wer:.1f} % |" for s in scores]
    return "\n".join(lines)


def write_card(card: Path, tables: str) -> None:
    """Put the tables between the marks of the model card; raise ValueError without marks."""
    before, start, rest = card.read_text(encoding="utf-8").partition(_CARD_START)
    _, end, after = rest.partition(_CARD_END)
    if not start or not end:
        raise ValueError(f"{card} has no lines {_CARD_START!r} and {_CARD_END!r} to write between")
    text = f"{before}{start}\n{tables}\n{end}{after}"
    temporary = card.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, card)


def main() -> int:
    """Command line: evaluate a model folder, write the scores, print the table."""
    parser = argparse.ArgumentParser(description="Measure the default model's WER.")
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--card", type=Path, help="model card to put the tables into")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--users-only", action="store_true", help="skip the real speakers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = Wav2Vec2ForCTC.from_pretrained(arguments.model, dtype=torch.float32).eval()
    scores = score(model, user_clips("test"))
    average = sum(s.wer for s in scores) / len(scores)
    tables = f"{table(scores)}\n\nMean over synthetic users: {100 * average:.1f} %.\n"
    if not arguments.users_only:
        try:
            scores += (real := score(model, real_clips()))
            tables += f"\n{table(real)}\n"
        except FileNotFoundError as error:
            print(f"real speakers not measured: {error}", file=sys.stderr)
    print(tables)
    if arguments.card is not None:
        write_card(arguments.card, tables)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps([asdict(s) for s in scores], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
