"""A wav2vec2-base-sized model (94 M random weights) through personalize, export and the runtime.

python -m benchmarks.files.base_model [--threads 2] [--clips 8]

Time and peak memory are those of the whole commands. The latency of the mixed files on 4 s of audio is
compared with torch eager float in one interleaved run: the plan of the whole menu, and one without group-wise
int4, whose kernels are slow on CPUs with nothing newer than AVX2.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from benchmarks.results import BUILD, run_command, save_result
from myqasr.core.statistics import time_ratio
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.measure.run_bench import exported_files, model_systems
from myqasr.runtime_bench.results.protocol import TimingOptions, summarize, take_turns
from myqasr.runtime_bench.runners.base import Runner, System, open_system
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.models import DEFAULT_MODEL

PRECISIONS = "int4-a8d,int8-a8d,int8-a8s"
AUDIO = "speech/default_users/synth-ada/tune"
SECONDS = 4


def make_model(folder: Path) -> None:
    """The dimensions of wav2vec2-base with the default model's tokens, random weights."""
    torch.manual_seed(0)
    vocabulary = json.loads((DEFAULT_MODEL / "vocab.json").read_text())
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(vocabulary)))
    model.save_pretrained(folder)
    for name in ("vocab.json", "preprocessor_config.json"):
        (folder / name).write_bytes((DEFAULT_MODEL / name).read_bytes())


def on_one(
    runners: Mapping[str, Runner], waveform: NDArray[np.float32]
) -> dict[str, Callable[[int], None]]:
    """What `take_turns` times: each runner on the same waveform [samples]."""

    def work(runner: Runner) -> Callable[[int], None]:
        def process(_utterance: int) -> None:
            runner.logits(waveform)

        return process

    return {name: work(runner) for name, runner in runners.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--budget", default="0.14x")
    options = parser.parse_args()
    source, out = BUILD / "base_model", BUILD / "base"
    make_model(source)
    myqasr = [sys.executable, "-m", "myqasr.cli.main"]
    command = [
        *myqasr, "personalize", str(source), AUDIO, "--budget", options.budget,
        "--out", str(out), "--clips", str(options.clips),
    ]  # fmt: skip
    measured = run_command(command, options.threads)
    print("personalize", measured, flush=True)
    written = run_command([*myqasr, "export", str(out)], options.threads)
    print("export", written, flush=True)
    run = RunFolder(out)
    (path, artifact), *_ = exported_files(run, None)
    whole_menu = path.rename(out / "whole_menu.pte")
    again = [*command, "--precisions", PRECISIONS]
    run_command(again, options.threads)
    run_command([*myqasr, "export", str(out)], options.threads)
    (_, per_channel), *_ = exported_files(run, None)
    systems = [
        *model_systems(run),
        System("xnnpack, whole menu", "executorch", str(whole_menu)),
        replace(exported_file(path).system, name="xnnpack, per channel"),
    ]
    waveform = np.random.default_rng(0).standard_normal(SECONDS * SAMPLE_RATE).astype(np.float32)
    runners = {system.name: open_system(system, options.threads) for system in systems}
    turns = take_turns(on_one(runners, waveform), 1, TimingOptions())
    latency = {
        name: summarize(turns.utterances, seconds, [float(SECONDS)])
        for name, seconds in turns.seconds.items()
    }
    floats = turns.seconds[systems[0].name]
    ratios = {name: time_ratio(seconds, floats).value for name, seconds in turns.seconds.items()}
    for name, found in latency.items():
        print(f"{name:24} {found.median_ms:8.1f} ms  {ratios[name]:.3f} x torch float")
    profile = run.load_profile()
    figures = {
        "threads": BenchOptions(threads=options.threads).threads,
        "parameters": profile.float_weight_bytes // 4,
        "clips": profile.clips,
        "clip_seconds": profile.seconds,
        "personalize": measured,
        "export": written,
        "budget_bytes": artifact.budget_bytes,
        "predicted_bytes": artifact.predicted_bytes,
        "size_bytes": artifact.size_bytes,
        "mean_bits": artifact.mean_bits,
        "per_channel_bytes": per_channel.size_bytes,
        "per_channel_bits": per_channel.mean_bits,
        "median_ms": {name: found.median_ms for name, found in latency.items()},
        "ratio_to_torch_float": ratios,
    }
    print(save_result("base_model", "python -m benchmarks.files.base_model", figures))


if __name__ == "__main__":
    main()
