"""State of a run is what was written, of this run, or refused in one line that names it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from myqasr import api
from myqasr.core.errors import MOST_CHARACTERS, BrokenFileError, UserError
from myqasr.core.storage import load_record, save_record
from myqasr.core.tensors import load_tensors, save_tensors
from myqasr.exporters.target import load_target
from myqasr.personalize.planning.plan import Plan
from myqasr.personalize.profiling import known_overhead
from myqasr.personalize.rounding.codes import load_codes
from myqasr.personalize.run_folder import KeptPrior, MeasuredOverhead, RunFolder
from tests.cli.test_bad_input import fails
from tests.conftest import invoke

NAMES = ("run.json", "profile.json", "plan.xnnpack.json", "rounding.safetensors")


def flip(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))


def read_as_export_does(run: Path) -> None:
    folder = RunFolder(run)
    folder.load_plan("xnnpack", folder.load_measurement().profile)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.1, 0.45, 0.8])
def test_a_flipped_bit_never_goes_into_a_file(run_copy, name, share):
    read_as_export_does(run_copy)
    path = run_copy / name
    flip(path, int(share * path.stat().st_size), 2)
    with pytest.raises(BrokenFileError, match=name.replace(".", r"\.")):
        read_as_export_does(run_copy)


def test_export_refuses_codes_with_a_flipped_bit_before_it_writes(run_copy):
    before = (run_copy / "exports" / "alice.pte").read_bytes()
    flip(
        run_copy / "rounding.safetensors",
        (run_copy / "rounding.safetensors").stat().st_size - 99,
        2,
    )
    assert "rounding.safetensors was changed" in fails("export", run_copy)
    assert (run_copy / "exports" / "alice.pte").read_bytes() == before


def test_another_runs_plan_codes_profile_and_prior_are_refused(run_copy):
    folder = RunFolder(run_copy)
    plan = folder.load_plan("xnnpack")
    with pytest.raises(BrokenFileError, match="of plan"):
        load_codes(folder.codes("xnnpack"), "0" * 64)
    save_record(replace(plan, profile_hash="0" * 64), folder.plan("xnnpack"))
    with pytest.raises(BrokenFileError, match="was made for xnnpack from profile 000"):
        read_as_export_does(run_copy)
    save_record(replace(plan, target="litert"), folder.plan("xnnpack"))
    with pytest.raises(BrokenFileError, match="was made for litert"):
        read_as_export_does(run_copy)
    save_record(plan, folder.plan("xnnpack"))
    profile = folder.load_profile()
    save_record(KeptPrior("0" * 64, profile), folder.prior)
    with pytest.raises(BrokenFileError, match=r"prior\.json belongs to another run"):
        read_as_export_does(run_copy)
    folder.prior.unlink()
    save_record(replace(profile, audio_hash="0" * 64), folder.profile)
    with pytest.raises(BrokenFileError, match="other recordings"):
        read_as_export_does(run_copy)


def test_bench_refuses_codes_of_another_plan_as_its_reference(run_copy, test_clips):
    from myqasr.personalize.rounding.codes import save_codes

    codes, _ = load_codes(RunFolder(run_copy).codes("xnnpack"))
    save_codes(codes, "0" * 64, RunFolder(run_copy).codes("xnnpack"))
    arguments = ("--data", test_clips, "--limit", 1, "--runs", 1, "--seconds", 0)
    assert "holds the codes of plan 000" in fails("bench", run_copy, *arguments)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"5",
        b"[]",
        b"null",
        b'{"clips": [5]}',
        b"\xff",
        b"[" * 100_000,
        b"9" * 5_000,
        b'{"a": NaN}',
    ],
)
@pytest.mark.parametrize("name", ["run.json", "profile.json", "plan.xnnpack.json"])
def test_whatever_a_record_holds_is_one_short_line_that_names_it(run_copy, name, content):
    (run_copy / name).write_bytes(content)
    with pytest.raises(BrokenFileError, match=name.replace(".", r"\.")) as caught:
        read_as_export_does(run_copy)
    assert len(str(caught.value)) <= MOST_CHARACTERS
    assert "\n" not in str(caught.value)


def test_a_damaged_result_is_named(run_copy):
    from myqasr.runtime_bench.results.report import load_report

    for content in (
        b"5",
        b'{"schema_version": 3}',
        b'{"schema_version": 3, "load": 0.5}',
        b"[" * 9_999,
    ):
        (run_copy / "x.json").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.json"):
            load_report(run_copy / "x.json")


def test_personalize_measures_again_what_it_cannot_trust(run_copy, tiny_model, tune_clips):
    before = {name: (run_copy / name).read_bytes() for name in NAMES}
    key = RunFolder(run_copy).load_costs().key
    flip(run_copy / "profile.json", 900, 1)
    flip(run_copy / "rounding.safetensors", 9_000, 1)
    (run_copy / "profile.partial.json").write_text('{"clips": {"0": 5}}')
    api.personalize_model(str(tiny_model), str(tune_clips), budget="0.5x", out=run_copy)
    for name in ("run.json", "rounding.safetensors"):
        assert (run_copy / name).read_bytes() == before[name], name
    assert RunFolder(run_copy).load_costs().key == key
    assert not (run_copy / "profile.partial.json").exists()


def test_a_damaged_overhead_is_estimated_again_and_said(run_copy):
    folder, target = RunFolder(run_copy), load_target("xnnpack")
    profile = folder.load_costs()
    assert known_overhead(folder, profile, target) is not None
    path = folder.overhead("xnnpack")
    whole = load_record(path, MeasuredOverhead)
    path.write_text(path.read_text().replace(str(whole.overhead_bytes), "1"))
    told: list[str] = []
    assert known_overhead(folder, profile, target, told.append) is None
    assert "overhead.xnnpack.json was changed" in told[0]
    save_record(replace(whole, target="litert"), path)
    assert known_overhead(folder, profile, target) is None


def test_a_manifest_with_a_layer_less_is_refused_and_not_counted_on(run_copy):
    path = run_copy / "exports" / "manifest.json"
    held = json.loads(path.read_text())
    held.pop("sha256")
    held["artifacts"][0]["layers"].popitem()
    save_record(held, path)
    assert "layers" in fails("inspect", run_copy / "exports" / "alice.pte")


def test_inspect_says_what_a_runtime_needs_for_the_file(run_copy):
    done = invoke("inspect", run_copy / "exports" / "alice.pte")
    assert done.exit_code == 0
    assert "The runtime needs: XnnpackBackend, aten::" in done.stderr


def test_the_same_tensors_give_the_same_bytes_and_every_bit_of_them_counts(tmp_path):
    arrays = {"b": np.arange(6, dtype=np.int8).reshape(2, 3), "a": np.ones((2, 1), np.float32)}
    path = tmp_path / "a.safetensors"
    save_tensors(arrays, {"y": "1", "x": "é"}, path)
    whole = path.read_bytes()
    save_tensors(dict(reversed(arrays.items())), {"x": "é", "y": "1"}, path)
    assert path.read_bytes() == whole
    from safetensors.numpy import load_file

    for name, array in load_file(path).items():
        assert np.array_equal(array, arrays[name])
    back, metadata = load_tensors(path, "")
    assert metadata == {"y": "1", "x": "é"}
    assert all(np.array_equal(back[name], array) for name, array in arrays.items())
    for at in range(len(whole)):
        path.write_bytes(whole)
        flip(path, at, at % 8)
        with pytest.raises(BrokenFileError):
            load_tensors(path, "")
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(BrokenFileError):
            load_tensors(path, "")


def test_a_report_says_nothing_with_a_plan_of_another_run(run_copy):
    shutil.copy(run_copy / "plan.xnnpack.json", run_copy / "plan.litert.json")
    with pytest.raises(BrokenFileError, match="was made for xnnpack"):
        RunFolder(run_copy).load_plan("litert")


def test_a_plan_and_its_record_are_the_same(run_copy):
    path = run_copy / "plan.xnnpack.json"
    plan = load_record(path, Plan)
    whole = path.read_bytes()
    save_record(plan, path)
    assert path.read_bytes() == whole
