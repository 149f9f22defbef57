"""A wav2vec2-base-sized model (random weights) as TFLite files beside ExecuTorch's: writing, latency, memory.

python -m benchmarks.tflite_base [--threads 1] [--targets litert,xnnpack]

Codes are rounded to nearest. The mixed LiteRT file is first written by a process of its own: its seconds and
peak memory are those of converting the model, putting the integers in and reading them back. Latency is on
4 s of audio, all files in turns in one process; load time and memory are those of processes of their own.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.base_model import SECONDS, make_model
from benchmarks.results import BUILD, run_command, save_result
from exporters.export import check_file, export_options
from exporters.target import load_target
from personalize.observe import layer_shape
from personalize.plan import FLOAT32, LayerProfile, LayerShape, QuantSpec
from personalize.rounding import round_layer
from runtime_bench.exported import TARGET_RUNNERS
from runtime_bench.machine import core_times, load_between
from runtime_bench.peak_memory import measure_startup
from runtime_bench.protocol import TimingOptions, summarize, take_turns
from runtime_bench.runners.base import System, open_system
from speech.audio import SAMPLE_RATE
from speech.models import load_model
from speech.models.base import SpeechModel
from speech.storage import converter

SOURCE = BUILD / "base_model"
FILES = ("fp32", "int8", "int4", "mixed")


def spec_of(shape: LayerShape, file: str) -> QuantSpec:
    """mixed: 4 bits in the feed-forward layers, 8 elsewhere. The grouped convolution stays float."""
    if file == "fp32" or not shape.has_rows:
        return FLOAT32
    narrow = file == "int4" or (file == "mixed" and "feed_forward" in shape.name)
    return QuantSpec(4 if narrow else 8, activation="int8-dynamic")


def path_of(target: str, file: str) -> Path:
    """Where a file is written."""
    return BUILD / "tflite_base" / f"{file}{load_target(target).SUFFIX}"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--targets", default="litert,xnnpack")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--write", help="used by itself: targets whose files to write")
    parser.add_argument("--files", default=",".join(FILES))
    options = parser.parse_args()
    if options.write:
        model = load_model(str(SOURCE))  # traced once for all files
        for target in options.write.split(","):
            for file in options.files.split(","):
                write(model, target, file)
        return
    if not SOURCE.is_dir():
        make_model(SOURCE)
    targets = options.targets.split(",")
    again = [sys.executable, "-m", "benchmarks.tflite_base", "--write"]
    cost = run_command([*again, "litert", "--files", "mixed"], options.threads)
    print("litert mixed", cost, flush=True)
    run_command([*again, options.targets, "--files", options.files], options.threads)
    systems = [
        System(f"{target} {file}", TARGET_RUNNERS[target], str(path_of(target, file)))
        for target in targets
        for file in options.files.split(",")
    ]
    waveform = np.random.default_rng(0).standard_normal(SECONDS * SAMPLE_RATE).astype(np.float32)
    startups = {each.name: measure_startup(each, waveform, options.threads) for each in systems}
    began = core_times(())
    runners = {system.name: open_system(system, options.threads) for system in systems}
    turns = take_turns(
        {
            name: lambda _, runner=runner: runner.logits(waveform)  # type: ignore[misc]
            for name, runner in runners.items()
        },
        1,
        TimingOptions(warmup=2, runs=options.repeats, seconds=0.0, max_seconds=200.0),
    )
    others = load_between(began, core_times(()), (), 0.0).others_share
    rows = {}
    for system in systems:
        latency = summarize(turns.utterances, turns.seconds[system.name], [float(SECONDS)])
        startup = startups[system.name]
        rows[system.name] = {
            "size_bytes": Path(system.source).stat().st_size,
            "median_ms": latency.median_ms,
            "load_ms": startup.load_ms,
            "added_rss_bytes": startup.peak_rss_bytes - startup.baseline_rss_bytes,
        }
        print(system.name, rows[system.name], flush=True)
    figures = {
        "threads": options.threads,
        "others_share": others,
        "write_mixed": converter.unstructure(cost),
        "files": rows,
    }
    print(save_result("tflite_base", "python -m benchmarks.tflite_base", figures))


if __name__ == "__main__":
    main()
