"""Fit a speech recogniser to one person's phone: label-free mixed precision under a byte budget.

    run = myqasr.personalize_model("default", "recordings", budget="4MB", out="out/alice")
    (written,) = myqasr.export(run)

The names below are all there is to call; each is loaded when it is first used, and torch with it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from myqasr.api import (
        FoundLayer,
        Personalized,
        Transcript,
        bench,
        export,
        inspect,
        load_model,
        personalize_model,
        transcribe,
    )
    from myqasr.core.errors import UserError
    from myqasr.teaching import adapt_model

__all__ = [
    "FoundLayer",
    "Personalized",
    "Transcript",
    "UserError",
    "adapt_model",
    "bench",
    "export",
    "inspect",
    "load_model",
    "personalize_model",
    "transcribe",
]
_ELSEWHERE = {"UserError": "myqasr.core.errors", "adapt_model": "myqasr.teaching"}


def __getattr__(name: str) -> object:
    """A name of the interface, from the module that has it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _ELSEWHERE.get(name, "myqasr.api")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
