"""Errors that are the user's to mend; the command line prints them in one line, exit code 2.

Which child a caller gets says what to change: the budget, the model, the recordings, a file, or what is
installed. Everything else that is wrong with what was asked is a plain UserError.
"""

import re

MOST_CHARACTERS = 600
"""Of a message: less than a screen. What was typed may be longer than that."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class UserError(Exception):
    """Bad input. The message names the file or value and the way out; no traceback is shown.

    It is one line that can be printed, whatever the value or file name in it is: what is too long is cut in
    its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class BudgetError(UserError):
    """A budget that can't be read, or that no plan keeps: below the smallest file or above the float size."""


class ModelError(UserError):
    """No model, one of a class that isn't supported, or one whose weights can't be used."""


class AudioError(UserError):
    """Recordings that aren't there or can't be used: not audio, empty, silent, too short, not finite."""


class BrokenFileError(UserError):
    """A file of ours that isn't what was written: cut off, changed, or of another version."""


class NotInstalledError(UserError):
    """Something optional is missing. what: which thing, for what; mend: the command that installs it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}: {mend}")
        self.what = what
        self.mend = mend


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """Text without line breaks and characters that can't be printed, and no longer than `most`."""
    text = _CONTROL.sub(" ", text).encode(errors="replace").decode()
    if len(text) <= most:
        return text
    half = (most - 40) // 2
    return f"{text[:half]} [{len(text) - 2 * half:,} characters] {text[-half:]}"
