"""The files of a Core ML package, wherever it lies: a folder of its own, or in the delegate of a .pte.

In a .pte every method is one call of `CoreMLBackend`. Its data is the package with a `metadata.json` beside
it in one piece of memory (see `exporters.coreml.inmemory_files`). Several methods share one piece under a
name: each has `CMJR` and JSON that gives the name and which function of the package the method is.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.flatbuffer import DamagedFileError
from myqasr.exporters.coreml.inmemory_files import unflattened
from myqasr.exporters.executorch.pte import DelegateCall, Method, Pte

BACKEND = "CoreMLBackend"
REFERENCE = b"CMJR"
PACKAGE, METADATA = "model.mlpackage", "metadata.json"

Files = Mapping[str, bytes | memoryview]
"""Path in the package -> content."""


def package_files(path: Path) -> Files:
    """All files of a package; raises UserError when `path` is missing, or no complete .pte of Core ML's."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in found}
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    try:
        files = _delegated(Pte(data))
    except (DamagedFileError, IndexError, OverflowError, ValueError, KeyError, TypeError) as error:
        raise BrokenFileError(
            f"{path} is not a complete .pte of Core ML's ({error}); export it again"
        ) from error
    return {
        name.removeprefix(f"{PACKAGE}/"): content
        for name, content in files.items()
        if name.startswith(f"{PACKAGE}/")
    }


def metadata_for(signatures: Mapping[str, tuple[list[str], list[str]]], identifier: str) -> bytes:
    """What the delegate reads first: names of inputs and outputs in the order of a call's arguments.

    signatures: function -> its inputs and outputs. identifier: what a phone keeps the compiled model under.
    """
    described = {
        function: {"inputNames": inputs, "outputNames": outputs}
        for function, (inputs, outputs) in signatures.items()
    }
    if len(described) == 1:
        (only,) = described.values()
        return json.dumps({**only, "identifier": identifier}).encode()
    return json.dumps({"identifier": identifier, "methods": described}).encode()


def reference_to(key: str, function: str) -> bytes:
    """A method's data where several methods share a package that the file holds under a name."""
    named = {"version": 1, "key": key, "functionName": function}
    return REFERENCE + json.dumps(named).encode()


def _delegated(pte: Pte) -> dict[str, memoryview]:
    """Files of the one delegate that all methods call; raises ValueError when there is anything else."""
    pieces = {_piece(pte, method) for method in pte.methods()}
    if len(pieces) > 1:
        raise ValueError(f"its methods hold {len(pieces)} models, not one")
    files = unflattened(memoryview(pieces.pop()))
    if METADATA not in files:
        raise ValueError(f"the delegate has no {METADATA}")
    return files


def _piece(pte: Pte, method: Method) -> bytes:
    calls = list(method.calls())
    if len(calls) != 1 or not isinstance(calls[0], DelegateCall) or calls[0].backend != BACKEND:
        names = sorted({c.backend if isinstance(c, DelegateCall) else c.operator for c in calls})
        raise ValueError(f"method {method.name} runs {', '.join(names)}, not just {BACKEND}")
    data = calls[0].data
    if bytes(data[:4]) != REFERENCE:
        return bytes(data)
    named: Any = json.loads(bytes(data[4:]))
    if named["functionName"] != method.name:
        raise ValueError(f"method {method.name} runs the function {named['functionName']}")
    return bytes(pte.named(named["key"]))
