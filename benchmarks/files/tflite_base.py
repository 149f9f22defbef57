"""A wav2vec2-base-sized model (random weights) as TFLite files beside ExecuTorch's: writing, latency, memory.

python -m benchmarks.files.tflite_base [--threads 1] [--targets litert,xnnpack] [--repeats 30]

Codes are rounded to nearest. The mixed file of each target is written by a process of its own: its seconds
and peak memory are those of loading and converting the model, putting the integers in and reading them back.
Latency is on 4 s of audio, all files in turns in one process on pinned cores; load time and memory are those
of processes of their own.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.files.base_model import SECONDS, make_model, on_one
from benchmarks.results import BUILD, run_command, save_result
from myqasr.exporters.export import check_file, export_options
from myqasr.exporters.target import load_target
from myqasr.personalize.planning.plan import FLOAT32, LayerProfile, LayerShape, QuantSpec
from myqasr.personalize.rounding.layers import round_layer
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.runtime_bench.devices.machine import core_times, idle_cores, load_between, pinned
from myqasr.runtime_bench.measure.peak_memory import measure_startup
from myqasr.runtime_bench.results.protocol import TimingOptions, summarize, take_turns
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import TARGET_RUNNERS
from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.models import load_model
from myqasr.speech.models.base import SpeechModel

SOURCE = BUILD / "base_model"
FILES = ("fp32", "int8", "int4", "mixed")
MEASURED = "mixed"
"""The file whose writing is measured."""

WARMUP, MAX_SECONDS = 2, 300.0


def spec_of(shape: LayerShape, file: str) -> QuantSpec:
    """mixed: 4 bits in the feed-forward layers, 8 elsewhere. The grouped convolution stays float."""
    if file == "fp32" or not shape.has_rows:
        return FLOAT32
    narrow = file == "int4" or (file == "mixed" and "feed_forward" in shape.name)
    return QuantSpec(4 if narrow else 8, activation="int8-dynamic")


def path_of(target: str, file: str) -> Path:
    """Where a file is written."""
    return BUILD / "tflite_base" / f"{file}{load_target(target).suffix}"


def write(model: SpeechModel, target_name: str, file: str) -> None:
    """One file, read back equal to its codes."""
    target = load_target(target_name)
    codes = {}
    for name, module in model.layers().items():
        shape = layer_shape(name, module)
        spec = spec_of(shape, file)
        weight = module.weight
        record = LayerProfile(shape, name, {})
        codes[name] = round_layer(weight, record, spec, target.scale_dtype(spec))  # type: ignore[arg-type]
    path = path_of(target_name, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    order = target.write(model, codes, path, export_options(model, 15.0))
    check_file(path, target, codes, order, model)


def measure(systems: Sequence[System], threads: int, repeats: int) -> dict[str, Any]:
    """Latency of all systems in turns, load time and memory of each; what else the machine did."""
    waveform = np.random.default_rng(0).standard_normal(SECONDS * SAMPLE_RATE).astype(np.float32)
    idle, busy_cores = idle_cores(threads)
    with pinned(idle) as cores:
        startups = {each.name: measure_startup(each, waveform, threads) for each in systems}
        runners = {system.name: open_system(system, threads) for system in systems}
        before = core_times(cores)
        timing = TimingOptions(warmup=WARMUP, runs=repeats, seconds=0.0, max_seconds=MAX_SECONDS)
        turns = take_turns(on_one(runners, waveform), 1, timing)
        load = load_between(before, core_times(cores), cores, busy_cores)
    rows = {}
    for system in systems:
        latency = summarize(turns.utterances, turns.seconds[system.name], [float(SECONDS)])
        startup = startups[system.name]
        rows[system.name] = {
            "size_bytes": Path(system.source).stat().st_size,
            "runs": latency.runs,
            "median_ms": latency.median_ms,
            "p90_ms": latency.p90_ms,
            "load_ms": startup.load_ms,
            "added_rss_bytes": startup.model_rss_bytes,
        }
        print(system.name, rows[system.name], flush=True)
    return {"threads": threads, "load": load, "files": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--targets", default="litert,xnnpack")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--write", help="used by itself: the target whose files to write")
    parser.add_argument("--files", help="used by itself: which ones")
    options = parser.parse_args()
    if options.write:
        model = load_model(str(SOURCE))  # traced once for all files
        for file in options.files.split(","):
            write(model, options.write, file)
        return
    if not SOURCE.is_dir():
        make_model(SOURCE)
    targets = options.targets.split(",")
    again = [sys.executable, "-m", "benchmarks.files.tflite_base", "--write"]
    costs = {}
    for target in targets:
        costs[target] = run_command([*again, target, "--files", MEASURED], options.threads)
        print(target, MEASURED, costs[target], flush=True)
        others = ",".join(file for file in FILES if file != MEASURED)
        run_command([*again, target, "--files", others], options.threads)
    systems = [
        System(f"{target} {file}", TARGET_RUNNERS[target], str(path_of(target, file)))
        for target in targets
        for file in FILES
    ]
    figures = {"write_mixed": costs, **measure(systems, options.threads, options.repeats)}
    print(save_result("tflite_base", "python -m benchmarks.files.tflite_base", figures))


if __name__ == "__main__":
    main()
