"""Options and arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from myqasr.exporters.target import TARGETS

Target = Annotated[
    str,
    typer.Option(
        help=f"Runtime to write for: {', '.join(list(TARGETS)[:-1])} or {list(TARGETS)[-1]}."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
MOST_THREADS = 1024
MOST_SEED = 2**40
Threads = Annotated[int, typer.Option(help="CPU threads of every runner.", min=1, max=MOST_THREADS)]
MaxSeconds = Annotated[
    float, typer.Option(help="Longest input the file takes; longer audio is cut at pauses.")
]
Precisions = Annotated[
    str, typer.Option(help="Only these and fp32, e.g. int4-a8d,int8-a8d,int8-a8s; default: all.")
]
Keep = Annotated[
    list[str] | None,
    typer.Option(help="PATTERN=BITS: layers that get at least so many bits, e.g. 'lm_head=8'."),
]
Allocation = Annotated[
    str,
    typer.Option(help="exact, greedy, min-max or sweep; default: the best that the costs allow."),
]
MostPrecisions = Annotated[
    int | None,
    typer.Option("--max-precisions", help="So many different ones at most besides fp32.", min=1),
]
Tied = Annotated[
    bool,
    typer.Option("--tie-inputs", help="One precision for layers that share their input (q, k, v)."),
]
LearningThreads = Annotated[
    int | None,
    typer.Option(help="CPU threads to measure with; default: torch's.", min=1, max=MOST_THREADS),
]
Start = Annotated[
    Path | None,
    typer.Option(help="Run of `myqasr adapt`: begin with the weights that it learned."),
]
Run = Annotated[Path, typer.Argument(help="Run folder made by `myqasr personalize`.")]
