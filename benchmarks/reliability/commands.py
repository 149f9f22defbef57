"""Commands in processes that are forked from one that has imported everything, on a model of kilobytes."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from myqasr.speech.models import DEFAULT_USERS

USER = DEFAULT_USERS / "synth-ada"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended. code: exit code, or minus the signal. text: all that it printed."""

    code: int
    text: str
    seconds: float

    @property
    def traceback(self) -> bool:
        """Whether it ended as no command should."""
        return "Traceback (most recent call last)" in self.text or self.code == 1


@dataclass(frozen=True, slots=True)
class Material:
    """A model, unlabelled clips, others, and labelled ones."""

    model: Path
    clips: Path
    others: Path
    test: Path


def preload() -> None:
    """Import all that commands import, so that a fork needn't."""
    import executorch.exir
    import torch
    import transformers

    import myqasr.api
    import myqasr.cli.commands.curve
    import myqasr.cli.main
    import myqasr.exporters.executorch.lowering
    import myqasr.runtime_bench.page.page
    import myqasr.speech.models.wav2vec2

    torch.set_num_threads(1)
    assert executorch.exir and transformers and myqasr.api


def material(folder: Path) -> Material:
    """Make it in a folder."""
    from tests.material.tiny_models import TOKENS, tiny_transformer

    model, clips, others, test = (folder / name for name in ("model", "clips", "others", "test"))
    tiny_transformer(3, layers=1, hidden=32, feed_forward=64).save_pretrained(model)
    vocabulary = {symbol: index for index, symbol in enumerate(TOKENS.symbols)}
    (model / "vocab.json").write_text(json.dumps(vocabulary))
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": True,
        "sampling_rate": 16000,
        "feature_size": 1,
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    (model / "preprocessor_config.json").write_text(json.dumps(extractor))
    tune = sorted((USER / "tune").iterdir())
    for place, chosen in ((clips, tune[:3]), (others, tune[3:6])):
        place.mkdir()
        for path in chosen:
            shutil.copy(path, place)
    test.mkdir()
    for path in sorted((USER / "test").iterdir())[:2]:
        shutil.copy(path, test)
        (test / f"{path.stem}.txt").write_text("a few words")
    return Material(model, clips, others, test)


def start(arguments: Sequence[object], log: Path, before: Callable[[], None] | None = None) -> int:
    """Begin a command in a forked process, a group of its own; returns its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if before is not None:
            before()
        from myqasr.cli.main import app

        try:
            app([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        from myqasr.core.children import _drop_all

        _drop_all()  # what Python does at its end
        os._exit(code)


def finish(child: int, log: Path, begin: float) -> Done:
    """Wait for it."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return Done(code, log.read_text(errors="replace"), time.monotonic() - begin)


def run(arguments: Sequence[object], before: Callable[[], None] | None = None) -> Done:
    """A command from its begin to its end."""
    with logged() as log:
        begin = time.monotonic()
        return finish(start(arguments, log, before), log, begin)


def run_killed(arguments: Sequence[object], after: float, number: int = signal.SIGKILL) -> Done:
    """A command that gets a signal after so many seconds, if it still runs then."""
    with logged() as log:
        begin = time.monotonic()
        child = start(arguments, log)
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
        return finish(child, log, begin)


@contextlib.contextmanager
def logged() -> Iterator[Path]:
    """A file for what a command prints."""
    handle, name = tempfile.mkstemp(suffix=".log")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def state(folder: Path, but: Sequence[str] = ("bench",)) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with its hash; results of bench differ in their times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in but
    }


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Files that only one state has, or both with other bytes."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def strays(folder: Path) -> list[str]:
    """Temporary files and what unfinished commands keep, as they mustn't stay at the end."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.startswith(".") or ".partial" in path.name
    ]


def copied(source: Path, place: Path) -> Path:
    """A fresh copy of a folder."""
    shutil.rmtree(place, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, place, symlinks=True)
    return place
