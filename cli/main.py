"""The console script `myqasr`: each command is one module, imported only when it is called."""

from pathlib import Path
from typing import Annotated

import typer

from myqasr.cli.people import add_people_commands
from myqasr.cli.terminal.options import (
    MOST_SEED,
    Allocation,
    Json,
    Keep,
    LearningThreads,
    MaxSeconds,
    MostPrecisions,
    Precisions,
    Run,
    Start,
    Target,
    Threads,
    Tied,
)
from myqasr.cli.terminal.output import reports_user_errors
from myqasr.cli.terminal.rules import rules_of
from myqasr.cli.terminal.selection import Gender, Language, Speakers, Split, selection_of

app = typer.Typer(
    name="myqasr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fit a speech recogniser to one person's phone: mixed precision under a byte budget, "
    "without labels.",
)


@app.command()
@reports_user_errors
def personalize(
    model: Annotated[
        str, typer.Argument(help="`default`, `whisper-tiny.en`, a model folder, or a hub id.")
    ],
    audio: Annotated[
        list[Path], typer.Argument(help="Unlabelled recordings: folder, files, list or manifest.")
    ],
    budget: Annotated[
        str, typer.Option(help="File size: 4MB, 3.5MiB, 900KB, or 0.2x of the float size.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder; its name names the files.")],
    target: Target = "xnnpack",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    clips: Annotated[int, typer.Option(help="Recordings to measure on.", min=1)] = 32,
    threads: LearningThreads = None,
    seed: Annotated[
        int, typer.Option(help="Decides which labels are drawn.", min=0, max=MOST_SEED)
    ] = 0,
    prior: Annotated[
        Path | None,
        typer.Option(help="Run on many speakers, for costs from less than a minute of speech."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Recogniser whose text the model learns this person's speech from, or `self`."
        ),
    ] = None,
    start: Start = None,
    rounding: Annotated[
        str,
        typer.Option(
            help="gptq: codes make up for each other's errors; gptq-differences; nearest."
        ),
    ] = "gptq",
    scales: Annotated[
        str,
        typer.Option(
            help="What scales keep small: mse, hessian, l1, cosine, ...; max clips nothing."
        ),
    ] = "mse",
    ranges: Annotated[
        str, typer.Option(help="Stored activation ranges: min-max, percentile or mse.")
    ] = "percentile",
    sensitivity: Annotated[
        str,
        typer.Option(
            help="How costs are measured: fisher, kl (slow, exact), l2, median, ... (docs)."
        ),
    ] = "fisher",
    precisions: Precisions = "",
    keep: Keep = None,
    allocation: Allocation = "",
    max_precisions: MostPrecisions = None,
    tie_inputs: Tied = False,
    speakers: Speakers = None,
    gender: Gender = None,
    language: Language = None,
    split: Split = None,
    as_json: Json = False,
) -> None:
    """Measure what each precision of each layer costs this speaker, and spend the byte budget best."""
    from myqasr.cli.commands.personalize import Measuring, run

    selection = selection_of(speakers, gender, language, split)
    run(
        model, audio, selection, budget, out, target, clips,
        Measuring(device, seed, rounding, sensitivity, scales, ranges, threads),
        prior, rules_of(precisions, keep, allocation, max_precisions, tie_inputs), teacher, start,
        as_json,
    )  # fmt: skip


@app.command()
@reports_user_errors
def adapt(
    model: Annotated[str, typer.Argument(help="As for `myqasr personalize`.")],
    audio: Annotated[
        list[Path], typer.Argument(help="Unlabelled recordings of one person, or of many.")
    ],
    teacher: Annotated[
        str, typer.Option(help="Recogniser whose text the model learns from, or `self`.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder, for --start.")],
    clips: Annotated[int, typer.Option(help="Recordings to learn from, at most.", min=1)] = 256,
    threads: LearningThreads = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED)] = 0,
    start: Start = None,
    speakers: Speakers = None,
    gender: Gender = None,
    language: Language = None,
    split: Split = None,
    as_json: Json = False,
) -> None:
    """Learn from a bigger recogniser's text of many people's recordings, for `personalize --start`."""
    from myqasr.cli.commands.adapt import run

    selection = selection_of(speakers, gender, language, split)
    run(model, audio, selection, teacher, out, clips, threads, seed, start, as_json)


@app.command()
@reports_user_errors
def export(
    run_folder: Run,
    target: Annotated[str | None, typer.Option(help="Default: every target with a plan.")] = None,
    max_seconds: MaxSeconds = 15.0,
    lengths: Annotated[
        str,
        typer.Option(help="Core ML: seconds that the file takes and no others, e.g. 2,5,10,15."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Write the planned file, read it back, and prove that it holds the plan within the budget."""
    from myqasr.cli.commands.export import run

    run(run_folder, target, max_seconds, lengths, as_json)


@app.command()
@reports_user_errors
def curve(
    run_folder: Run,
    target: Target = "xnnpack",
    budgets: Annotated[
        str, typer.Option(help="E.g. 3MB,4MB,0.3x; default: steps from the smallest to the float.")
    ] = "",
    steps: Annotated[
        int, typer.Option(help="How many budgets when none are named.", min=2, max=1000)
    ] = 12,
    precisions: Precisions = "",
    keep: Keep = None,
    allocation: Allocation = "",
    max_precisions: MostPrecisions = None,
    tie_inputs: Tied = False,
    as_json: Json = False,
) -> None:
    """What each budget would buy this speaker: the best plan's size, bits and expected divergence."""
    from myqasr.cli.commands.curve import run

    rules = rules_of(precisions, keep, allocation, max_precisions, tie_inputs)
    run(run_folder, target, budgets, steps, rules, as_json)


@app.command()
@reports_user_errors
def bench(
    run_folder: Run,
    data: Annotated[
        list[Path],
        typer.Option(help="Labelled clips: folder, LibriSpeech tree, CSV or NeMo manifest."),
    ],
    target: Annotated[str | None, typer.Option(help="Default: every exported target.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use this many clips at most.", min=1)] = None,
    runner: Annotated[
        list[str] | None,
        typer.Option(
            help="executorch, executorch-cpp, arm64[:cortex-a53], adb:SERIAL; again for more than one."
        ),
    ] = None,
    threads: Threads = 2,
    runs: Annotated[
        int, typer.Option(help="Timed runs of each system, at least.", min=1, max=1_000_000)
    ] = 50,
    seconds: Annotated[
        float, typer.Option(help="Timed seconds of each system, at least.", min=0)
    ] = 5.0,
    operations: Annotated[
        bool, typer.Option("--operations", help="Also time each kernel (builds the C++ runner).")
    ] = False,
    normalizer: Annotated[
        str,
        typer.Option(
            help="What words are compared after: default, whisper-english, whisper-basic or none."
        ),
    ] = "default",
    speakers: Speakers = None,
    gender: Gender = None,
    language: Language = None,
    split: Split = None,
    as_json: Json = False,
) -> None:
    """Word errors, latency and memory of the exported files on their runtimes, beside the float model."""
    from myqasr.cli.commands.bench import run

    selection = selection_of(speakers, gender, language, split)
    run(
        run_folder, data, selection, target, limit, threads, runs, seconds, operations, normalizer,
        as_json, runner or [],
    )  # fmt: skip


@app.command()
@reports_user_errors
def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Run folders (their newest result) or result files.")
    ],
    against: Annotated[
        str | None, typer.Option(help="System to hold the others against; default: the first.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measured systems side by side, and which differences in WER and time are real."""
    from myqasr.cli.commands.compare import run

    run(results, against, as_json)


@app.command()
@reports_user_errors
def report(run_folder: Run, as_json: Json = False) -> None:
    """The newest result of a run as one HTML page that needs nothing else, and its plots as PNG."""
    from myqasr.cli.commands.report import run

    run(run_folder, as_json)


@app.command()
@reports_user_errors
def inspect(
    file: Annotated[
        Path, typer.Argument(help="An exported file, e.g. out/alice/exports/alice.pte.")
    ],
    as_json: Json = False,
) -> None:
    """What is really in a file: every layer's kernel, precision and bytes, from the file itself."""
    from myqasr.cli.commands.inspect import run

    run(file, as_json)


@app.command()
@reports_user_errors
def transcribe(
    file: Annotated[
        Path, typer.Argument(help="An exported file with its manifest.json beside it.")
    ],
    audio: Annotated[list[Path], typer.Argument(help="Audio files or folders.")],
    threads: Threads = 2,
    as_json: Json = False,
) -> None:
    """Text of audio files, by the exported file on its own runtime."""
    from myqasr.cli.commands.transcribe import run

    run(file, audio, threads, as_json)


@app.command()
@reports_user_errors
def profile(
    file: Annotated[
        Path, typer.Argument(help="An exported .pte with its manifest.json beside it.")
    ],
    audio: Annotated[Path, typer.Argument(help="An audio file to run it on.")],
    threads: Threads = 1,
    repeats: Annotated[
        int, typer.Option(help="Runs that the times are medians of.", min=1, max=100_000)
    ] = 10,
    as_json: Json = False,
) -> None:
    """Which kernel ran for each layer, whether it is the planned one, and where the time goes."""
    from myqasr.cli.commands.profile import run

    run(file, audio, threads, repeats, as_json)


@app.command()
@reports_user_errors
def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("out/demo"),
    model: Annotated[
        str | None,
        typer.Option(help="Default: Whisper tiny.en if it is installed, else the embedded model."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="One of the embedded users: people and synthetic ones.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="File size for the personalised file.")] = None,
    threads: Threads = 2,
    as_json: Json = False,
) -> None:
    """All of it on a real recogniser and a real reader, offline, in a few minutes."""
    from myqasr.cli.commands.demo import run

    run(out, model, user, budget, threads, as_json)


@app.command()
@reports_user_errors
def doctor(
    install: Annotated[
        str | None,
        typer.Option(help="Install this runtime in its own environment: tflite-runtime."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Which targets and runners work on this machine, and how to mend those that don't."""
    from myqasr.cli.commands.doctor import run

    run(install, as_json)


add_people_commands(app)

if __name__ == "__main__":
    app()
