"""Packages run by Core ML itself, on macOS: not tried where there is none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.mlpackage import MAIN
from speech.decoding import Autoregression, greedy_logits
from speech.errors import UserError


@dataclass(frozen=True, slots=True)
class CoreMLRunner:
    """A compiled package's functions by name. threads: as asked for; Core ML decides itself."""

    description: str
    threads: int
    functions: dict[str, Any]
    autoregression: Autoregression | None

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of features [samples]: [frames, vocab], or of greedy decoding [tokens written, vocab]."""
        waveform = {"waveform": features[None]}
        if self.autoregression is None:
            return _logits(self.functions[MAIN].predict(waveform))
        heard = self.functions["encode"].predict(waveform)
        decode = self.functions["decode"]
        return greedy_logits(
            lambda ids: _logits(decode.predict({"ids": ids.astype(np.int32), **heard})),
            self.autoregression,
        )


def _logits(outputs: dict[str, Any]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.asarray(outputs["logits"], np.float32)[0]
    return result


def open_package(path: Path, threads: int, how: Autoregression | None) -> CoreMLRunner:
    """Compile and load a package for all compute units; raises UserError when Core ML refuses it."""
    import coremltools as ct

    if not path.is_dir():
        raise UserError(f"{path} does not exist")
    try:
        functions = {
            name: ct.models.MLModel(
                str(path),
                compute_units=ct.ComputeUnit.ALL,
                function_name=None if name == MAIN else name,
            )
            for name in ((MAIN,) if how is None else ("encode", "decode"))
        }
    except RuntimeError as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} can't be loaded by Core ML ({line}); export it again") from error
    return CoreMLRunner("Core ML, all compute units", threads, functions, how)
