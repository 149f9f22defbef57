"""Benchmark and check the Core ML package beside this file. Needs macOS 15, Python and coremltools 9.

    pip install coremltools==9.0 numpy
    python bench_macos.py [--units CPU_AND_NE] [--iterations 20] [--out result.json]

For every choice of compute units: load time, prediction time on the golden inputs, how far the logits are
from the reference's, and on which device Core ML means to run each operation. Stands alone: `myqasr export`
copies it beside the package.
"""

import argparse
import asyncio
import datetime
import hashlib
import json
import platform
import sys
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


def golden_inputs(folder: Path) -> list[tuple[str, Any, Any]]:
    """Name, input float32 [1, samples] and reference logits float32 [1, frames, vocab]."""
    with np.load(folder / "golden.npz", allow_pickle=False) as held:
        names = sorted(key.removesuffix(".input") for key in held if key.endswith(".input"))
        return [(name, held[f"{name}.input"], held[f"{name}.logits"]) for name in names]


def compared(found: Any, expected: Any) -> tuple[float, float]:
    """Largest error of the logits, and share of frames with the same best token."""
    if found.shape != expected.shape:
        raise SystemExit(f"logits of shape {found.shape}, the reference has {expected.shape}")
    best = found.argmax(-1) == expected.argmax(-1)
    return float(np.abs(found - expected).max()), float(best.mean())


async def golden_results(model: Any, benchmarker: Any, iterations: int, rate: int) -> list[Any]:
    """Every golden input compared once and timed so many times."""
    results = []
    for name, waveform, expected in golden_inputs(HERE):
        logits = np.asarray(model.predict({"waveform": waveform})["logits"], np.float32)
        worst, same = compared(logits, expected)
        timed = await benchmarker.benchmark_predict(
            inputs={"waveform": waveform}, iterations=iterations, warmup=True
        )
        # The first prediction of the warm-up is among the samples.
        results.append(
            {
                "name": name,
                "audio_seconds": waveform.shape[1] / rate,
                "max_error": worst,
                "same_best": same,
                "predict_ms": [float(ms) for ms in timed.samples[-iterations:]],
            }
        )
    return results


def placement(compiled: str, units: Any) -> list[Any]:
    """Device and estimated cost of every operation that isn't a constant."""
    from coremltools.models.compute_plan import MLComputePlan

    plan = MLComputePlan.load_from_path(compiled, compute_units=units)
    operations = plan.model_structure.program.functions["main"].block.operations
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


async def unit_result(package: Path, units: str, iterations: int, rate: int) -> Any:
    """All figures for one choice of compute units."""
    import coremltools as ct
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    chosen = ct.ComputeUnit[units]
    model = ct.models.MLModel(str(package), compute_units=chosen)
    benchmarker = MLModelBenchmarker(model)
    loads = await benchmarker.benchmark_load(iterations=LOADS)
    return {
        "units": units,
        "load_ms": [float(ms) for ms in loads.samples],
        "golden": await golden_results(model, benchmarker, iterations, rate),
        "operations": placement(model.get_compiled_model_path(), chosen),
    }


async def report(package: Path, units: list[str], iterations: int) -> Any:
    """The whole result; `myqasr` reads it as `runtime_bench.coreml_report.MacReport`."""
    about = json.loads((HERE / "layers.json").read_text())
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": f"macOS {platform.mac_ver()[0]}",
        "versions": {name: version(name) for name in ("coremltools", "numpy")},
        "package": package.name,
        "package_sha256": package_hash(package),
        "units": [
            await unit_result(package, each, iterations, about["sample_rate"]) for each in units
        ],
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
