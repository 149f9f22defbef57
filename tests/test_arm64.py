"""ARM64 kernels in an emulator: the host's texts, costs in instructions that repeat, and clear refusals."""

import re
import shutil

import numpy as np
import pytest

from exporters.target import ExportOptions, load_target
from personalize.plan import FLOAT32, QuantSpec
from runtime_bench.arm64 import COMPILER, CPUS, EMULATOR, cpuinfo, emulated
from runtime_bench.exported import exported_file
from runtime_bench.quality import signal_to_noise_db
from runtime_bench.runners.arm64 import count_instructions
from runtime_bench.runners.base import System, open_system
from speech.errors import UserError
from tests.tiny_models import layer_shapes, noise, random_codes, tiny_ctc

SPECS = {
    "fp32": FLOAT32,
    "int8": QuantSpec(8, activation="int8-dynamic"),
}
needs_emulator = pytest.mark.skipif(
    shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None,
    reason=f"needs {COMPILER} and {EMULATOR}: make arm64",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """The same tiny model with all its linear layers at each precision."""
    folder = tmp_path_factory.mktemp("arm64")
    target = load_target("xnnpack")
    paths = {}
    for name, spec in SPECS.items():
        model = tiny_ctc(layers=1, hidden=128, feed_forward=512)
        specs = {
            layer: spec if shape.kind == "linear" else FLOAT32
            for layer, shape in layer_shapes(model).items()
        }
        path = folder / f"{name}.pte"
        target.write(model, random_codes(model, target, specs), path, ExportOptions(2_000, 32_000))
        paths[name] = str(path)
    return paths


@needs_emulator
@pytest.mark.parametrize("cpu", CPUS)
def test_arm64_kernels_compute_what_the_hosts_compute_and_their_costs_repeat(files, cpu):
    inputs = [noise(samples)[0].numpy() for samples in (16_000, 16_000, 31_000)]
    cost = {}
    for name, path in files.items():
        host = open_system(System(name, "executorch-cpp", path), 1)
        counted, logits = count_instructions(System(name, "arm64", path), cpu, inputs)
        again, _ = count_instructions(System(name, "arm64", path), cpu, inputs)
        for features, found in zip(inputs, logits, strict=True):
            expected = host.logits(features)
            assert signal_to_noise_db(expected, found) > 60
            np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
        np.testing.assert_allclose(counted.inferences, again.inferences, rtol=0.02)
        assert counted.inferences[2] > 1.5 * counted.inferences[1]
        cost[name] = counted.inferences[1]
    if cpu == "cortex-a76":  # dot products
        assert cost["int8"] < cost["fp32"]


@needs_emulator
def test_an_emulated_system_runs_but_is_never_timed(finished_run):
    (path,) = (finished_run / "exports").glob("*.pte")
    system = exported_file(path, runner="arm64:cortex-a53").system
    assert not system.timed
    runner = open_system(system, 1)
    assert "emulated cortex-a53" in runner.description
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
    with pytest.raises(UserError, match=r"emulating ARM64 needs qemu-aarch64; .*make arm64"):
        emulated(("program",), "cortex-a76")


def test_the_emulated_cpuinfo_tells_the_cpus_apart():
    a53, a76 = cpuinfo("cortex-a53", cores=2), cpuinfo("cortex-a76")
    assert a53.count("CPU part\t: 0xd03") == 2 and "asimddp" not in a53
    assert a76.count("CPU part\t: 0xd0b") == 4 and "asimddp" in a76
