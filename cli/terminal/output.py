"""Printing: one-line errors, tables, progress on standard error, JSON on standard output."""

import contextlib
import functools
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from myqasr.core.children import TerminatedError, end_tidily
from myqasr.core.errors import UserError
from myqasr.core.reading import outside_errors

if TYPE_CHECKING:
    from myqasr.api import Listener

Parameters = ParamSpec("Parameters")

# A pipe has no width; 80 columns would squeeze the tables.
console = Console(width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True)


def reports_user_errors(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Print a UserError in one line and exit with 2; anything else is a bug and keeps its traceback."""

    @functools.wraps(command)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        quiet_libraries()
        use_large_pages()
        end_tidily()
        try:
            with outside_errors():
                command(*args, **kwargs)
        except UserError as error:
            errors.print(
                f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False
            )
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            errors.print("stopped; run the same command again to go on")
            number = error.number if isinstance(error, TerminatedError) else signal.SIGINT
            raise typer.Exit(128 + number) from error

    return wrapper


def quiet_libraries() -> None:
    """Keep import-time chatter and files of torch, transformers and executorch away from the user."""
    from myqasr.runtime_bench.devices.native import cache_folder

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Else torch leaves a folder among the temporary ones.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def use_large_pages() -> None:
    """Have torch, not yet imported, ask Linux for 2 MB pages: a fifth less time where tensors are large."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def progress_bar() -> Progress:
    """A bar on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )


def progress_lines() -> Callable[[str, int, int], None]:
    """For a pipe: a line when a stage begins, and at every further tenth of it."""
    told: dict[str, int] = {}

    def step(stage: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 0
        if tenth > told.get(stage, -1):
            told[stage] = tenth
            say(f"{stage} {done}/{total}")

    return step


@contextlib.contextmanager
def stage_progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """What is told the stage, steps done and steps in all: a bar, or lines when that isn't a terminal."""
    if not errors.is_terminal:
        yield progress_lines()
        return
    with progress_bar() as progress:
        task = progress.add_task(title, total=None)
        yield lambda stage, done, total: progress.update(
            task, description=stage, completed=done, total=total
        )


@contextlib.contextmanager
def listening(title: str) -> Iterator["Listener"]:
    """What the interface tells, on standard error: lines, unusable recordings, and a bar."""
    from myqasr.api import Listener

    with stage_progress(title) as on_progress:
        yield Listener(say, print_skipped, on_progress)


def tell(text: str) -> None:
    """A line of the answer, on standard output; may carry Rich markup."""
    console.print(text, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """A line about what is going on, on standard error."""
    errors.print(text, style="dim", soft_wrap=True, highlight=False, markup=False)


def print_json(record: Any) -> None:
    """One JSON object on standard output."""
    from myqasr.core.storage import to_json

    print(to_json(record))


def print_skipped(skipped: list[tuple[Any, str]]) -> None:
    """Name the recordings that couldn't be used."""
    for path, reason in skipped:
        errors.print(
            f"[yellow]skipped[/] {escape(str(path))}: {escape(reason)}",
            soft_wrap=True,
            highlight=False,
        )


class Stopwatch:
    """What each stage of a command took, for people."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._laps: list[tuple[str, float]] = []

    def lap(self, stage: str) -> None:
        """A stage ended now."""
        now = time.monotonic()
        self._laps.append((stage, now - self._since))
        self._since = now

    def __str__(self) -> str:
        whole = sum(seconds for _, seconds in self._laps)
        parts = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in self._laps)
        return f"{whole:.0f} s: {parts}"
