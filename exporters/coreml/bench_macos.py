"""Benchmark and check the Core ML package beside this file. Needs macOS 15, Python and coremltools 9.

    pip install coremltools==9.0 numpy
    python bench_macos.py [--units CPU_AND_NE] [--iterations 20] [--out result.json]

For every choice of compute units: load time, prediction time on the golden inputs, how far the logits are
from the reference's, and on which device Core ML means to run each operation. A package with the functions
`encode` and `decode` (Whisper) writes the reference's tokens: one call of `encode`, one of `decode` for each
token. Stands alone: `myqasr export` copies it beside the package.
"""

import argparse
import asyncio
import datetime
import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA_VERSION = 1
UNITS = ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
HERE = Path(__file__).parent
LOADS = 3


def package_hash(package: Path) -> str:
    """As `myqasr export` writes it into manifest.json: over the names and digests of the package's files."""
    files = sorted(file for file in package.rglob("*") if file.is_file())
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(package)}"
        for file in files
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def golden_inputs(folder: Path) -> dict[str, dict[str, Any]]:
    """By name: `input` float32 [1, samples] and reference `logits` float32 [1, frames, vocab].

    With `encode` and `decode` also `heard`, the last of what encode gives; `ids` int32 [1, tokens], prompt
    and what the reference wrote; `prompt`, ids before the first that it wrote; `places`, ids that fit;
    `steps`, after how many ids the logits were taken.
    """
    with np.load(folder / "golden.npz", allow_pickle=False) as held:
        golden: dict[str, dict[str, Any]] = {}
        for key in sorted(held):
            name, _, what = key.rpartition(".")
            golden.setdefault(name, {})[what] = held[key]
    return golden


def answers(models: dict[str, Any], golden: dict[str, Any]) -> dict[str, Any]:
    """What the package says where the reference said `logits` and `heard`; float32, of their shapes."""
    waveform = {"waveform": golden["input"]}
    if "main" in models:
        return {"logits": np.asarray(models["main"].predict(waveform)["logits"], np.float32)}
    heard = models["encode"].predict(waveform)
    rows = [
        logits
        for count, logits in enumerate(decoded(models["decode"], golden, heard), 1)
        if count in golden["steps"]
    ]
    last = heard[f"heard_{len(heard) - 1}"]
    return {"logits": np.stack(rows, 1).astype(np.float32), "heard": np.asarray(last, np.float32)}


def decoded(decode: Any, golden: dict[str, Any], heard: dict[str, Any]) -> Iterator[Any]:
    """The logits [1, vocab] after each of the golden ids, read one by one.

    heard: what encode gave, the last of it [heads, positions, size]. What decode gives besides logits are the
    rows [heads, 1, size] that belong into its caches at the id's position.
    """
    ids, places = golden["ids"], int(golden["places"])
    heads, _, size = heard[f"heard_{len(heard) - 1}"].shape
    caches = [np.zeros((heads, places, size), np.float32) for _ in heard]
    for position in range(ids.shape[1]):
        token = {
            "token": ids[:, position : position + 1],
            "position": np.array([position], np.int32),
        }
        kept = {f"cache_{index}": cache for index, cache in enumerate(caches)}
        found = decode.predict({**token, **kept, **heard})
        for index, cache in enumerate(caches):
            cache[:, position] = found[f"row_{index}"][:, 0]
        yield found["logits"]


def compared(found: Any, expected: Any) -> tuple[float, float]:
    """Largest error, and share of frames with the same best token."""
    if found.shape != expected.shape:
        raise SystemExit(f"results of shape {found.shape}, the reference has {expected.shape}")
    best = found.argmax(-1) == expected.argmax(-1)
    return float(np.abs(found - expected).max()), float(best.mean())


def written_ms(models: dict[str, Any], golden: dict[str, Any], iterations: int) -> list[float]:
    """Times of encoding once and decoding every token, by this process's clock, after a round to warm up."""
    rounds = []
    for _ in range(iterations + 1):
        started = time.perf_counter()
        heard = models["encode"].predict({"waveform": golden["input"]})
        for _ in decoded(models["decode"], golden, heard):
            pass
        rounds.append(1e3 * (time.perf_counter() - started))
    return rounds[1:]


async def predict_ms(
    models: dict[str, Any], benchmarkers: dict[str, Any], golden: dict[str, Any], iterations: int
) -> list[float]:
    """Time of each of so many predictions, after one to warm up."""
    if "main" not in models:
        return written_ms(models, golden, iterations)
    timed = await benchmarkers["main"].benchmark_predict(
        inputs={"waveform": golden["input"]}, iterations=iterations, warmup=True
    )
    return [float(ms) for ms in timed.samples[-iterations:]]


async def golden_results(
    models: dict[str, Any], benchmarkers: dict[str, Any], iterations: int, rate: int
) -> list[Any]:
    """Every golden input compared once and timed so many times."""
    results = []
    for name, golden in golden_inputs(HERE).items():
        found = answers(models, golden)
        worst, same = compared(found["logits"], golden["logits"])
        heard = compared(found["heard"], golden["heard"])[0] if "heard" in found else None
        results.append(
            {
                "name": name,
                "audio_seconds": golden["input"].shape[1] / rate,
                "max_error": worst,
                "same_best": same,
                "predict_ms": await predict_ms(models, benchmarkers, golden, iterations),
                "heard_error": heard,
            }
        )
    return results


def placement(compiled: str, units: Any, function: str) -> list[Any]:
    """Device and estimated cost of every operation of a function that isn't a constant."""
    from coremltools.models.compute_plan import MLComputePlan

    plan = MLComputePlan.load_from_path(compiled, compute_units=units)
    operations = plan.model_structure.program.functions[function].block.operations
    placed = []
    for operation in operations:
        if operation.operator_name.split(".")[-1] == "const":
            continue
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        device = None if usage is None else type(usage.preferred_compute_device).__name__
        placed.append(
            {
                "kind": operation.operator_name,
                "output": operation.outputs[0].name,
                "device": device,
                "cost": None if cost is None else float(cost.weight),
            }
        )
    return placed


async def unit_result(package: Path, units: str, iterations: int, about: Any) -> Any:
    """All figures for one choice of compute units. Loading takes the sum over the functions."""
    import coremltools as ct
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    chosen = ct.ComputeUnit[units]
    models = {
        name: ct.models.MLModel(
            str(package), compute_units=chosen, function_name=None if name == "main" else name
        )
        for name in about["functions"]
    }
    benchmarkers = {name: MLModelBenchmarker(model) for name, model in models.items()}
    loads = [
        (await each.benchmark_load(iterations=LOADS)).samples for each in benchmarkers.values()
    ]
    return {
        "units": units,
        "load_ms": [float(sum(turn)) for turn in zip(*loads, strict=True)],
        "golden": await golden_results(models, benchmarkers, iterations, about["sample_rate"]),
        "operations": [
            placed
            for name, model in models.items()
            for placed in placement(model.get_compiled_model_path(), chosen, name)
        ],
    }


async def report(package: Path, units: list[str], iterations: int) -> Any:
    """The whole result; `myqasr` reads it as `runtime_bench.results.coreml_report.MacReport`."""
    about = json.loads((HERE / "layers.json").read_text())
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": f"macOS {platform.mac_ver()[0]}",
        "versions": {name: version(name) for name in ("coremltools", "numpy")},
        "package": package.name,
        "package_sha256": package_hash(package),
        "units": [await unit_result(package, each, iterations, about) for each in units],
    }


def print_summary(result: Any) -> None:
    """One line for each choice of units."""
    for unit in result["units"]:
        times = sorted(ms for golden in unit["golden"] for ms in golden["predict_ms"])
        audio = sum(golden["audio_seconds"] for golden in unit["golden"])
        total = sum(sorted(g["predict_ms"])[len(g["predict_ms"]) // 2] for g in unit["golden"])
        devices: dict[str, int] = {}
        for operation in unit["operations"]:
            device = operation["device"] or "unknown"
            devices[device] = devices.get(device, 0) + 1
        print(
            f"{unit['units']:12} load {min(unit['load_ms']):.0f} ms, median prediction "
            f"{times[len(times) // 2]:.1f} ms, RTF {total / 1e3 / audio:.4f}, largest error "
            f"{max(g['max_error'] for g in unit['golden']):.2g}, same best token "
            f"{min(g['same_best'] for g in unit['golden']):.1%}; operations: {devices}"
        )


def main() -> None:
    """Run, print a summary, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", choices=UNITS, action="append", help="default: all four")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "result.json")
    options = parser.parse_args()
    if sys.platform != "darwin":
        raise SystemExit("Core ML runs on macOS only; copy the package and this folder to a Mac")
    about = json.loads((HERE / "layers.json").read_text())
    package = HERE.parent / about["package"]
    found = package_hash(package)
    if found != about["package_sha256"]:
        raise SystemExit(
            f"{package} has hash {found}, this folder belongs to one of {about['package_sha256']}"
        )
    result = asyncio.run(report(package, options.units or list(UNITS), options.iterations))
    print_summary(result)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"result: {options.out}")


if __name__ == "__main__":
    main()
