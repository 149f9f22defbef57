"""The commands a user types, on a tiny model, through the real runtime."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import myqasr.runtime_bench.diagnose.doctor
from myqasr.core.errors import UserError
from myqasr.core.storage import record_hash
from myqasr.exporters.manifest import load_artifact, load_manifest
from myqasr.exporters.target import TARGETS
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import load_codes
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.diagnose.doctor import Finding
from myqasr.runtime_bench.diagnose.probe import run_probe, write_probe
from tests.conftest import USERS, invoke

ROOT = Path(__file__).parents[2]
QUICK = ("--runs", 5, "--seconds", 0)


def test_personalize_says_in_words_what_it_found(tiny_model, tune_clips, tmp_path):
    out = tmp_path / "alice"
    done = invoke("personalize", tiny_model, tune_clips, "--budget", "0.5x", "--out", out)
    assert done.exit_code == 0, done.output
    assert re.search(r"Listened to \d+ s of speech in 6 clips; no transcript", done.stdout)
    assert done.stdout.count("nats per frame at") == 3
    assert f"myqasr export {out}" in done.stdout.replace("\n", "")


def test_in_a_pipe_progress_is_a_line_now_and_then_and_threads_are_as_asked(
    tiny_model, tune_clips, tmp_path
):
    import torch

    threads = torch.get_num_threads()
    try:
        done = invoke(
            "personalize", tiny_model, tune_clips, "--budget", "0.5x", "--out", tmp_path / "alice",
            "--threads", 1, "--json",
        )  # fmt: skip
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)  # nothing of it among the answer
    lines = done.stderr.splitlines()
    assert "listening 1/6" in lines and "listening 6/6" in lines and "measuring 6/6" in lines
    rounding = [line for line in lines if line.startswith("rounding ")]
    assert 5 < len(rounding) <= 11


def test_exported_file_is_within_its_budget_and_names_its_plan(finished_run):
    run = RunFolder(finished_run)
    _, artifact = load_artifact(finished_run / "exports" / "alice.pte")
    plan = run.load_plan("xnnpack")
    assert artifact.size_bytes <= artifact.budget_bytes == plan.budget_bytes
    assert artifact.size_bytes == plan.predicted_bytes
    assert artifact.plan_hash == record_hash(plan)
    assert artifact.layers == {name: plan.layers[name] for name in artifact.layers}
    assert set(artifact.layers) == set(plan.layers)
    codes, plan_hash = load_codes(run.codes("xnnpack"))
    assert plan_hash == artifact.plan_hash
    assert {name: layer.spec for name, layer in codes.items()} == plan.layers


def test_no_drafts_are_left_beside_the_exported_file(finished_run):
    names = sorted(path.name for path in (finished_run / "exports").iterdir())
    assert names == ["alice.pte", "manifest.json"]


def test_inspect_lists_what_the_file_holds(finished_run):
    done = invoke("inspect", finished_run / "exports" / "alice.pte", "--json")
    assert done.exit_code == 0, done.output
    rows = {row["layer"]: row["precision"] for row in json.loads(done.stdout)}
    plan = RunFolder(finished_run).load_plan("xnnpack")
    assert rows == {name: spec.label for name, spec in plan.layers.items()}


def test_inspect_reads_a_bare_file_without_its_manifest(run_copy):
    (run_copy / "exports" / "manifest.json").unlink()
    done = invoke("inspect", run_copy / "exports" / "alice.pte", "--json")
    assert done.exit_code == 0, done.output
    plan = RunFolder(run_copy).load_plan("xnnpack")
    found = sorted(row["precision"] for row in json.loads(done.stdout))
    assert found == sorted(spec.label for spec in plan.layers.values())


def test_transcribe_reads_audio_with_the_exported_file(finished_run, test_clips):
    done = invoke(
        "transcribe", finished_run / "exports" / "alice.pte", test_clips / "000.ogg", "--json"
    )
    assert done.exit_code == 0, done.output
    (transcript,) = json.loads(done.stdout)
    assert transcript["file"].endswith("000.ogg")
    assert isinstance(transcript["text"], str)


def test_bench_holds_the_file_against_its_reference_and_the_float_model(run_copy, test_clips):
    done = invoke("bench", run_copy, "--data", test_clips, "--limit", 5, *QUICK, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    systems = {system["name"]: system for system in report["systems"]}
    file = systems["alice (xnnpack)"]
    reference = systems["its reference (torch, xnnpack)"]
    assert file["transcripts"] == reference["transcripts"]
    assert file["latency"]["median_ms"] > 0
    assert file["startup"]["load_ms"] > 0
    assert systems["float (torch)"]["words"]["reference_length"] > 0
    assert file["artifact"]["plan_hash"] == record_hash(RunFolder(run_copy).load_plan("xnnpack"))
    assert file["end_to_end"]["median_ms"] > 0
    assert len(file["seconds"]) == len(report["turns"]) >= 5
    assert len(list((run_copy / "bench").glob("*.json"))) == 1


def test_bench_counts_words_after_the_normalizer_that_was_asked_for(run_copy, test_clips):
    bench = ("bench", run_copy, "--data", test_clips, "--limit", 1, *QUICK)
    done = invoke(*bench, "--normalizer", "english")
    assert done.exit_code == 2
    assert "whisper-english" in done.stderr
    done = invoke(*bench, "--normalizer", "none", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["normalizer"] == "none"
    said = report["utterances"][0]["text"]
    words = report["systems"][0]["words"]
    assert words["reference_length"] == len(said.split())


def test_bench_leaves_out_the_clips_the_run_was_fitted_on(run_copy, tune_clips, test_clips):
    done = invoke("bench", run_copy, "--data", tune_clips.parent, "--json")
    assert done.exit_code == 2
    done = invoke("bench", run_copy, "--data", USERS / "synth-ada" / "tune", *QUICK, "--json")
    assert done.exit_code == 0, done.output
    all_clips = len(list((USERS / "synth-ada" / "tune").iterdir()))
    assert len(json.loads(done.stdout)["utterances"]) == all_clips - 6
    assert "left out 6 clips" in done.stderr


def test_second_personalize_takes_the_profile_it_already_has(run_copy, tiny_model, tune_clips):
    before = (run_copy / "profile.json").stat().st_mtime_ns
    done = invoke("personalize", tiny_model, tune_clips, "--budget", "0.7x", "--out", run_copy)
    assert done.exit_code == 0, done.output
    assert (run_copy / "profile.json").stat().st_mtime_ns == before
    assert (
        RunFolder(run_copy).load_plan("xnnpack").budget_bytes
        > load_manifest(run_copy / "exports").artifacts[0].budget_bytes
    )


def test_precisions_that_were_ruled_out_are_not_in_the_plan_nor_in_the_file(
    run_copy, tiny_model, tune_clips
):
    done = invoke(
        "personalize", tiny_model, tune_clips, "--budget", "0.6x", "--out", run_copy,
        "--precisions", "int4-a8d, int8-a8d",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    allowed = {"int4-a8d", "int8-a8d", "fp32"}
    planned = RunFolder(run_copy).load_plan("xnnpack").layers.values()
    assert {spec.label for spec in planned} <= allowed
    done = invoke("export", run_copy, "--max-seconds", 6, "--json")
    assert done.exit_code == 0, done.output
    (artifact,) = json.loads(done.stdout)
    assert set(artifact["layers"].values()) <= allowed


def test_layers_that_must_keep_their_bits_do_so_in_the_plan_and_in_the_file(
    run_copy, tiny_model, tune_clips
):
    rules = ("--keep", "lm_head=16", "--keep", "*.layers.0.attention.*=8")
    done = invoke(
        "personalize", tiny_model, tune_clips, "--budget", "0.5x", "--out", run_copy, *rules
    )
    assert done.exit_code == 0, done.output
    done = invoke("export", run_copy, "--max-seconds", 6, "--json")
    assert done.exit_code == 0, done.output
    (artifact,) = json.loads(done.stdout)
    stored = {name: QuantSpec.from_label(label) for name, label in artifact["layers"].items()}
    kept = [spec.bits for name, spec in stored.items() if ".layers.0.attention." in name]
    assert stored["lm_head"].bits >= 16
    assert len(kept) == 4
    assert min(kept) >= 8
    assert min(spec.bits for spec in stored.values()) == 4


def test_the_curve_says_what_the_plan_for_each_budget_would_be(run_copy):
    done = invoke("curve", run_copy, "--steps", 5, "--json")
    assert done.exit_code == 0, done.output
    points = json.loads(done.stdout)
    assert len(points) == 5
    costs = [point["expected_cost"] for point in points]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == 0
    assert all(point["predicted_bytes"] <= point["budget_bytes"] for point in points)
    plan = RunFolder(run_copy).load_plan("xnnpack")
    done = invoke("curve", run_copy, "--budgets", f"{plan.budget_bytes},0.9x", "--json")
    assert json.loads(done.stdout)[0]["expected_cost"] == pytest.approx(plan.expected_cost)
    assert "expected divergence" in invoke("curve", run_copy).stdout


def test_partitions_by_speaker_keep_tune_and_test_clips_apart(tiny_model, tmp_path, run_copy):
    arguments = ("--speakers", "synth-bea", "--gender", "F")
    done = invoke(
        "personalize", tiny_model, USERS, *arguments, "--clips", 3, "--budget", "0.7x",
        "--out", tmp_path / "bea",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    tuned = [Path(clip.path) for clip in RunFolder(tmp_path / "bea").load_settings().clips]
    assert len(tuned) == 3
    assert all("synth-bea" in path.parts for path in tuned)
    done = invoke("bench", run_copy, "--data", USERS, "--speakers", "synth-zoe")
    assert done.exit_code == 2
    assert "synth-ada" in done.stderr


def test_portable_target_runs_without_a_delegate(run_copy, tiny_model, tune_clips, test_clips):
    done = invoke(
        "personalize", tiny_model, tune_clips, "--budget", "0.6x", "--out", run_copy,
        "--target", "executorch",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    done = invoke("export", run_copy, "--target", "executorch", "--max-seconds", 6, "--json")
    assert done.exit_code == 0, done.output
    (artifact,) = json.loads(done.stdout)
    assert artifact["size_bytes"] <= artifact["budget_bytes"]
    done = invoke(
        "bench", run_copy, "--data", test_clips, "--limit", 3, "--target", "executorch", *QUICK,
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    systems = {system["name"]: system for system in json.loads(done.stdout)["systems"]}
    expected = systems["its reference (torch, executorch)"]["transcripts"]
    assert systems["alice (executorch)"]["transcripts"] == expected
    # The file of the other target is still listed.
    assert {a.target for a in load_manifest(run_copy / "exports").artifacts} == {
        "xnnpack",
        "executorch",
    }


def test_doctor_tries_every_target_and_runner_for_real_or_says_what_mends_it():
    done = invoke("doctor", "--json")
    assert done.exit_code == 0, done.output
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    for name in ("target xnnpack", "target executorch", "runner executorch-cpp", "runner litert"):
        assert found[name]["works"], found[name]
        assert "dB of the reference" in found[name]["detail"]
    files = ("executorch", "executorch-cpp", "litert", "tflite-runtime", "coreml", "arm64")
    for name in ("torch", *files, "adb"):
        finding = found[f"runner {name}"]
        assert finding["works"] or (finding["optional"] and finding["mend"]), finding
        assert not finding["works"] or finding["version"], finding


def test_doctor_says_how_to_mend_what_is_missing(monkeypatch, tmp_path):
    for name in ("MYQASR_ENVIRONMENTS", "MYQASR_CACHE", "PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    mends = {
        "tflite-runtime": "myqasr doctor --install tflite-runtime",
        "executorch-cpp": "apt-get install g++",
        "arm64": "make arm64",
        "adb": "apt-get install adb",
    }
    few = {name: TARGETS[name] for name in ("xnnpack", "tflite-runtime")}  # others take their time
    monkeypatch.setattr(myqasr.runtime_bench.diagnose.doctor, "TARGETS", few)
    done = invoke("doctor")
    assert done.exit_code == 0, done.output
    for name, mend in mends.items():
        assert re.search(rf"absent  runner {name}: .+\n +{re.escape(mend)}", done.output), name


def test_doctor_fails_when_something_that_is_installed_does_not_work(monkeypatch, tmp_path):
    probe = write_probe("litert", tmp_path)
    wrong = replace(probe, expected=probe.expected[::-1])
    with pytest.raises(UserError, match="litert on litert computes something else than the plan"):
        run_probe(wrong, "litert")
    finding = Finding("runner litert", False, "computes something else", "pip install myqasr")
    monkeypatch.setattr(myqasr.runtime_bench.diagnose.doctor, "examine", lambda: [finding])
    done = invoke("doctor")
    assert done.exit_code == 1
    assert "fails  runner litert: computes something else\n       pip install myqasr" in done.output


@pytest.mark.parametrize("command", ["personalize", "export", "bench", "inspect", "transcribe"])
def test_the_console_script_explains_itself(command):
    script = Path(sys.executable).parent / "myqasr"
    done = subprocess.run(
        [script, command, "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0
    assert command in done.stdout
