"""What every target module offers, as a protocol; `load_target` finds it by name."""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.personalize.planning.plan import LayerShape, QuantSpec

if TYPE_CHECKING:
    from torch import Tensor

    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

TARGETS = {
    "xnnpack": "myqasr.exporters.executorch.xnnpack",
    "executorch": "myqasr.exporters.executorch.portable",
    "litert": "myqasr.exporters.tflite.litert",
    "tflite-runtime": "myqasr.exporters.tflite.tflite_runtime",
    "coreml": "myqasr.exporters.coreml.ios18",
    "coreml-ios16": "myqasr.exporters.coreml.ios16",
    "coreml-pte": "myqasr.exporters.coreml.pte",
}
"""Target name -> module that implements `Target` with plain functions and constants."""

CORE_ML = frozenset({"coreml", "coreml-ios16", "coreml-pte"})
"""Targets whose files Core ML runs."""

ASKED_FOR = CORE_ML
"""Targets whose precisions are measured only for who asks for them: palettes are many, and take time."""

HALF_ACTIVATIONS = frozenset({"xnnpack"})
"""Targets whose fp16 layers round inputs and results, too; elsewhere only weights are stored so."""

EXTRAS = {"ai_edge_litert": "tflite", "coremltools": "coreml"}
"""Package that a target needs -> our extra that installs it."""


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """One layer as found in a written file, in the order the program runs it.

    kernel: backend, operator and stored types, for people to read.
    codes and scales are in the terms of `LayerCodes`; a float layer has its stored weight in `weight`.
    payload_bytes: weights and scales as they lie in the file, packed.
    """

    kernel: str
    codes: "LayerCodes"
    payload_bytes: int
    weight: "Tensor | None" = None


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """max_samples: longest input the file takes. min_samples: shortest.

    lengths: all that it takes, ascending; empty: any between. Only Core ML's files have them.
    """

    min_samples: int
    max_samples: int
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A layer whose stored form isn't the planned one, and how."""

    layer: str
    reason: str


class Target(Protocol):
    """A target module. The first three need no torch."""

    NAME: str
    SUFFIX: str

    def menu(self, shape: LayerShape) -> tuple[QuantSpec, ...]:
        """Precisions the target's kernels really run for this layer, fp32 last."""
        ...

    def layer_bytes(self, shape: LayerShape, spec: QuantSpec) -> int:
        """Bytes of the file that this choice is answerable for: weights, scales, bias, bookkeeping."""
        ...

    def scale_dtype(self, spec: QuantSpec) -> str:
        """`float32`, `bfloat16` or `float16`: how scales are stored, so codes are chosen for those."""
        ...

    def overhead_bytes(self, model: "SpeechModel") -> int:
        """Estimate of the bytes no plan changes; replaced by the measured figure after an export."""
        ...

    def write(
        self,
        model: "SpeechModel",
        codes: "dict[str, LayerCodes]",
        path: Path,
        options: ExportOptions,
    ) -> tuple[str, ...]:
        """Write the file; returns layer names in the order the stored program runs them."""
        ...

    def read(self, path: Path) -> tuple[StoredLayer, ...]:
        """Every weight-bearing layer found in the file, in program order, from the file alone."""
        ...


def load_target(name: str) -> Target:
    """The target module; raises UserError listing the known names."""
    module = TARGETS.get(name)
    if module is None:
        raise UserError(f"unknown target {name!r}; known: {', '.join(TARGETS)}")
    with needs_extra(name):
        target: Target = importlib.import_module(module)
    return target


@contextlib.contextmanager
def needs_extra(target: str) -> Iterator[None]:
    """Turn a missing package into a NotInstalledError that says what installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise NotInstalledError(f"target {target} needs {error.name}", remedy(error)) from error


def remedy(error: ImportError) -> str:
    """The command that installs what couldn't be imported."""
    extra = EXTRAS.get((error.name or "").partition(".")[0])
    return f"pip install 'myqasr[{extra}]'" if extra is not None else "pip install myqasr"


def target_for_file(path: Path) -> Target:
    """The target whose files end like this one; raises UserError listing the endings."""
    targets = [load_target(name) for name in TARGETS]
    fitting = [target for target in targets if path.name.endswith(target.SUFFIX)]
    if not fitting:
        endings = ", ".join(f"{target.SUFFIX} ({target.NAME})" for target in targets)
        raise UserError(f"{path} ends like no target's file; known: {endings}")
    return max(fitting, key=lambda target: len(target.SUFFIX))
