"""whisper.cpp by its C interface, from the library that comes with the wheel `pywhispercpp`.

The wheel's own Python has neither logits nor an error for a file that is refused; whisper.h has both. Its
functions are found through the wheel's extension module, which is linked to the library. A process that was
refused a file had better end: `loads` tries one in a process of its own, `python -m` this module FILE.
"""

import ctypes
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "pywhispercpp"
_ERROR = 4
"""Of ggml's log levels."""
_SAY = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class _Heads(ctypes.Structure):
    _fields_ = (("count", ctypes.c_size_t), ("heads", ctypes.c_void_p))


class _ContextParams(ctypes.Structure):
    """`whisper_context_params` of whisper.cpp 1.8.5."""

    _fields_ = (
        ("use_gpu", ctypes.c_bool),
        ("flash_attn", ctypes.c_bool),
        ("gpu_device", ctypes.c_int),
        ("dtw_token_timestamps", ctypes.c_bool),
        ("dtw_aheads_preset", ctypes.c_int),
        ("dtw_n_top", ctypes.c_int),
        ("dtw_aheads", _Heads),
        ("dtw_mem_size", ctypes.c_size_t),
    )


def version() -> str:
    """Of the wheel; raises PackageNotFoundError where it isn't installed."""
    return importlib.metadata.version(PACKAGE)


def _library() -> Any:
    import _pywhispercpp

    library = ctypes.CDLL(_pywhispercpp.__file__)
    whole, pointer = ctypes.c_int, ctypes.c_void_p
    for name, result, arguments in (
        ("whisper_log_set", None, (_SAY, pointer)),
        ("whisper_context_default_params", _ContextParams, ()),
        ("whisper_init_from_file_with_params", pointer, (ctypes.c_char_p, _ContextParams)),
        ("whisper_n_vocab", whole, (pointer,)),
        ("whisper_pcm_to_mel", whole, (pointer, pointer, whole, whole)),
        ("whisper_encode", whole, (pointer, whole, whole)),
        ("whisper_decode", whole, (pointer, pointer, whole, whole, whole)),
        ("whisper_get_logits", ctypes.POINTER(ctypes.c_float), (pointer,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class WhisperCpp:
    """A loaded file. Not freed before the process ends.

    Without flash attention: with it attention is summed in float16, results depend on the number of threads,
    and are 12 dB further from float. threads: of every call. Raises ValueError with whisper.cpp's own reason
    when it refuses the file.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._library, self._threads = _library(), threads
        self._errors: list[str] = []
        self._say = _SAY(self._heard)  # as long as the library may call it
        self._library.whisper_log_set(self._say, None)
        params = self._library.whisper_context_default_params()
        params.use_gpu = params.flash_attn = False
        self._context = self._library.whisper_init_from_file_with_params(str(path).encode(), params)
        if not self._context:
            reason = self._errors[0] if self._errors else "it says nothing"
            raise ValueError(f"whisper.cpp refuses it: {reason}")
        self._vocabulary = self._library.whisper_n_vocab(self._context)

    def _heard(self, level: int, text: bytes, _data: Any) -> None:
        if level == _ERROR:
            self._errors.append(text.decode(errors="replace").strip())

    def listen(self, features: NDArray[np.float32]) -> None:
        """Encode a window of audio, float32 [samples]."""
        samples = np.ascontiguousarray(features, np.float32)
        context, threads = self._context, self._threads
        if self._library.whisper_pcm_to_mel(context, samples.ctypes.data, len(samples), threads):
            raise RuntimeError(f"whisper.cpp can't take {len(samples)} samples")
        if self._library.whisper_encode(context, 0, threads):
            raise RuntimeError(f"whisper.cpp can't encode {len(samples)} samples")

    def next_logits(self, token: int, position: int) -> NDArray[np.float32]:
        """Logits [vocab] of what follows a token; those before it were given in turn."""
        one = ctypes.c_int32(token)
        if self._library.whisper_decode(
            self._context, ctypes.byref(one), 1, position, self._threads
        ):
            raise RuntimeError(f"whisper.cpp can't decode token {token} at {position}")
        found = self._library.whisper_get_logits(self._context)
        return np.ctypeslib.as_array(found, (self._vocabulary,)).copy()


def main(arguments: list[str]) -> int:
    """Try to load a file: exit code 0, or 3 and the reason."""
    try:
        WhisperCpp(Path(arguments[0]), 1)
    except ValueError as error:
        print(error)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
