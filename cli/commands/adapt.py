"""`myqasr adapt`: many people's recordings in, weights to begin with out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.cli.terminal.output import listening, print_json, tell

if TYPE_CHECKING:
    from myqasr.speech.datasets import Selection


def run(
    model_source: str,
    audio: list[Path],
    selection: Selection,
    teacher: str,
    out: Path,
    clips: int,
    threads: int | None,
    seed: int,
    start: Path | None,
    as_json: bool,
) -> None:
    """Learn, and say in words what it did."""
    import torch
    from rich.markup import escape

    from myqasr.personalize.adapting.describe import in_words
    from myqasr.teaching import adapt_model

    if threads is not None:
        torch.set_num_threads(threads)
    with listening("learning") as listener:
        found = adapt_model(
            model_source, audio, teacher=teacher, out=out, clips=clips, selection=selection, seed=seed,
            start=start, listener=listener,
        )  # fmt: skip
    if as_json:
        print_json(found)
        return
    for sentence in in_words(found):
        tell(escape(sentence))
    if found.adapted_hash is not None:
        tell(f"Next: myqasr personalize {escape(model_source)} RECORDINGS --start {out}")
