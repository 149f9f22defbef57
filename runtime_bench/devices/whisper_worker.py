"""Runs a ggml file of Whisper in whisper.cpp, in a process that a refused file or a crash may end.

Run as `python -m myqasr.runtime_bench.devices.whisper_worker MODEL THREADS METHODS`. It obeys the commands of
`tflite_worker`. Decoding is ours, token by token, greedy and without a second try; whisper.cpp computes.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads would cost memory

from myqasr.exporters.ggml.library import WhisperCpp, version
from myqasr.runtime_bench.devices.tflite_worker import Model, serve


def main(file: str, threads: int) -> int:
    """Serve until the commands end; exit code 0 when all went well, else 1."""
    import _pywhispercpp  # noqa: F401  so that loading a file isn't loading the library

    return serve(file, threads, version(), lambda: Model(writer=WhisperCpp(Path(file), threads)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
