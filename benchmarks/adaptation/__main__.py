"""Does a model that learned one person's speech from a teacher's text hear that person better?

python -m benchmarks.adaptation [--model whisper-tiny.en?window=10] [--teacher whisper-base]
    [--speakers libri-1272,...] [--rows float,whole,many,adapted,...] [--tune 30] [--test 30]

Needs the extras of both models and $MYQASR_SPEECH or ../shared/speech. The first clips of a speaker are
learned from, unlabelled; the following ones are tested on. Learning begins with what the model learned from
many other people, once (`--alone`: with the published weights). Rows are done one after the other for all
speakers, so that the first are complete early; what is done is kept, clip by clip, and the same command goes
on where it was stopped. Texts of files are those of the exported file on its own runtime.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import torch

from benchmarks.adaptation.figures import figures
from benchmarks.adaptation.people import SPEAKERS, Speaker, Waveform, load_speaker, many
from benchmarks.results import BUILD, save_result
from myqasr.api import export, load_model, personalize_model
from myqasr.cli.terminal.output import listening
from myqasr.core.errors import UserError
from myqasr.core.placing import write_bytes
from myqasr.core.storage import record_hash
from myqasr.personalize.adapted import adapted_in, start_of
from myqasr.personalize.adapting.adapt import Adaptation, AdaptOptions, Start
from myqasr.personalize.adapting.weights import adapted, copied
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.measure import transcription
from myqasr.runtime_bench.runners.base import open_system
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.datasets import Recording
from myqasr.speech.models.base import Source, SpeechModel
from myqasr.speech.normalizers import NORMALIZERS, normalizer
from myqasr.speech.recordings import cut_at_pauses

ROWS = ("float", "whole", "teacher", "many", "adapted", "other", "everyone", "file", "plain")
"""Float; float with its whole window; the teacher; what many people taught; adapted float; the next speaker's
adapted float; the mean of all other speakers' adapted weights; the adapted and the unadapted file."""
MEASURED = 16
"""Clips that costs and codes of files are from, at most."""
TARGET = "xnnpack"

Hear = Callable[[Waveform], str]


class Bench:
    """What is asked for, and the models, each loaded when it is first needed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.asked = AdaptOptions(seed=options.seed)
        self.names = [
            name if "-" in name else f"libri-{name}" for name in options.speakers.split(",")
        ]
        self.folder = BUILD / "adaptation" / options.model.replace("/", "_")
        self.learned = self.folder / ("learned alone" if options.alone else "learned")
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

    @cached_property
    def start(self) -> Start | None:
        """What many other people taught the model, learned once."""
        if self.options.alone:
            return None
        run = RunFolder(self.folder / "many")
        self.learn(run, many())
        return start_of(run.path, self.model(self.options.model))

    def learn(
        self, run: RunFolder, recordings: Sequence[Recording], start: Start | None = None
    ) -> tuple[SpeechModel, Adaptation]:
        """The model as it learned from recordings, and what that did."""
        model = self.model(self.options.model)
        pieces = cut_at_pauses(recordings, model.piece_samples, model.min_samples)
        with listening(run.name) as listener:
            return adapted_in(
                run, model, pieces, self.model(self.options.teacher), self.asked, listener.say,
                listener.progress, start,
            )  # fmt: skip

    def adapted(self, name: str) -> tuple[SpeechModel, Adaptation]:
        """The model as it learned a speaker, and what that did."""
        run = RunFolder(self.learned / name)
        learned, self._told[name] = self.learn(run, self.speaker(name).tune, self.start)
        return learned, self._told[name]

    def told(self, name: str) -> Adaptation:
        """What adapting to a speaker did."""
        return self._told[name] if name in self._told else self.adapted(name)[1]

    def hear(self, row: str, name: str) -> Hear:
        """What writes the texts of a row for one speaker."""
        if row in ("file", "plain"):
            return self.file(name, adapted=row == "file")
        return self.speaking(row, name).transcribe

    def speaking(self, row: str, name: str) -> SpeechModel:
        """The model of a row that isn't a file."""
        if row in ("adapted", "other"):
            whose = self.names[(self.names.index(name) + (row == "other")) % len(self.names)]
            return self.adapted(whose)[0]
        if row == "everyone":
            return self.mean([other for other in self.names if other != name])
        model = self.model(self.options.model)
        if row == "many" and self.start is not None:
            return adapted(model, self.start.added, model.weights_hash())
        whole = str(replace(Source.parse(self.options.model), window=None))
        named = {"teacher": self.options.teacher, "whole": whole}
        return self.model(named.get(row, self.options.model))

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
        """An exported file on its runtime, of the speaker's adapted weights or of the published ones."""
        out = self.folder / ("files" if adapted else "plain files") / name
        told = self.told(name)
        start = self.learned / name if adapted and told.adapted_hash is not None else None
        with listening(name) as listener:
            run = personalize_model(
                self.model(self.options.model), list(self.speaker(name).tune[:MEASURED]),
                budget=self.options.budget, out=out, target=TARGET, listener=listener, start=start,
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
    before = [options.model, options.teacher, repr(bench.asked)]
    learned = [*before, options.tune, options.alone]
    key = record_hash(
        {
            "float": [options.model],
            "whole": [options.model],
            "many": before,
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
    parser.add_argument("--alone", action="store_true", help="without the many others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--normalizer", choices=NORMALIZERS, default="whisper-english")
    parser.add_argument("--result", default="adaptation", help="name of the file in docs/results")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed(sys.argv[1:])
    normalize = normalizer(options.normalizer)
    rows = options.rows.split(",")
    if rows[0] != "float" or set(rows) - set(ROWS):
        raise UserError(f"--rows {options.rows}: float first, then some of {', '.join(ROWS[1:])}")
    bench = Bench(options)
    if options.alone and "many" in rows:
        raise UserError(
            "--alone: learning begins with the published weights, there is no row `many`"
        )
    heard: dict[str, dict[str, list[str]]] = {name: {} for name in bench.names}
    texts = {name: [text for _, _, text in bench.speaker(name).test] for name in bench.names}
    for row in rows:
        for name in bench.names:
            heard[name][row] = texts_of(bench, row, name)
            done = {each: said for each, said in heard.items() if row in said}
            found = figures(done, texts, ROWS, bench.told, normalize)
            print(row, name, json.dumps(found["speakers"][name]["errors"]), flush=True)  # type: ignore[index]
    command = shlex.join(["python", "-m", "benchmarks.adaptation", *sys.argv[1:]])
    print(json.dumps(found["rows"], indent=1))
    asked = {
        "model": options.model, "teacher": options.teacher, "normalizer": options.normalizer,
        "tune_clips": options.tune, "test_clips": options.test, "budget": options.budget,
        "alone": options.alone,
    }  # fmt: skip
    print(save_result(options.result, command, asked | found))


if __name__ == "__main__":
    try:
        main()
    except (UserError, FileNotFoundError) as error:
        sys.exit(str(error))
