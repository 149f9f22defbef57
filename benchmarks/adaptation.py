"""Does a model that learned one person's speech from a teacher's text hear that person better?

python -m benchmarks.adaptation [--model whisper-tiny.en?window=10] [--teacher whisper-base]
    [--speakers libri-1272,...] [--rows float,adapted,teacher,other,everyone,file,plain]
    [--tune 30] [--test 30]

Needs the extras of both models and $MYQASR_SPEECH or ../shared/speech. The first clips of a speaker are
learned from, unlabelled; the following ones are tested on. Rows are done one after the other for all
speakers, so that the first are complete early; what is done is kept, clip by clip, and the same command goes
on where it was stopped. Texts of files are those of the exported file on its own runtime.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers.clips import manifest_rows
from benchmarks.results import BUILD, save_result
from benchmarks.speakers import ratio
from myqasr.api import export, load_model, personalize_model
from myqasr.cli.terminal.output import listening
from myqasr.core.errors import UserError
from myqasr.core.placing import write_bytes
from myqasr.core.statistics import rate_difference
from myqasr.core.storage import record_hash
from myqasr.personalize.adapted import adapted_in
from myqasr.personalize.adapting.adapt import Adaptation, AdaptOptions
from myqasr.personalize.adapting.weights import copied
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.measure import transcription
from myqasr.runtime_bench.runners.base import open_system
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.datasets import Clip, Recording
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.normalizers import NORMALIZERS, normalizer
from myqasr.speech.recordings import cut_at_pauses
from myqasr.speech.scoring import utterance_word_errors
from tools.training.training_data import load_16khz, speech_folder

SPEAKERS = (
    *("1272", "cv-372293e65cda", "1462", "cv-b87dd0680063", "84", "cv-3f8c120d55b1"),
    *("174", "cv-d00446e08c60", "652", "2086", "1673", "2412"),
)
"""All reserved speakers with three minutes or more: eight of LibriSpeech, four of Common Voice."""
ROWS = ("float", "adapted", "teacher", "other", "everyone", "file", "plain")
"""Float; adapted float; the teacher; the next speaker's adapted float; the mean of all other speakers'
adapted weights; the adapted and the unadapted file."""
SECONDS = (1.0, 29.5)
TARGET = "xnnpack"

Waveform = NDArray[np.float32]
Hear = Callable[[Waveform], str]


@dataclass(frozen=True, slots=True)
class Speaker:
    """tune: unlabelled recordings. test: (name, samples, text) of others."""

    name: str
    tune: tuple[Recording, ...]
    test: tuple[tuple[str, Waveform, str], ...]


def load_speaker(name: str, tune: int, test: int) -> Speaker:
    """A speaker of the shared speech; raises UserError when there are too few clips."""
    speech = speech_folder()
    rows = manifest_rows(speech, name)
    rows = [row for row in rows if SECONDS[0] <= float(row["seconds"]) <= SECONDS[1]]
    if len(rows) <= tune:
        raise UserError(f"{len(rows)} clips of {name!r} in {speech}: no test clips after {tune}")
    return Speaker(
        name,
        tuple(
            Recording(Clip(speech / row["path"], name), load_16khz(speech / row["path"]))
            for row in rows[:tune]
        ),
        tuple(
            (row["path"], load_16khz(speech / row["path"]), row["text"])
            for row in rows[tune : tune + test]
        ),
    )


class Bench:
    """What is asked for, and the models, each loaded when it is first needed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.asked = AdaptOptions(seed=options.seed)
        self.names = [
            name if "-" in name else f"libri-{name}" for name in options.speakers.split(",")
        ]
        self.folder = BUILD / "adaptation" / options.model.replace("/", "_")
        self._models: dict[str, SpeechModel] = {}
        self._told: dict[str, Adaptation] = {}

    def model(self, source: str) -> SpeechModel:
        """Loaded once."""
        if source not in self._models:
            self._models[source] = load_model(source)
        return self._models[source]

    def speaker(self, name: str) -> Speaker:
        """With as many clips as were asked for."""
        return load_speaker(name, self.options.tune, self.options.test)

    def adapted(self, name: str) -> tuple[SpeechModel, Adaptation]:
        """The model as it learned a speaker, and what that did."""
        model, speaker = self.model(self.options.model), self.speaker(name)
        pieces = cut_at_pauses(speaker.tune, model.piece_samples, model.min_samples)
        run = RunFolder(self.folder / "learned" / name)
        with listening(name) as listener:
            learned, self._told[name] = adapted_in(
                run, model, pieces, self.model(self.options.teacher), self.asked, listener.say,
                listener.progress,
            )  # fmt: skip
        return learned, self._told[name]

    def told(self, name: str) -> Adaptation:
        """What adapting to a speaker did."""
        return self._told[name] if name in self._told else self.adapted(name)[1]

    def hear(self, row: str, name: str) -> Hear:
        """What writes the texts of a row for one speaker."""
        if row == "float":
            return self.model(self.options.model).transcribe
        if row == "teacher":
            return self.model(self.options.teacher).transcribe
        if row in ("adapted", "other"):
            whose = self.names[(self.names.index(name) + (row == "other")) % len(self.names)]
            return self.adapted(whose)[0].transcribe
        if row == "everyone":
            return self.mean([other for other in self.names if other != name]).transcribe
        return self.file(name, adapted=row == "file")

    def mean(self, names: Sequence[str]) -> SpeechModel:
        """The model with the mean of what these speakers taught it."""
        float_model = self.model(self.options.model)
        module = copied(float_model.module)
        with torch.no_grad():
            for name in names:
                learned = dict(self.adapted(name)[0].module.named_parameters())
                for weight, (key, before) in zip(
                    module.parameters(), float_model.module.named_parameters(), strict=True
                ):
                    weight.add_((learned[key] - before) / len(names))
        return replace(float_model, module=module)

    def file(self, name: str, adapted: bool) -> Hear:
        """An exported file on its runtime, personalised with or without the teacher."""
        out = self.folder / ("files" if adapted else "plain files") / name
        speaker = self.speaker(name)
        with listening(name) as listener:
            run = personalize_model(
                self.model(self.options.model), list(speaker.tune), budget=self.options.budget,
                out=out, target=TARGET, listener=listener,
                teacher=self.model(self.options.teacher) if adapted else None,
            )  # fmt: skip
            (written,) = export(run, target=TARGET, listener=listener)
        exported = exported_file(written.path)
        runner = open_system(exported.system, 1)

        def hear(waveform: Waveform) -> str:
            inputs = transcription.model_inputs(waveform, exported.audio)
            return transcription.transcribe(runner, inputs, exported.tokens)

        return hear


def texts_of(bench: Bench, row: str, name: str) -> list[str]:
    """Texts of a speaker's test clips; those that were written down aren't made again."""
    speaker, options = bench.speaker(name), bench.options
    learned = [options.model, options.teacher, options.tune, repr(bench.asked)]
    key = record_hash(
        {
            "float": [options.model],
            "teacher": [options.teacher],
            "adapted": learned,
            "other": [*learned, *bench.names],
            "everyone": [*learned, *bench.names],
            "file": [*learned, options.budget],
            "plain": [options.model, options.tune, options.budget],
        }[row]
    )
    path = bench.folder / "texts" / f"{name} {row} {key[:12]}.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    lacking = [(clip, waveform) for clip, waveform, _ in speaker.test if clip not in known]
    if lacking:
        hear = bench.hear(row, name)
        for clip, waveform in lacking:
            known[clip] = hear(waveform)
            write_bytes(path, json.dumps(known).encode())
    return [known[clip] for clip, _, _ in speaker.test]


def figures(bench: Bench, heard: dict[str, dict[str, list[str]]]) -> dict[str, object]:
    """Word errors by speaker and row, and what each row has more than float.

    heard: speaker -> row -> texts.
    """
    normalize = normalizer(bench.options.normalizer)
    speakers, rates = {}, {}
    for name, by_row in heard.items():
        texts = [text for _, _, text in bench.speaker(name).test]
        counted = {
            row: utterance_word_errors(texts, said, normalize) for row, said in by_row.items()
        }
        lengths = [each.reference_length for each in counted["float"]]
        errors = {row: [each.errors for each in counts] for row, counts in counted.items()}
        rates[name] = {row: sum(each) / sum(lengths) for row, each in errors.items()}
        speakers[name] = {
            "words": sum(lengths),
            "errors": {row: sum(each) for row, each in errors.items()},
            "more_than_float": {
                row: asdict(rate_difference(each, errors["float"], lengths))
                for row, each in errors.items()
                if row != "float"
            },
            "adapting": _told(bench.told(name)) if "adapted" in by_row else None,
        }
    return {
        "model": bench.options.model,
        "teacher": bench.options.teacher,
        "normalizer": bench.options.normalizer,
        "tune_clips": bench.options.tune,
        "test_clips": bench.options.test,
        "budget": bench.options.budget,
        "rows": {
            row: over_speakers(rates, row) for row in ROWS if all(row in r for r in rates.values())
        },
        "own_over_other": against_others(rates),
        "speakers": speakers,
    }


def against_others(rates: dict[str, dict[str, float]]) -> list[float] | None:
    """WER of speakers' own adapted weights over that of another speaker's, with bounds."""
    if not all({"adapted", "other"} <= set(each) for each in rates.values()):
        return None
    own, others = (np.array([each[row] for each in rates.values()]) for row in ("adapted", "other"))
    return list(ratio(own, others))


def over_speakers(rates: dict[str, dict[str, float]], row: str) -> dict[str, object]:
    """Mean WER of the speakers, and how much of float's it is less, with bounds of resampled speakers."""
    ours = np.array([each[row] for each in rates.values()])
    floats = np.array([each["float"] for each in rates.values()])
    relative = [bound - 1 for bound in ratio(ours, floats)]
    return {
        "mean_wer": float(ours.mean()),
        "relative": relative,
        "worst_points": float(100 * (ours - floats).max()),
    }


def _told(found: Adaptation) -> dict[str, object]:
    return {
        "labelled": found.labelled,
        "clips": found.clips,
        "seconds": found.seconds,
        "left_out": found.left_out,
        "epochs": found.epochs,
        "strength": found.choice.strength,
        "loss": [found.choice.before, found.choice.after],
        "words": [found.words_before.rate, found.words_after.rate],
        "took_seconds": found.took_seconds,
    }


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="whisper-tiny.en?window=10")
    parser.add_argument("--teacher", default="whisper-base")
    parser.add_argument("--speakers", default=",".join(SPEAKERS), help="as in the manifests")
    parser.add_argument("--rows", default=",".join(ROWS), help="float first")
    parser.add_argument("--tune", type=int, default=30, help="clips to learn from")
    parser.add_argument("--test", type=int, default=30, help="clips to test on, at most")
    parser.add_argument("--budget", default="0.25x", help="of the files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--normalizer", choices=NORMALIZERS, default="whisper-english")
    parser.add_argument("--result", default="adaptation", help="name of the file in docs/results")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed(sys.argv[1:])
    normalizer(options.normalizer)
    rows = options.rows.split(",")
    if rows[0] != "float" or set(rows) - set(ROWS):
        raise UserError(f"--rows {options.rows}: float first, then some of {', '.join(ROWS[1:])}")
    bench = Bench(options)
    heard: dict[str, dict[str, list[str]]] = {name: {} for name in bench.names}
    for row in rows:
        for name in bench.names:
            heard[name][row] = texts_of(bench, row, name)
            done = {each: said for each, said in heard.items() if row in said}
            found = figures(bench, done)
            print(row, name, json.dumps(found["speakers"][name]["errors"]), flush=True)  # type: ignore[index]
    command = shlex.join(["python", "-m", "benchmarks.adaptation", *sys.argv[1:]])
    print(json.dumps(found["rows"], indent=1))
    print(save_result(options.result, command, found))


if __name__ == "__main__":
    try:
        main()
    except (UserError, FileNotFoundError) as error:
        sys.exit(str(error))
