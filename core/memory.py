"""Memory that was freed, given back to the system."""

import ctypes
import sys


def give_back() -> None:
    """Have glibc return what it holds free: large tensors of changing sizes fragment it by gigabytes.

    Elsewhere than on Linux with glibc nothing happens.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
