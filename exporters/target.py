"""What every target is, as a record; `load_target` finds it by name."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.personalize.planning.plan import LayerShape
from myqasr.personalize.planning.target import PlanTarget, TargetGroup

if TYPE_CHECKING:
    from torch import Tensor

    from myqasr.exporters.manifest import Artifact
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

TARGETS = {
    "xnnpack": "myqasr.exporters.executorch.xnnpack",
    "executorch": "myqasr.exporters.executorch.portable",
    "litert": "myqasr.exporters.tflite.litert",
    "tflite-runtime": "myqasr.exporters.tflite.tflite_runtime",
    "onnx": "myqasr.exporters.onnx.onnxruntime",
    "coreml": "myqasr.exporters.coreml.ios18",
    "coreml-ios16": "myqasr.exporters.coreml.ios16",
    "coreml-pte": "myqasr.exporters.coreml.pte",
    "whisper-cpp": "myqasr.exporters.ggml.whisper_cpp",
}
"""Target name -> module whose `TARGET` is the `Target`; a new one is its module and a line here."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(PlanTarget):
    """Everything that the rest of the program asks of a target: its module's `TARGET`.

    suffix: how its files end; prefix: how their names begin. runner: the one that runs them, see
    `runtime_bench`. write(model, codes, path, options): writes the file whole or not at all; returns layer
    names in the order the stored program runs them. read(path): every weight-bearing layer of a file, in
    program order, from the file alone.

    needs: packages beyond ours that writing, reading or running import; extra: ours that installs them.
    wrote_by: distributions whose versions a manifest names beside those of every target. half_activations:
    fp16 layers round inputs and results, too; elsewhere only weights are stored so. lists_lengths: files may
    take listed lengths only. suits(model): the same function with such weights as the runtime can have, or a
    UserError for a model that it doesn't run; what is measured is its answer. of_runtime: layers that the
    runtime has itself, which no file holds. probe: the kilobyte model that `doctor` tries it with, where the
    usual one isn't for it. companions(model, codes, path, artifact): writes what goes with a file, for a
    machine that it can't be run on here or for another program; returns a line that says what it is for.
    """

    suffix: str
    runner: str
    write: "Callable[[SpeechModel, dict[str, LayerCodes], Path, ExportOptions], tuple[str, ...]]"
    read: Callable[[Path], tuple[StoredLayer, ...]]
    prefix: str = ""
    needs: tuple[str, ...] = ()
    extra: str | None = None
    wrote_by: tuple[str, ...] = ()
    half_activations: bool = False
    lists_lengths: bool = False
    suits: "Callable[[SpeechModel], SpeechModel] | None" = None
    of_runtime: Callable[[LayerShape], bool] | None = None
    probe: "Callable[[], SpeechModel] | None" = None
    companions: "Callable[[SpeechModel, dict[str, LayerCodes], Path, Artifact], str] | None" = None

    def file_name(self, stem: str) -> str:
        """Of a file that people call `stem`."""
        return f"{self.prefix}{stem}{self.suffix}"

    def suited(self, model: "SpeechModel") -> "SpeechModel":
        """The model to measure for this target; most targets take any."""
        return model if self.suits is None else self.suits(model)


def all_targets() -> tuple[Target, ...]:
    """Every target, in the order of `TARGETS`."""
    return tuple(load_target(name) for name in TARGETS)


def measured_together(planned: str | None = None) -> TargetGroup:
    """All precisions of the targets that are measured for everyone, and of the one that is planned for."""
    return TargetGroup(
        tuple(each for each in all_targets() if each.name == planned or not each.when_asked)
    )


def measured_for(planned: str) -> TargetGroup:
    """The precisions of one target only, with codes that serve the others too when they are asked for."""
    return TargetGroup(measured_together(planned).members, load_target(planned))


def load_target(name: str) -> Target:
    """The target module; raises UserError listing the known names."""
    module = TARGETS.get(name)
    if module is None:
        raise UserError(f"unknown target {name!r}; known: {', '.join(TARGETS)}")
    with needs_extra(name):
        target: Target = importlib.import_module(module).TARGET
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
    package = (error.name or "").partition(".")[0]
    extras = [each.extra for each in all_targets() if package in each.needs]
    return f"pip install 'myqasr[{extras[0]}]'" if extras else "pip install myqasr"


def target_for_file(path: Path) -> Target:
    """The target whose files end like this one; raises UserError listing the endings."""
    targets = all_targets()
    fitting = [
        target
        for target in targets
        if path.name.endswith(target.suffix) and path.name.startswith(target.prefix)
    ]
    if not fitting:
        endings = ", ".join(f"{target.file_name('*')} ({target.name})" for target in targets)
        raise UserError(f"{path} is named like no target's file; known: {endings}")
    return max(fitting, key=lambda target: len(target.suffix))
