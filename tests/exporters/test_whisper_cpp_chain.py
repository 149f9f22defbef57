"""The whole chain to whisper.cpp: recordings of one person in, a file that its runtime reads out."""

import importlib.util
import json

import pytest
from transformers import WhisperForConditionalGeneration

from myqasr.exporters.ggml.container import read_file
from myqasr.personalize.adapted import run_model
from myqasr.personalize.rounding.codes import load_codes
from myqasr.personalize.rounding.reference import build_reference
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.diagnose import doctor
from myqasr.runtime_bench.measure.transcription import model_inputs
from myqasr.runtime_bench.results.quality import signal_to_noise_db
from myqasr.runtime_bench.runners.base import open_system
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.audio import load_audio
from tests.conftest import invoke
from tests.material.model_folders import WHISPER
from tools.random_whisper import save_whisper

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("_pywhispercpp") is None, reason="needs the extra whisper-cpp"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tune_clips):
    """A Whisper that hears four seconds, personalised and exported."""
    root = tmp_path_factory.mktemp("whisper-cpp")
    sizes = {"encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "max_source_positions": 200}
    save_whisper({**WHISPER, **sizes}, root / "model")
    model = WhisperForConditionalGeneration.from_pretrained(root / "model")
    model.model.decoder.layer_norm.weight.data[3] *= 20  # so that its table is evened out elsewhere
    model.save_pretrained(root / "model")
    asked = ("--budget", "0.32x", "--target", "whisper-cpp", "--clips", 2, "--out", root / "alice")
    for command in (
        ("personalize", root / "model", tune_clips, *asked),
        ("export", root / "alice"),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    return root / "alice"


def test_recordings_become_a_file_under_the_budget_with_its_manifest_beside_it(run):
    path = run / "exports" / "ggml-alice.bin"
    manifest = json.loads((run / "exports" / "manifest.json").read_text())
    (artifact,) = manifest["artifacts"]
    assert artifact["file"] == path.name
    assert path.stat().st_size == artifact["size_bytes"] == artifact["predicted_bytes"]
    assert path.stat().st_size <= artifact["budget_bytes"]
    assert manifest["model"].endswith("&table=published")
    types = {tensor.number for tensor in read_file(path).tensors if tensor.number > 1}
    assert len(types) == 1
    shown = invoke("inspect", path)
    assert shown.exit_code == 0 and "whisper-cpp q" in shown.output


def test_the_file_is_benched_in_its_own_process(run, test_clips):
    done = invoke(
        "bench", run, "--data", test_clips, "--limit", 1, "--runs", 1, "--seconds", 0, "--threads", 1,
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    systems = {system["runner"]: system for system in report["systems"]}
    ours = systems["whisper-cpp"]
    assert (
        ours["description"].startswith("whisper.cpp (pywhispercpp ")
        and "torch-reference" in systems
    )
    assert ours["transcripts"][0] and ours["size_bytes"]
    assert ours["startup"]["peak_rss_bytes"] > ours["startup"]["baseline_rss_bytes"] > 0


def test_the_runtime_computes_the_plan_whose_codes_lie_in_the_run(run, test_clips):
    """Without the kernels' rounding of inputs the reference is 39 dB away."""
    folder = RunFolder(run)
    model = run_model(folder)
    codes, _ = load_codes(folder.codes("whisper-cpp"))
    waveform = load_audio(sorted(test_clips.iterdir())[0])
    exported = exported_file(run / "exports" / "ggml-alice.bin")
    runner = open_system(exported.system, 1)
    (features,) = model_inputs(waveform, exported.audio)
    found = runner.logits(features)
    runner.close()
    expected = build_reference(model, codes).logits(waveform)
    # 49 to 55 dB by the plan; later rows follow other tokens, if close.
    assert signal_to_noise_db(expected[0], found[0]) > 46


def test_a_damaged_file_is_refused_by_its_hash(run, tune_clips, tmp_path):
    folder = tmp_path / "exports"
    folder.mkdir()
    for name in ("ggml-alice.bin", "manifest.json"):
        (folder / name).write_bytes((run / "exports" / name).read_bytes())
    path = folder / "ggml-alice.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    done = invoke("transcribe", path, next(tune_clips.iterdir()))
    assert done.exit_code == 2 and "is not the file that was exported" in done.output


def test_the_doctor_tries_it_and_names_the_extra_where_the_wheel_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "TARGETS", {"whisper-cpp": ""})
    found = {each.what: each for each in doctor.examine()}
    target, runner = found["target whisper-cpp"], found["runner whisper-cpp"]
    assert target.works and "q4_0-a8b" in target.detail
    assert runner.works and runner.version

    find_spec = importlib.util.find_spec

    def without_the_wheel(name, *rest):
        return None if name == "_pywhispercpp" else find_spec(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_the_wheel)
    (missing,) = [each for each in doctor.examine() if each.what == "target whisper-cpp"]
    assert not missing.works and missing.optional
    assert missing.mend == "pip install 'myqasr[whisper-cpp]'"


def test_a_recogniser_that_whisper_cpp_does_not_run_is_refused_at_once(
    tiny_model, tune_clips, tmp_path
):
    asked = ("--budget", "0.3x", "--target", "whisper-cpp", "--out", tmp_path / "alice")
    done = invoke("personalize", tiny_model, tune_clips, *asked)
    assert done.exit_code == 2 and "runs Whispers only" in done.output
    assert not (tmp_path / "alice").exists()
