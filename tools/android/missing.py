"""What a machine lacks for checking the app."""


class MissingToolError(Exception):
    """Something that this machine lacks."""
