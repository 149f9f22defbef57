"""What goes to the Mac with a package, tried as far as a machine without Core ML can."""

import asyncio
import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from myqasr import api
from myqasr.cli.commands.curve import equal_ratios
from myqasr.core.errors import UserError
from myqasr.core.storage import sha256_of, size_of
from myqasr.exporters.coreml.kit import write_kit
from myqasr.exporters.coreml.mlpackage import read_programs
from myqasr.exporters.export import export_options, export_within_budget
from myqasr.exporters.manifest import Artifact, load_artifact
from myqasr.exporters.target import load_target
from myqasr.personalize.planning.plan import PlanRules
from myqasr.personalize.profiling import plan_for, size_range, sizes_with
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.results.coreml_report import load_mac_report
from myqasr.runtime_bench.results.report import load_report
from myqasr.runtime_bench.runners.coreml.reference import reference_of
from myqasr.speech.models import load_model
from tests.conftest import invoke
from tests.material.model_folders import save_model
from tests.material.tiny_models import layer_shapes, random_codes

QUICKLY = ("--threads", 1, "--runs", 2, "--seconds", 0)


@pytest.fixture(scope="module")
def kit(coreml_run):
    return coreml_run / "exports" / "bob.mac"


@pytest.fixture(scope="module")
def script(kit):
    """The copied script as a module."""
    return loaded(kit)


def loaded(folder):
    spec = importlib.util.spec_from_file_location("bench_macos_copy", folder / "bench_macos.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_package_keeps_its_budget_and_the_manifest_names_its_bytes(coreml_run):
    package = coreml_run / "exports" / "bob.mlpackage"
    _, artifact = load_artifact(package)
    assert artifact.size_bytes == size_of(package) <= artifact.budget_bytes
    assert artifact.sha256 == sha256_of(package)
    assert {spec.scheme for spec in artifact.layers.values()} >= {"lut"}
    rows = api.inspect(package)
    assert [row.layer for row in rows] == list(artifact.layers)
    assert [row.precision for row in rows] == [spec.label for spec in artifact.layers.values()]


def test_files_of_palettes_keep_every_budget_from_the_smallest_plan_to_nearly_float(
    coreml_run, tmp_path
):
    folder, target = RunFolder(coreml_run), load_target("coreml")
    speaker = folder.load_measurement()
    model = load_model(folder.load_settings().model)
    options = export_options(model, 6.0)
    sizes = size_range(folder, model, speaker.profile, target)
    used = []
    for budget in equal_ratios(int(1.1 * sizes.smallest_bytes), int(0.9 * sizes.float_bytes), 5):
        plan = plan_for(speaker.profile, target, budget, sizes.overhead_bytes)
        path = tmp_path / f"{budget}{target.suffix}"
        written = export_within_budget(model, speaker, plan, target, path, options, print)
        assert size_of(path) == written.artifact.size_bytes <= budget
        used.append(size_of(path) / budget)
    assert max(used) > 0.95


def test_least_bits_may_be_any_that_the_target_stores(coreml_run):
    folder = RunFolder(coreml_run)
    profile, target = folder.load_costs(), load_target("coreml")
    rules = PlanRules(keep=("*.attention.*=3", "lm_head=6"))
    sizes = sizes_with(profile, target, 10_000, rules)
    plan = plan_for(profile, target, int(1.05 * sizes.smallest_bytes), 10_000, rules)
    bits = {name: spec.bits for name, spec in plan.layers.items()}
    assert bits["lm_head"] >= 6
    assert min(count for name, count in bits.items() if ".attention." in name) == 3
    assert min(bits.values()) < 3


def test_a_curve_for_a_target_that_was_not_measured_says_how_to_measure_it(finished_run):
    done = invoke("curve", finished_run, "--target", "coreml")
    assert done.exit_code == 2
    assert "wasn't measured for coreml" in done.stderr
    assert "with --target coreml" in done.stderr


def test_bench_scores_the_very_file_and_claims_no_latency(coreml_run, test_clips):
    done = invoke("bench", coreml_run, "--data", test_clips, "--limit", 3, *QUICKLY)
    assert done.exit_code == 0, done.output
    report = load_report(next((coreml_run / "bench").iterdir()))
    package = report.system("bob (coreml)")
    assert package.latency is None
    assert package.startup is None
    assert package.words is not None
    assert package.transcripts == report.system("its reference (torch, coreml)").transcripts
    assert report.system("bob (coreml), float16 results").description.endswith("float16 results")


def test_a_package_changed_after_the_export_is_refused(coreml_run, tmp_path, test_clips):
    import shutil

    copy = shutil.copytree(coreml_run / "exports", tmp_path / "exports")
    weights = next((copy / "bob.mlpackage").rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"bob\.mlpackage is not the file that was exported"):
        load_artifact(copy / "bob.mlpackage")


def test_golden_logits_are_those_that_the_saved_program_computes(coreml_run, kit, script):
    runner = reference_of(coreml_run / "exports" / "bob.mlpackage")
    inputs = script.golden_inputs(kit)
    assert list(inputs) == ["longest", "shortest", "speech"]
    for golden in inputs.values():
        logits = golden["logits"]
        worst, same = script.compared(runner.logits(golden["input"][0])[None], logits)
        assert worst < 1e-5
        assert same == 1.0
    with pytest.raises(SystemExit, match="results of shape"):
        script.compared(logits[:, :-1], logits)
    assert script.compared(-logits, logits)[1] < 0.5


def test_the_layers_file_names_every_layer_with_its_precision(coreml_run, kit):
    _, artifact = load_artifact(coreml_run / "exports" / "bob.mlpackage")
    about = json.loads((kit / "layers.json").read_text())
    assert about["package_sha256"] == artifact.sha256
    listed = {layer["name"]: layer["precision"] for layer in about["layers"]}
    assert listed == {name: spec.label for name, spec in artifact.layers.items()}


def test_without_macos_the_script_says_so_and_stops(kit):
    command = [sys.executable, str(kit / "bench_macos.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if sys.platform != "darwin":
        assert done.returncode == 1
        assert "macOS only" in done.stderr


def stand_in(monkeypatch):
    """Core ML's own calls replaced by the evaluator; returns what was asked for: units and functions."""
    from coremltools.models.compute_plan import MLComputePlan
    from coremltools.models.ml_program.experimental import perf_utils

    asked = []

    class Model:
        def __init__(self, path, compute_units, function_name):
            asked.append((compute_units.name, function_name))
            self.package = path
            self.function = reference_of(Path(path)).functions[function_name or "main"]

        def predict(self, inputs):
            tensors = [torch.from_numpy(inputs[name]) for name in self.function.program.inputs]
            found = self.function.outputs(*tensors)
            return dict(zip(self.function.program.outputs, (f.numpy() for f in found), strict=True))

        def get_compiled_model_path(self):
            return self.package

    class Benchmarker:
        def __init__(self, model):
            pass

        async def benchmark_load(self, iterations):
            return SimpleNamespace(samples=[5.0] * iterations)

        async def benchmark_predict(self, inputs, iterations, warmup):
            return SimpleNamespace(samples=[np.float64(2.0)] * iterations)

    def block(program):
        operations = [
            SimpleNamespace(
                operator_name=f"ios18.{each.kind}", outputs=[SimpleNamespace(name=each.name)]
            )
            for each in program.operations
        ]
        return SimpleNamespace(block=SimpleNamespace(operations=operations))

    def plan(path, compute_units):
        functions = {name: block(each) for name, each in read_programs(Path(path)).items()}
        return SimpleNamespace(
            model_structure=SimpleNamespace(program=SimpleNamespace(functions=functions)),
            get_compute_device_usage_for_mlprogram_operation=lambda operation: None,
            get_estimated_cost_for_mlprogram_operation=lambda operation: SimpleNamespace(
                weight=0.5
            ),
        )

    monkeypatch.setattr("coremltools.models.MLModel", Model)
    monkeypatch.setattr(perf_utils, "MLModelBenchmarker", Benchmarker)
    monkeypatch.setattr(MLComputePlan, "load_from_path", plan)
    return asked


def test_the_result_of_the_script_is_a_report_that_we_read(
    coreml_run, script, monkeypatch, tmp_path
):
    package, asked = coreml_run / "exports" / "bob.mlpackage", stand_in(monkeypatch)
    result = asyncio.run(script.report(package, ["ALL", "CPU_ONLY"], 4))
    (tmp_path / "result.json").write_text(json.dumps(result))
    report = load_mac_report(tmp_path / "result.json")
    assert asked == [("ALL", None), ("CPU_ONLY", None)]
    assert report.package_sha256 == load_artifact(package)[1].sha256
    for unit in report.units:
        assert unit.latency.median_ms == pytest.approx(2.0)
        assert max(each.max_error for each in unit.golden) < 1e-5
        assert {"ios18.linear", "ios18.conv"} <= {each.kind for each in unit.operations}
        assert not any(each.kind.endswith(".const") for each in unit.operations)


def test_a_whispers_kit_checks_what_was_heard_and_every_golden_token_and_times_whole_texts(
    tmp_path, monkeypatch
):
    save_model("whisper", tmp_path)
    model, target = load_model(str(tmp_path)), load_target("coreml")
    package, folder = tmp_path / "eve.mlpackage", tmp_path / "eve.mac"
    specs = {name: target.menu(shape)[-1] for name, shape in layer_shapes(model).items()}
    codes = random_codes(model, target, specs)
    options = export_options(model, 15.0)
    order = target.write(model, codes, package, options)
    layers = {name: specs[name] for name in order}
    size = size_of(package)
    artifact = Artifact(
        "coreml", package.name, sha256_of(package), size, size, size, 32.0, options.min_samples,
        options.max_samples, "plan", "profile", layers,
    )  # fmt: skip
    assert write_kit(model, codes, package, artifact) == folder
    script = loaded(folder)
    golden = script.golden_inputs(folder)
    assert list(golden) == ["speech"]
    reference = reference_of(package, autoregression=model.tokens.autoregression)
    written = reference.logits(golden["speech"]["input"][0])
    steps = golden["speech"]["steps"] - golden["speech"]["prompt"]
    assert len(steps) == min(8, len(written))
    assert np.abs(golden["speech"]["logits"][0] - written[steps]).max() < 1e-5
    asked = stand_in(monkeypatch)
    result = asyncio.run(script.report(package, ["ALL"], 3))
    assert asked == [("ALL", "encode"), ("ALL", "decode")]
    script.print_summary(result)
    (tmp_path / "result.json").write_text(json.dumps(result))
    (unit,) = load_mac_report(tmp_path / "result.json").units
    (found,) = unit.golden
    assert found.max_error < 1e-5
    assert found.heard_error < 1e-5
    assert found.same_best == 1.0
    assert len(found.predict_ms) == 3
    assert unit.load_ms == (10.0, 10.0, 10.0)
    assert {"ios18.conv", "ios18.gather"} <= {each.kind for each in unit.operations}


def test_the_calls_that_the_script_makes_on_a_mac_exist_in_the_pinned_coremltools():
    from coremltools.models import MLModel
    from coremltools.models.compute_plan import MLComputePlan
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    def parameters(function):
        return set(inspect.signature(function).parameters)

    assert {"inputs", "iterations", "warmup"} <= parameters(MLModelBenchmarker.benchmark_predict)
    assert "iterations" in parameters(MLModelBenchmarker.benchmark_load)
    assert {"path", "compute_units"} <= parameters(MLComputePlan.load_from_path)
    assert callable(MLComputePlan.get_compute_device_usage_for_mlprogram_operation)
    assert callable(MLComputePlan.get_estimated_cost_for_mlprogram_operation)
    assert callable(MLModel.get_compiled_model_path)
