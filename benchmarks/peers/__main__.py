"""Our files of real Whisper beside whisper.cpp, CTranslate2 and ONNX Runtime, taking turns on one core.

python -m benchmarks.peers [--model tiny.en] [--speakers libri-1272,...] [--clips 20] [--budgets 31MB,31MB@10]

Needs the extras `peers` and `whisper-tiny-en` or `whisper-base`, and $MYQASR_SPEECH or ../shared/speech. Each
system decodes greedily, in a process of its own, on one thread. What is done is kept, for each speaker and
system, after every clip: the same command goes on where it was stopped, and a system more costs only itself.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.peers.clips import SPEAKERS, load_speaker, total_seconds
from benchmarks.peers.files import our_systems
from benchmarks.peers.summary import by_speaker, rows
from benchmarks.peers.systems import MODELS, RIVALS, float_system, rival_systems, spoken_model
from benchmarks.peers.turns import TurnOptions, take_turns
from benchmarks.results import BUILD, save_result
from myqasr.cli.terminal.output import listening
from myqasr.core.errors import UserError
from myqasr.runtime_bench.results.validity import MAX_OTHERS
from myqasr.speech.normalizers import NORMALIZERS, normalizer


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="tiny.en")
    parser.add_argument("--speakers", default=",".join(SPEAKERS), help="as in the manifests")
    parser.add_argument("--clips", type=int, default=20, help="test clips of each speaker, at most")
    parser.add_argument("--rivals", default=",".join(RIVALS), help="some of the default, or none")
    parser.add_argument("--budgets", default="", help="make our files at these: 31MB,31MB@10")
    parser.add_argument("--ours", help="exported files, e.g. 'out/{speaker}/*/*.pte'")
    parser.add_argument("--runner", default="executorch-cpp", help="of our files")
    parser.add_argument("--python", default=sys.executable, help="that has the extra peers")
    parser.add_argument("--normalizer", choices=NORMALIZERS, default="whisper-english")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each clip")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--result", help="name of the file in docs/results")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    normalizer(options.normalizer)
    folder = BUILD / "peers" / options.model
    turns = TurnOptions(options.repeats, options.threads)
    listed = [] if options.rivals in ("", "none") else options.rivals.split(",")
    rivals = rival_systems(
        options.model, listed, folder / "rivals", options.python, options.threads
    )
    heard = {}
    for name in options.speakers.split(","):
        speaker = load_speaker(name, options.clips, BUILD / "peers" / "clips" / name)
        with listening(name) as listener:
            ours = our_systems(
                speaker,
                [budget for budget in options.budgets.split(",") if budget],
                options.ours,
                spoken_model(options.model),
                folder / "ours",
                options.runner,
                options.threads,
                listener,
            )
        systems = [float_system(options.model, options.threads), *rivals, *ours]
        place = folder / "heard" / name
        heard[name] = speaker.test, take_turns(systems, speaker.test, place, turns, _saying(name))
    table = rows(heard, options.normalizer)
    busy = max(row.others_share for row in table)
    figures = {
        "model": options.model,
        "normalizer": options.normalizer,
        "threads": options.threads,
        "repeats": options.repeats,
        "speakers": list(heard),
        "seconds": sum(total_seconds(clips) for clips, _ in heard.values()),
        "problems": [f"other programs took {busy:.0%} of the core"] if busy > MAX_OTHERS else [],
        "rows": [asdict(row) for row in table],
        "by_speaker": by_speaker(heard, options.normalizer),
    }
    for row in table:
        print(
            f"{row.system:24} {row.size_bytes or 0:12,.0f} WER {100 * row.wer[0]:5.1f} % "
            f"same {100 * row.same_text:3.0f} % RTF {row.rtf:.3f} CPU {row.cpu_rtf:.3f} "
            f"{row.peak_rss_bytes / 1e6:.0f} MB"
        )
    result = options.result or f"peers_{options.model.replace('.', '_')}"
    print(save_result(result, _command(), figures))


def _saying(name: str) -> Callable[[str], None]:
    def say(text: str) -> None:
        print(f"{name}: {text}", flush=True)

    return say


def _command() -> str:
    """As it was typed, without the interpreter's path."""
    arguments = list(sys.argv[1:])
    if "--python" in arguments:
        arguments[arguments.index("--python") + 1] = Path(sys.executable).name
    return shlex.join(["python", "-m", "benchmarks.peers", *arguments])


if __name__ == "__main__":
    try:
        main()
    except (UserError, FileNotFoundError) as error:
        sys.exit(str(error))
