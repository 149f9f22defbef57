"""Packages that take only some lengths: input is filled up, and the frames of what filled it are dropped."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myqasr.core.errors import UserError
from myqasr.exporters.coreml.mlpackage import STRIDE_KEY, Program
from myqasr.speech.lengths import filled, next_length


@dataclass(frozen=True, slots=True)
class ListedLengths:
    """lengths: samples, ascending; empty: the file takes any. stride_samples: samples per output frame."""

    lengths: tuple[int, ...]
    stride_samples: int

    def filled(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features [samples] up to the next length; raises UserError when they are too long."""
        return filled(features, len(features) + self._missing(len(features)))

    def trimmed(self, logits: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
        """Logits [frames, vocab] of filled features without the frames that begin after the clip.

        samples: of the features as they were. A classifier's only frame stays.
        """
        missing = self._missing(samples)
        beyond = missing // self.stride_samples if missing else 0
        return logits[: max(1, len(logits) - beyond)]

    def _missing(self, samples: int) -> int:
        length = next_length(self.lengths, samples)
        if length is None:
            raise UserError(
                f"the file takes {self.lengths[-1]:,} samples at most, this input has {samples:,}"
            )
        return length - samples


def listed_lengths(program: Program) -> ListedLengths:
    """What a package says of its input; raises UserError when it lists lengths but no stride."""
    stride = int(program.metadata.get(STRIDE_KEY, 0))
    if program.lengths and stride < 1:
        raise UserError(
            f"{program.path} takes only some lengths but doesn't say how long a frame is"
        )
    return ListedLengths(program.lengths, stride)
