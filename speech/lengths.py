"""Input for files that take only some lengths."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GAP_SAMPLES = 1_600


def next_length(lengths: Sequence[int], samples: int) -> int | None:
    """The first of the ascending lengths that holds so many samples; None when all are too short.

    Where none are listed every length is right.
    """
    if not lengths:
        return samples
    return next((each for each in lengths if each >= samples), None)


def filled(features: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Features [samples] up to a length: 0.1 s of silence and the clip again, as often as it takes.

    Models without an attention mask hear what fills the input. Silence alone costs the embedded model many
    words, the clip again next to none (`python -m benchmarks.files.coreml_files`).
    """
    again = np.concatenate((np.zeros(GAP_SAMPLES, np.float32), features))
    return np.concatenate((features, np.resize(again, length - len(features))))
