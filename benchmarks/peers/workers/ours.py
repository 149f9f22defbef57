"""The float model in torch, and our exported files on their runners."""

from pathlib import Path
from typing import Any

from benchmarks.peers.workers.serve import Recogniser, Waveform, serve
from myqasr.runtime_bench.devices.machine import runtime_versions
from myqasr.runtime_bench.measure.transcription import model_inputs, transcribe
from myqasr.runtime_bench.runners.base import open_system, own_seconds
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.runtime_bench.runners.process import ProcessRunner


def load(settings: dict[str, Any]) -> Recogniser:
    """settings: threads, and either path of an exported file and its runner, or model."""
    if "model" in settings:
        return _torch(settings["model"], settings["threads"])
    file = exported_file(Path(settings["path"]), runner=settings["runner"])
    runner = open_system(file.system, settings["threads"])

    def text(waveform: Waveform) -> str:
        return transcribe(runner, model_inputs(waveform, file.audio), file.tokens)

    def seconds(waveform: Waveform) -> float | None:
        return own_seconds(runner, model_inputs(waveform, file.audio))

    def memory() -> tuple[int, int]:
        assert isinstance(runner, ProcessRunner)
        found = runner.session.command("memory")
        before = runner.session.loaded["baseline_rss_bytes"]
        return int(found["peak_rss_bytes"]), int(before)

    own_peak = memory if isinstance(runner, ProcessRunner) else None
    return Recogniser(text, runner.description, seconds, own_peak)


def _torch(name: str, threads: int) -> Recogniser:
    import torch

    from myqasr.speech.models import load_model

    torch.set_num_threads(threads)
    model = load_model(name)
    return Recogniser(model.transcribe, f"torch {runtime_versions()['torch']}")


if __name__ == "__main__":
    serve(load)
