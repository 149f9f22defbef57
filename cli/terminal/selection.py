"""The options that choose among a data set's recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from myqasr.speech.datasets import Selection

Speakers = Annotated[str | None, typer.Option(help="Only these speakers, e.g. p225,p226.")]
Gender = Annotated[str | None, typer.Option(help="Only F or M, where the data say so.")]
Language = Annotated[
    str | None,
    typer.Option(help="Only this language, where the data say so; Whisper is told to write it."),
]
Split = Annotated[str | None, typer.Option(help="Only this split, e.g. train, dev, test.")]


def selection_of(
    speakers: str | None, gender: str | None, language: str | None, split: str | None
) -> Selection:
    """What the options ask for; raises UserError for a gender that no data set has."""
    from myqasr.core.errors import UserError
    from myqasr.speech.datasets import Selection
    from myqasr.speech.manifests import gender_of

    if gender is not None and gender_of(gender) is None:
        raise UserError(f"--gender {gender} is not known; data sets say F or M")
    names = None
    if speakers is not None:
        names = tuple(name.strip() for name in speakers.split(",") if name.strip())
        if not names:
            raise UserError(
                f"--speakers {speakers!r} names nobody; write e.g. --speakers p225,p226"
            )
    return Selection(names, gender_of(gender), language, split)
