"""Bad input: one line that names the file or value and the way out, exit code 2, nothing lost."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file, save_file

from myqasr.core.storage import save_record
from myqasr.personalize.run_folder import RunFolder
from tests.conftest import invoke

ROOT = Path(__file__).parents[2]


def fails(*arguments: object) -> str:
    """The one line on standard error of a command that must fail with exit code 2."""
    done = invoke(*arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def personalize_arguments(model, audio, out, budget="0.5x"):
    return ("personalize", model, audio, "--budget", budget, "--out", out)


def test_folder_without_audio(tiny_model, tmp_path):
    (tmp_path / "empty").mkdir()
    message = fails(*personalize_arguments(tiny_model, tmp_path / "empty", tmp_path / "out"))
    assert str(tmp_path / "empty") in message
    assert "looked for" in message
    assert not (tmp_path / "out").exists()


def test_audio_that_does_not_exist(tiny_model, tmp_path):
    message = fails(*personalize_arguments(tiny_model, tmp_path / "nowhere", tmp_path / "out"))
    assert "nowhere does not exist" in message


@pytest.mark.parametrize(("name", "value"), [("silent", 0.0), ("NaN", np.nan)])
def test_only_unusable_audio(name, value, tiny_model, tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    soundfile.write(audio / "bad.wav", np.full(32_000, value, np.float32), 16_000, "FLOAT")
    message = fails(*personalize_arguments(tiny_model, audio, tmp_path / "out"))
    assert "bad.wav" in message
    assert name in message


def test_corrupt_file_among_good_ones_is_skipped_and_named(tiny_model, tune_clips, tmp_path):
    audio = Path(shutil.copytree(tune_clips, tmp_path / "audio"))
    (audio / "broken.wav").write_bytes(b"RIFF....WAVEnothing")
    done = invoke(*personalize_arguments(tiny_model, audio, tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "broken.wav" in done.stderr
    assert json.loads((tmp_path / "out" / "profile.json").read_text())["clips"] == 6


def test_folder_that_is_not_a_model(tune_clips, tmp_path):
    message = fails(*personalize_arguments(tune_clips, tune_clips, tmp_path / "out"))
    assert "not a model" in message
    assert "config.json" in message


def test_model_class_that_is_not_supported(tiny_model, tune_clips, tmp_path):
    model = Path(shutil.copytree(tiny_model, tmp_path / "bert"))
    (model / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    message = fails(*personalize_arguments(model, tune_clips, tmp_path / "out"))
    assert "BertModel" in message
    assert "Wav2Vec2ForCTC" in message


def test_weights_with_nan_name_the_weight(tiny_model, tune_clips, tmp_path):
    model = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"][3, 5] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    message = fails(*personalize_arguments(model, tune_clips, tmp_path / "out"))
    assert "lm_head.weight" in message
    assert "NaN" in message


def test_weights_that_are_not_in_the_file_are_not_made_up(tiny_model, tune_clips, tmp_path):
    model = Path(shutil.copytree(tiny_model, tmp_path / "headless"))
    weights = load_file(model / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    message = fails(*personalize_arguments(model, tune_clips, tmp_path / "out"))
    assert "has no lm_head.weight" in message


def test_budget_below_the_smallest_plan_names_both_numbers(run_copy, tiny_model, tune_clips):
    message = fails(*personalize_arguments(tiny_model, tune_clips, run_copy, "50KB"))
    assert "smallest plan for xnnpack is" in message
    assert "budget is 50,000" in message


def test_budget_above_the_float_size_names_both_numbers(run_copy, tiny_model, tune_clips):
    message = fails(*personalize_arguments(tiny_model, tune_clips, run_copy, "2GB"))
    assert "float32 is" in message
    assert "budget is 2,000,000,000" in message


def test_unreadable_budget_and_unknown_target(run_copy, tiny_model, tune_clips):
    assert "4MB" in fails(*personalize_arguments(tiny_model, tune_clips, run_copy, "lots"))
    message = fails(*personalize_arguments(tiny_model, tune_clips, run_copy), "--target", "toaster")
    assert "toaster" in message
    assert "xnnpack" in message


def test_precision_that_the_target_does_not_run_names_those_it_does(
    run_copy, tiny_model, tune_clips
):
    message = fails(
        *personalize_arguments(tiny_model, tune_clips, run_copy), "--precisions", "int4-a8d,int3"
    )
    assert "'int3'" in message
    assert "int8-a8s" in message


def test_a_rule_for_layers_that_do_not_exist_is_refused_instead_of_doing_nothing(
    run_copy, tiny_model, tune_clips
):
    arguments = personalize_arguments(tiny_model, tune_clips, run_copy)
    message = fails(*arguments, "--keep", "head=8")
    assert "'head'" in message
    assert "lm_head" in message
    assert "PATTERN=BITS" in fails(*arguments, "--keep", "lm_head:8")
    assert "PATTERN=BITS" in fails(*arguments, "--keep", "lm_head=9")
    assert "stores no layer of this model at 6 bits; it has 4, 8, 16, 32" in " ".join(
        fails(*arguments, "--keep", "lm_head=6").split()
    )


def test_a_curve_of_a_run_that_was_never_measured_says_what_to_run_first(tmp_path):
    assert "personalize" in fails("curve", tmp_path)


def test_cuda_where_there_is_none(tiny_model, tune_clips, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    arguments = personalize_arguments(tiny_model, tune_clips, tmp_path / "out")
    assert "--device cpu" in fails(*arguments, "--device", "cuda")


def test_folder_that_is_no_run(tmp_path):
    assert "myqasr personalize" in fails("export", tmp_path)
    assert "myqasr personalize" in fails("bench", tmp_path, "--data", tmp_path)


def test_model_that_changed_after_measuring_is_not_exported(run_copy, tiny_model, tmp_path):
    model = Path(shutil.copytree(tiny_model, tmp_path / "changed"))
    weights = load_file(model / "model.safetensors")
    weights["lm_head.bias"] += 1
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    settings = RunFolder(run_copy).load_settings()
    save_record(replace(settings, model=str(model)), run_copy / "run.json")
    message = fails("export", run_copy)
    assert settings.weights_hash in message


@pytest.mark.parametrize("command", ["bench", "inspect", "transcribe"])
def test_file_that_is_not_the_exported_one_names_both_hashes(command, run_copy, test_clips):
    file = run_copy / "exports" / "alice.pte"
    recorded = json.loads((run_copy / "exports" / "manifest.json").read_text())
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    arguments = {
        "bench": ("bench", run_copy, "--data", test_clips),
        "inspect": ("inspect", file),
        "transcribe": ("transcribe", file, test_clips),
    }[command]
    message = fails(*arguments)
    assert recorded["artifacts"][0]["sha256"] in message
    assert "the file has" in message


def start_export(run: Path, file_blocks: str = "unlimited") -> subprocess.Popen[str]:
    """`myqasr export` in a process of its own; file_blocks: largest file it may write, in 512 bytes."""
    command = [sys.executable, "-m", "myqasr.cli.main", "export", str(run), "--max-seconds", "6"]
    return subprocess.Popen(
        ["sh", "-c", f'ulimit -f {file_blocks} && exec "$@"', "sh", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_disk_that_fills_up_in_mid_export_leaves_the_previous_file(run_copy):
    before = (run_copy / "exports" / "alice.pte").read_bytes()
    process = start_export(run_copy, file_blocks="80")
    _, error = process.communicate(timeout=300)
    assert process.returncode == 2, error
    assert "can't write" in error
    assert "Traceback" not in error
    assert (run_copy / "exports" / "alice.pte").read_bytes() == before
    assert not list((run_copy / "exports").glob("*.part"))


def test_killed_export_leaves_nothing_half_written_and_the_next_one_succeeds(run_copy):
    exports = run_copy / "exports"
    shutil.rmtree(exports)
    process = start_export(run_copy)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if exports.is_dir() and any(exports.iterdir()):
            break  # it is writing now
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = [path.name for path in exports.iterdir()] if exports.is_dir() else []
    assert "manifest.json" not in left
    done = invoke("export", run_copy, "--max-seconds", 6)
    assert done.exit_code == 0, done.output
    done = invoke("inspect", exports / "alice.pte", "--json")
    assert done.exit_code == 0, done.output


def test_killed_measuring_goes_on_with_the_clips_it_had(tiny_model, tune_clips, tmp_path):
    from myqasr.core import storage
    from myqasr.exporters.target import measured_together
    from myqasr.personalize import profiling
    from myqasr.personalize.measuring.sensitivity import ProfileOptions
    from myqasr.personalize.run_folder import RunFolder
    from myqasr.speech.datasets import choose_clips, find_clips
    from myqasr.speech.models import load_model

    class KilledError(Exception):
        pass

    recordings, _ = choose_clips(find_clips(tune_clips), 6)
    run = RunFolder(tmp_path / "bob")

    def kill_at_the_fourth_clip(stage: str, done: int, total: int) -> None:
        if stage == "measuring" and done == 4:
            raise KilledError

    options = ProfileOptions(label_draws=6)
    model = load_model(str(tiny_model))
    storage.MOST_OF_THE_TIME = 1e9
    try:
        with pytest.raises(KilledError):
            profiling.profile_speaker(
                run, model, "m", recordings, measured_together(), options, kill_at_the_fourth_clip
            )
    finally:
        storage.MOST_OF_THE_TIME = 0.05
    assert not run.profile.exists()
    partial = json.loads(run.partial_profile.read_text())
    assert len(partial["clips"]) == 4
    resumed = profiling.profile_speaker(run, model, "m", recordings, measured_together(), options)
    fresh = profiling.profile_speaker(
        RunFolder(tmp_path / "carol"),
        model,
        "m",
        recordings,
        measured_together(),
        options,
    )
    for one, other in zip(resumed.profile.layers, fresh.profile.layers, strict=True):
        assert one.costs == pytest.approx(other.costs, rel=1e-3)
    assert not run.partial_profile.exists()
