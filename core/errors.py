"""The one error type that is the user's to mend; the command line prints it in one line, exit code 2."""


class UserError(Exception):
    """Bad input. The message names the file or value and the way out; no traceback is shown."""


class NotInstalledError(UserError):
    """Something optional is missing. what: which thing, for what; mend: the command that installs it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}: {mend}")
        self.what = what
        self.mend = mend
