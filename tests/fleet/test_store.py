"""What a store gives back is what was put, byte for byte, or an error that names what is wrong."""

import json
import shutil
from pathlib import Path

import pytest

from myqasr.core.errors import BrokenFileError, UserError
from myqasr.core.storage import load_record, save_record, sha256_of
from myqasr.fleet.care import check_store, collect_garbage, list_people
from myqasr.fleet.objects import Objects, object_path, open_store
from myqasr.fleet.people import find_person, versions
from myqasr.fleet.runs import get_run, put_run
from myqasr.personalize.planning.plan import Plan
from myqasr.personalize.run_folder import RunFolder
from tests.conftest import invoke


@pytest.fixture(scope="module")
def filled(tmp_path_factory, finished_run) -> Path:
    """A store with one person; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("stores") / "people"
    done = invoke("store", "put", finished_run, "--store", folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def store(filled, tmp_path) -> Objects:
    return open_store(shutil.copytree(filled, tmp_path / "store"))


def a_layer(store: Objects) -> tuple[str, Path]:
    """A layer of alice's, and the file that holds it."""
    _, person = find_person(store, "alice")
    name, ref = next(iter(person.layers["xnnpack"].items()))
    return name, Path(store.root) / object_path(ref.sha256)


def test_a_fetched_run_exports_the_very_file(filled, finished_run, tmp_path):
    got = invoke("store", "get", "alice", "--store", filled, "--out", tmp_path / "alice")
    assert got.exit_code == 0, got.output
    for name in ("run.json", "plan.xnnpack.json", "profile.json", "codes.xnnpack.safetensors"):
        assert (tmp_path / "alice" / name).read_bytes() == (finished_run / name).read_bytes()
    done = invoke("export", tmp_path / "alice", "--max-seconds", 6)
    assert done.exit_code == 0, done.output
    again = tmp_path / "alice" / "exports" / "alice.pte"
    assert again.read_bytes() == (finished_run / "exports" / "alice.pte").read_bytes()


def test_get_writes_the_files_for_the_input_that_they_had(filled, finished_run, tmp_path):
    got = invoke(
        "store", "get", "alice", "--store", filled, "--out", tmp_path / "alice", "--export"
    )
    assert got.exit_code == 0, got.output
    again = tmp_path / "alice" / "exports" / "alice.pte"
    assert sha256_of(again) == sha256_of(finished_run / "exports" / "alice.pte")


def test_a_fetched_run_refuses_to_be_measured_in(filled, tiny_model, tune_clips, tmp_path):
    out = tmp_path / "alice"
    get_run(open_store(filled), "alice", out)
    done = invoke("personalize", tiny_model, tune_clips, "--budget", "0.4x", "--out", out)
    assert done.exit_code == 2
    assert "fetched from a store" in done.output


def test_the_same_run_again_adds_nothing_and_another_persons_equal_layers_are_shared(
    store, run_copy
):
    before = {file.path for file in store.files()}
    again = put_run(store, RunFolder(run_copy))
    assert (again.is_new, again.new_objects, again.version.number) == (False, 0, 1)
    assert {file.path for file in store.files()} == before
    plan_path = RunFolder(run_copy).plan("xnnpack")
    plan = load_record(plan_path, Plan)
    changed = next(name for name, spec in plan.layers.items() if spec.label == "int8-a8d")
    wider = {**plan.layers, changed: plan.layers[changed].from_label("fp32")}
    save_record(
        Plan(
            plan.profile_hash, plan.target, plan.method, 10**9, plan.predicted_bytes, 0, 0.0, 0.0, wider
        ),
        plan_path,
    )  # fmt: skip
    bea = put_run(store, RunFolder(run_copy), "bea")
    assert bea.is_new
    assert bea.new_objects == 1  # her plan: all her layers are alice's
    _, alice = find_person(store, "alice")
    _, stored = find_person(store, "bea")
    ours, hers = alice.layers["xnnpack"], stored.layers["xnnpack"]
    assert hers == {name: ref for name, ref in ours.items() if name != changed}
    assert [each.name for each in list_people(store)] == ["alice", "bea"]


def test_a_flipped_bit_is_named_and_nothing_is_written(store, tmp_path):
    name, path = a_layer(store)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        BrokenFileError, match=rf"layer {name} of alice is damaged: object {path.name}"
    ):
        get_run(store, "alice", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (problem,) = check_store(store).problems
    assert path.name in problem
    assert "damaged" in problem
    done = invoke("store", "check", "--store", store.url)
    assert done.exit_code == 2
    assert path.name in done.output


def test_a_missing_object_is_named_and_another_put_mends_it(store, finished_run, tmp_path):
    name, path = a_layer(store)
    path.unlink()
    with pytest.raises(UserError, match=rf"lacks layer {name} of alice"):
        get_run(store, "alice", tmp_path / "out")
    (problem,) = check_store(store).problems
    assert path.name in problem
    assert "is missing" in problem
    assert put_run(store, RunFolder(finished_run)).new_objects == 1
    assert not check_store(store).problems


def test_foreign_files_and_objects_are_named(store, tmp_path):
    (Path(store.root) / "objects" / "notes.txt").write_text("mine")
    assert "objects/notes.txt is foreign" in check_store(store).problems[0]
    layers = find_person(store, "alice")[1].layers["xnnpack"]
    # An object with the right hash that is another layer's: the person's list is what was tampered with.
    first = Path(store.root) / next(versions(store, "alice")).path
    listed = json.loads(first.read_text())
    names = list(layers)
    other = next(n for n in names if layers[n].size_bytes != layers[names[0]].size_bytes)
    stored = listed["layers"]["xnnpack"]
    stored[names[0]] = stored[other]
    first.write_text(json.dumps(listed))
    with pytest.raises(BrokenFileError, match="was changed after it was written"):
        get_run(store, "alice", tmp_path / "out")
    del listed["sha256"]
    save_record(listed, first)  # even if the list's own hash is mended
    with pytest.raises(BrokenFileError, match=rf"layer {names[0]} of alice .* isn't codes"):
        get_run(store, "alice", tmp_path / "out")


def test_a_folder_of_other_things_is_no_store(tmp_path, finished_run):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    done = invoke("store", "put", finished_run, "--store", tmp_path)
    assert done.exit_code == 2
    assert "holds other files" in done.output
    done = invoke("store", "get", "alice", "--store", tmp_path / "gone", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "is no store" in done.output
    assert not (tmp_path / "gone").exists()


def test_who_isnt_there_is_told_who_is(filled, tmp_path):
    done = invoke("store", "get", "bob", "--store", filled, "--out", tmp_path / "bob")
    assert done.exit_code == 2
    assert "nobody called bob; it holds alice" in done.output


def test_garbage_goes_what_is_named_or_young_stays(store):
    garbage, _ = store.put(b"left by a killed put")
    assert collect_garbage(store, None, 24).young == 1
    done = collect_garbage(store, None, 0)
    assert (done.removed, done.removed_bytes) == (1, garbage.size_bytes)
    assert not check_store(store).problems
    assert check_store(store).unused == 0


def test_a_store_may_lie_at_any_url(finished_run, tmp_path):
    url = "memory://people-of-a-test"
    put_run(open_store(url, make=True), RunFolder(finished_run))
    person = get_run(open_store(url), "alice", tmp_path / "alice")
    assert person.files["xnnpack"].sha256 == sha256_of(finished_run / "exports" / "alice.pte")
    assert not check_store(open_store(url)).problems
