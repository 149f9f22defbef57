"""Errors that are the user's to mend; the command line prints them in one line, exit code 2.

Which child a caller gets says what to change: the budget, the model, the recordings, a file, or what is
installed. Everything else that is wrong with what was asked is a plain UserError.
"""


class UserError(Exception):
    """Bad input. The message names the file or value and the way out; no traceback is shown."""


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
