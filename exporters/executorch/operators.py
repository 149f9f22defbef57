"""What a `.pte` asks of the runtime that opens it."""

from pathlib import Path

from myqasr.core.reading import reading
from myqasr.exporters.executorch.pte import DelegateCall, Pte


def operators_of(path: Path) -> tuple[str, ...]:
    """Backends and operators that a runtime must have for a `.pte`, by name; none for other files."""
    if path.suffix != ".pte":
        return ()
    with reading(path, "can't be read", "run `myqasr export` again"):
        calls = [
            call
            for method in Pte(memoryview(path.read_bytes())).methods()
            for call in method.calls()
        ]
    names = {call.backend if isinstance(call, DelegateCall) else call.operator for call in calls}
    return tuple(sorted(names))
