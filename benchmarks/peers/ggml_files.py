"""Our files for whisper.cpp beside those of its own quantiser, type by type, in whisper.cpp itself.

python -m benchmarks.peers.ggml_files [--speakers libri-1272,libri-84] [--clips 12] [--ours q4_0,q5_0,...]

Needs the extras `whisper-cpp`, `whisper-tiny-en` and `whisper-normalizer`, and $MYQASR_SPEECH or
../shared/speech. Ours are made of each speaker's first clips, and tried with theirs on the next ones:
divergence of the runtime's posteriors from the float model's over the float model's own text, and words of
greedy decoding. One thread.
"""

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers.clips import Speaker, TestClip, load_speaker
from benchmarks.peers.systems import rival_systems, spoken_model
from benchmarks.results import BUILD, save_result
from myqasr.api import Listener, export, personalize_model
from myqasr.core.errors import UserError
from myqasr.core.statistics import rate_difference
from myqasr.exporters.ggml.library import WhisperCpp
from myqasr.personalize.measuring.method import divergence
from myqasr.personalize.planning.plan import PlanRules
from myqasr.speech.decoding import best_tokens, greedy_logits, greedy_text
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.normalizers import normalizer
from myqasr.speech.scoring import utterance_word_errors

TARGET, THREADS, NORMALIZER = "whisper-cpp", 1, "whisper-english"
FLOAT, OWN = "float (torch)", "whisper.cpp"
THEIRS, OURS = ("q4_0", "q5_0", "q5_1", "q8_0"), ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")


@dataclass(frozen=True, slots=True)
class Heard:
    """One clip by one file. nats: summed over `tokens`. other_tokens: of these, not the float model's."""

    nats: float
    tokens: int
    other_tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One file over all clips. nats: per token, with bounds of resampled clips. same_text: share of clips."""

    system: str
    size_bytes: int | None
    nats: tuple[float, float, float]
    other_tokens: float
    word_errors: int
    words: int
    same_text: float


def our_files(speaker: Speaker, model: str, types: Sequence[str], folder: Path) -> dict[str, Path]:
    """A file of each type, by name: measured once, planned for each; those that are there stay."""
    made = {}
    listener = Listener(say=lambda text: print(f"{speaker.name}: {text}", flush=True))
    for kind in types:
        place = folder / f"{speaker.name} {kind}" / f"ggml-{speaker.name}.bin"
        if not place.is_file():
            run = personalize_model(
                model, list(speaker.fit), budget="1x", out=folder / speaker.name, target=TARGET,
                rules=PlanRules(precisions=(f"{kind}-a8b",)), listener=listener,
            )  # fmt: skip
            (written,) = export(run, target=TARGET, listener=listener)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(written.path, place)
        made[f"myqasr {kind}"] = place
    return made


def heard_by(
    model: SpeechModel, files: dict[str, Path], clips: Sequence[TestClip]
) -> Iterator[tuple[TestClip, dict[str, Heard]]]:
    """What each file, and the float model, makes of each clip."""
    how = model.tokens.autoregression
    assert how is not None
    loaded = {name: WhisperCpp(path, THREADS) for name, path in files.items()}
    for clip in clips:
        waveform = np.load(clip.path)
        features = model.features(waveform)[0].numpy()
        expected = model.logits(waveform)
        ids, text = best_tokens(expected, how), greedy_text(expected, model.tokens)
        found = {FLOAT: Heard(0.0, len(ids), 0, text)}
        wanted = _posteriors(model, expected)
        for name, library in loaded.items():
            library.listen(features)
            rows = [
                library.next_logits(token, place)
                for place, token in enumerate((*how.prompt, *ids[:-1]))
            ]
            logits = np.stack(rows[len(how.prompt) - 1 :])
            nats = divergence(wanted, _posteriors(model, logits))
            other = sum(a != b for a, b in zip(best_tokens(logits, how), ids, strict=True))
            own = greedy_text(greedy_logits(library.next_logits, how), model.tokens)
            found[name] = Heard(nats, len(ids), other, own)
        yield clip, found


def _posteriors(model: SpeechModel, logits: NDArray[np.float32]) -> torch.Tensor:
    how = model.tokens.autoregression
    assert how is not None
    forbidden = torch.from_numpy(how.forbidden(*logits.shape))
    return torch.from_numpy(logits).double().masked_fill(forbidden, -torch.inf).log_softmax(-1)


def rows(
    heard: Sequence[tuple[TestClip, dict[str, Heard]]], sizes: dict[str, int | None]
) -> list[Row]:
    """Systems in the order of `sizes`."""
    normalize = normalizer(NORMALIZER)
    found = []
    for name, size_bytes in sizes.items():
        by_clip = [each[name] for _, each in heard]
        errors = utterance_word_errors(
            [clip.text for clip, _ in heard], [each.text for each in by_clip], normalize
        )
        tokens = [each.tokens for each in by_clip]
        nats = rate_difference([each.nats for each in by_clip], [0] * len(tokens), tokens)
        same = [normalize(each[name].text) == normalize(each[FLOAT].text) for _, each in heard]
        found.append(
            Row(
                name,
                size_bytes,
                (nats.value, nats.low, nats.high),
                sum(each.other_tokens for each in by_clip) / sum(tokens),
                sum(each.errors for each in errors),
                sum(each.reference_length for each in errors),
                sum(same) / len(same),
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny.en", "base"), default="tiny.en")
    parser.add_argument("--speakers", default="libri-1272,libri-84")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--ours", default=",".join(OURS))
    parser.add_argument("--theirs", default=",".join(THEIRS))
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    folder = BUILD / "peers" / options.model
    theirs = [f"{OWN} {kind}" for kind in options.theirs.split(",")]
    systems = rival_systems(options.model, theirs, folder / "rivals", sys.executable, THREADS)
    own = {system.name: system.files[0] for system in systems}
    source = spoken_model(options.model)
    heard, sizes, speakers = [], dict[str, int | None]({FLOAT: None}), options.speakers.split(",")
    for name in speakers:
        speaker = load_speaker(name, options.clips, BUILD / "peers" / "clips" / name)
        files = own | our_files(speaker, source, options.ours.split(","), folder / "ggml")
        sizes |= {each: path.stat().st_size for each, path in files.items()}
        for clip, found in heard_by(load_model(source), files, speaker.test):
            print(name, clip.name, {each: round(one.nats, 3) for each, one in found.items()})
            heard.append((clip, found))
    table = rows(heard, sizes)
    for row in table:
        print(
            f"{row.system:18} {row.size_bytes or 0:12,} {row.nats[0]:.4f} nats a token, "
            f"WER {row.word_errors}/{row.words}, same text {row.same_text:.0%}"
        )
    figures = {
        "model": options.model,
        "speakers": speakers,
        "clips": len(heard),
        "seconds": sum(clip.seconds for clip, _ in heard),
        "normalizer": NORMALIZER,
        "rows": [asdict(row) for row in table],
    }
    command = shlex.join(["python", "-m", "benchmarks.peers.ggml_files", *sys.argv[1:]])
    print(save_result(f"ggml_{options.model.replace('.', '_')}", command, figures))


if __name__ == "__main__":
    try:
        main()
    except (UserError, FileNotFoundError) as error:
        sys.exit(str(error))
