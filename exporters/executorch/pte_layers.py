"""Every layer of a .pte file, whichever kernels run it."""

from pathlib import Path

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.flatbuffer import DamagedFileError
from myqasr.exporters.executorch.pte import KernelCall, Pte
from myqasr.exporters.executorch.pte_kernels import KernelReader
from myqasr.exporters.executorch.pte_xnnpack import delegate_layers
from myqasr.exporters.target import StoredLayer


def read_layers(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer of a .pte file in the order it runs, method by method, from the file alone.

    Raises UserError naming the file when it is missing, truncated or not a .pte.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    layers: list[StoredLayer] = []
    try:
        pte = Pte(data)
        for method in pte.methods():
            kernels = KernelReader(method)
            for call in method.calls():
                if isinstance(call, KernelCall):
                    layers += kernels.layers(call)
                elif call.backend == "XnnpackBackend":
                    layers += delegate_layers(pte, call.data)
    except (DamagedFileError, IndexError, OverflowError) as error:
        raise BrokenFileError(
            f"{path} is not a complete .pte file: {error}; export it again"
        ) from error
    return tuple(layers)
