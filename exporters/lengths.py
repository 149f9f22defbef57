"""Input lengths of files that take only some."""

from collections.abc import Sequence


def next_length(lengths: Sequence[int], samples: int) -> int | None:
    """The first of the ascending lengths that holds so many samples; None when all are too short.

    Where none are listed every length is right.
    """
    if not lengths:
        return samples
    return next((each for each in lengths if each >= samples), None)
