"""Core ML packages: on macOS by Core ML itself, elsewhere by evaluating the saved program in torch.

The evaluator takes operations, weights and palettes from the package's own bytes, so that what it computes is
what the file says, not what was meant. Sums are in float32. Runner `coreml`: results stay float32. Runner
`coreml-float16`: the result of every operation whose type is float16 is rounded to it, as on the Neural
Engine or GPU, which sum in an order and width of their own.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myqasr.core.errors import UserError
from myqasr.exporters.coreml.mlpackage import MAIN, Constant, Operation, Program, read_programs
from myqasr.exporters.coreml.read import PARTS, layer_codes, parts
from myqasr.runtime_bench.runners.base import Runner, System
from myqasr.runtime_bench.runners.coreml.lengths import listed_lengths
from myqasr.runtime_bench.runners.coreml.ops import OPERATIONS
from myqasr.speech.caching import token_steps
from myqasr.speech.decoding import Autoregression, greedy_logits

ROUNDED = "coreml-float16"


@dataclass(frozen=True, slots=True)
class CoreMLReference(Runner):
    """A package's functions in torch, by name."""

    functions: "dict[str, Evaluator]"
    autoregression: Autoregression | None = None

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of features [samples]: [frames, vocab], or of greedy decoding [tokens written, vocab]."""
        if self.autoregression is None:
            main = self.functions[MAIN]
            lengths = listed_lengths(main.program)
            waveform = torch.from_numpy(lengths.filled(features))[None]
            return lengths.trimmed(main.outputs(waveform)[0][0].numpy(), len(features))
        waveform = torch.from_numpy(features)[None]
        heard = self.functions["encode"].outputs(waveform)
        how = self.autoregression
        return greedy_logits(
            token_steps(self.functions["decode"].outputs, heard, how.max_tokens), how
        )


@dataclass(frozen=True, slots=True)
class Evaluator:
    """A function's program in torch. constants: values that don't depend on the input, by name."""

    program: Program
    constants: dict[str, Any]
    rounded: bool

    def outputs(self, *inputs: Tensor) -> list[Tensor]:
        """What the program gives for its inputs, float32."""
        values = {**self.constants, **dict(zip(self.program.inputs, inputs, strict=True))}
        last_use = {
            name: index
            for index, operation in enumerate(self.program.operations)
            for each in operation.inputs.values()
            for name in each
            if isinstance(name, str)
        }
        kept = {*self.constants, *self.program.outputs}
        with torch.inference_mode():
            for index, operation in enumerate(self.program.operations):
                if operation.outputs[0] in self.constants:
                    continue
                found = self._result(operation, values)
                values.update(zip(operation.outputs, found, strict=True))
                for name in {
                    n for each in operation.inputs.values() for n in each if isinstance(n, str)
                }:
                    if last_use[name] == index and name not in kept:
                        del values[name]
        return [values[name].float() for name in self.program.outputs]

    def _result(self, operation: Operation, values: dict[str, Any]) -> list[Tensor]:
        given = {
            key: _argument(operation, key, names, values) for key, names in operation.inputs.items()
        }
        try:
            result = OPERATIONS[operation.kind](given)
        except (RuntimeError, TypeError, KeyError, IndexError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self.program.path}: can't evaluate {operation.kind} {operation.name} ({line})"
            ) from error
        found = result if isinstance(result, list) else [result]
        if not self.rounded:
            return found
        return [
            tensor.half().float() if kind == "float16" else tensor
            for tensor, kind in zip(found, operation.output_kinds, strict=True)
        ]


def _argument(
    operation: Operation, key: str, names: tuple[str | Constant, ...], values: dict[str, Any]
) -> Any:
    found = [values[name] if isinstance(name, str) else _value(name.value) for name in names]
    return found if key == "values" else found[0]


def _value(value: Any) -> Any:
    """A constant as a tensor; float32 whatever its width. Text stays text."""
    if isinstance(value, str):
        return value
    tensor = torch.from_numpy(np.array(value))
    return tensor.float() if tensor.is_floating_point() else tensor


def open_runner(system: System, threads: int) -> Runner:
    """Load a package; raises UserError when it is damaged or has an operation that isn't known here."""
    path = system.file
    if sys.platform == "darwin" and system.runner != ROUNDED:
        from myqasr.runtime_bench.runners.coreml.device import open_device

        return open_device(system, threads)
    torch.set_num_threads(threads)
    return reference_of(path, system.runner == ROUNDED, system.autoregression)


def reference_of(
    path: Path, rounded: bool = False, autoregression: Autoregression | None = None
) -> CoreMLReference:
    """The functions of a package; raises UserError naming an operation that isn't known."""
    functions = {name: evaluator(program, rounded) for name, program in read_programs(path).items()}
    how = "float16 results" if rounded else "float32"
    description = f"Core ML program in torch, {how}"
    return CoreMLReference(description, torch.get_num_threads(), functions, autoregression)


def evaluator(program: Program, rounded: bool) -> Evaluator:
    """A function, its weights expanded as Core ML would; raises UserError naming an unknown operation."""
    raw = program.constants()
    constants: dict[str, Any] = {name: _value(each.value) for name, each in raw.items()}
    for operation in program.operations:
        if operation.kind in PARTS:
            constants[operation.outputs[0]] = _expanded(operation, raw)
        elif operation.kind != "const" and operation.kind not in OPERATIONS:
            raise UserError(
                f"{program.path}: the evaluator doesn't know the operation {operation.kind} "
                f"({operation.name}); add it to runtime_bench/runners/coreml/ops.py, or run on macOS"
            )
    return Evaluator(program, constants, rounded)


def _expanded(operation: Operation, constants: dict[str, Constant]) -> Tensor:
    """The weight that a constexpr operation stands for, rounded to the type of its scales."""
    layer = layer_codes(operation, constants)
    _, table = parts(operation, constants)
    weight = layer.dequantized(layer.codes)  # type: ignore[arg-type]
    return weight.half().float() if table.kind == "float16" else weight
