"""ARM64 kernels in an emulator: the host's texts, costs in instructions that repeat, and clear refusals."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from myqasr.core.errors import UserError
from myqasr.exporters.export import export_options
from myqasr.exporters.target import ExportOptions, load_target
from myqasr.personalize.planning.plan import FLOAT32, QuantSpec
from myqasr.runtime_bench.devices.emulator import (
    COMPILER,
    CPUS,
    EMULATOR,
    Program,
    cpuinfo,
    emulated,
)
from myqasr.runtime_bench.devices.emulator_files import LITERT, OLD_TFLITE, arm64_python
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.arm64 import count_instructions
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.decoding import best_tokens
from myqasr.speech.models import load_model
from tests.material.model_folders import save_model
from tests.material.tiny_models import layer_shapes, noise, random_codes, tiny_ctc

SPECS = {
    "fp32": FLOAT32,
    "int8": QuantSpec(8, activation="int8-dynamic"),
    "int4": QuantSpec(4, activation="int8-dynamic"),
    "int8-static": QuantSpec(8, activation="int8-static"),
    "int4-static": QuantSpec(4, activation="int8-static"),
}
needs_emulator = pytest.mark.skipif(
    shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None,
    reason=f"needs {COMPILER} and {EMULATOR}: make arm64",
)
SHORT, LONG = (noise(samples)[0].numpy() for samples in (16_000, 31_000))
INPUTS = [LONG, SHORT, LONG, SHORT, LONG]  # the first inference also sets kernels up


def written(folder: Path, target_name: str, precision: str) -> str:
    """A tiny model with all its linear layers at one precision."""
    target = load_target(target_name)
    model = tiny_ctc(layers=1, hidden=128, feed_forward=512)
    specs = {
        layer: SPECS[precision] if shape.kind == "linear" else FLOAT32
        for layer, shape in layer_shapes(model).items()
    }
    path = folder / f"{precision}{target.suffix}"
    target.write(model, random_codes(model, target, specs), path, ExportOptions(2_000, 32_000))
    return str(path)


def cost(path: str, cpu: str, host_runner: str, least_db: float = 60, same_best: float = 1) -> int:
    """Instructions for the short input; logits were the host's, and counts repeated.

    least_db: of logits against the host's. same_best: share of frames with the host's best token.
    """
    host = open_system(System("host", host_runner, path), 1)
    counted, logits = count_instructions(System("arm", "arm64", path), cpu, INPUTS)
    for features, here in zip(INPUTS, logits, strict=True):
        expected = host.logits(features)
        assert signal_to_noise_db(expected, here) > least_db
        assert (here.argmax(1) == expected.argmax(1)).mean() >= same_best
    _, short, long, *again = counted.inferences
    np.testing.assert_allclose(again, (short, long), rtol=0.02)
    assert long > 1.5 * short
    return short


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """ExecuTorch's, by precision."""
    folder = tmp_path_factory.mktemp("arm64")
    return {name: written(folder, "xnnpack", name) for name in ("fp32", "int8")}


@needs_emulator
@pytest.mark.parametrize("cpu", CPUS)
def test_arm64_kernels_compute_what_the_hosts_compute_and_their_costs_repeat(files, cpu):
    found = {name: cost(path, cpu, "executorch-cpp") for name, path in files.items()}
    if cpu == "cortex-a76":  # dot products
        assert found["int8"] < found["fp32"]


@pytest.fixture
def arm64_tflite() -> None:
    """Skips where the packages can't be had."""
    try:
        arm64_python(LITERT), arm64_python(OLD_TFLITE)
    except UserError as error:
        pytest.skip(f"no ARM64 packages: {error}")


@needs_emulator
@pytest.mark.usefixtures("arm64_tflite")
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_litert_files_compute_the_same_on_arm64_and_their_costs_repeat(precision, tmp_path):
    path = written(tmp_path, "litert", precision)
    found = {cpu: cost(path, cpu, "litert") for cpu in CPUS}
    assert found["cortex-a76"] < found["cortex-a53"]  # dot products


@needs_emulator
@pytest.mark.usefixtures("arm64_tflite", "tflite_runtime")
@pytest.mark.parametrize("precision", ["int8-static", "int4-static"])
def test_tflite_runtime_files_compute_the_same_on_arm64_and_their_costs_repeat(precision, tmp_path):
    path = written(tmp_path, "tflite-runtime", precision)
    for cpu in CPUS:
        # Stored ranges: XNNPACK of that time rounds results otherwise on x86.
        assert cost(path, cpu, "tflite-runtime", least_db=35, same_best=0.9) > 0


@needs_emulator
def test_an_emulated_system_runs_but_is_never_timed(finished_run):
    (path,) = (finished_run / "exports").glob("*.pte")
    system = exported_file(path, runner="arm64:cortex-a53").system
    assert not system.timed
    runner = open_system(system, 1)
    assert runner.description == "ExecuTorch C++ 1.5.1 on emulated cortex-a53"
    assert runner.session.loaded["cpu"]["CPU part"] == [CPUS["cortex-a53"].part]


@needs_emulator
def test_a_cpu_model_that_computes_wrong_results_is_refused(files):
    with pytest.raises(UserError, match="can't emulate CPU 'max'; known: cortex-a53, cortex-a76"):
        open_system(System("max", "arm64:max", files["fp32"]), 1)


def test_without_cross_compiler_or_emulator_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "any.pte"
    file.write_bytes(b"any")
    with pytest.raises(UserError, match=f"no cross compiler '{re.escape(COMPILER)}'.*make arm64"):
        open_system(System("arm", "arm64", str(file)), 1)
    tflite = tmp_path / "any.litert.tflite"
    tflite.write_bytes(b"any")
    for attempt in (
        lambda: emulated(Program("program", ("program",), {}), "cortex-a76"),
        lambda: open_system(System("arm", "arm64", str(tflite)), 1),
    ):
        with pytest.raises(UserError, match=r"emulating ARM64 needs qemu-aarch64: make arm64"):
            attempt()


def test_the_emulated_cpuinfo_tells_the_cpus_apart():
    a53, a76 = cpuinfo("cortex-a53", cores=2), cpuinfo("cortex-a76")
    assert a53.count("CPU part\t: 0xd03") == 2 and "asimddp" not in a53
    assert a76.count("CPU part\t: 0xd0b") == 4 and "asimddp" in a76


@needs_emulator
@pytest.mark.parametrize("name", ["litert", "tflite-runtime"])
def test_a_tflite_file_writes_the_hosts_text_token_by_token(name, tflite_runtime, tmp_path):
    save_model("whisper", tmp_path / "whisper")
    model, target = load_model(str(tmp_path / "whisper")), load_target(name)
    how, path = model.tokens.autoregression, tmp_path / f"a{target.suffix}"
    specs = {
        layer: ([FLOAT32] + [spec for spec in target.menu(shape) if spec.bits == 8])[-1]
        for layer, shape in layer_shapes(model).items()
    }
    target.write(model, random_codes(model, target, specs), path, export_options(model, 2.0))
    features = model.features(0.1 * noise(20_000)[0].numpy())[0].numpy()
    host, emulated_file = (
        open_system(System("file", runner, str(path), autoregression=how), 1).logits(features)
        for runner in (target.runner, "arm64")
    )
    assert best_tokens(emulated_file, how) == best_tokens(host, how)
    assert signal_to_noise_db(host, emulated_file) > 30
