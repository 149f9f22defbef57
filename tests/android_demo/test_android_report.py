"""What the phone app writes and reads, seen from Python: results, clips, manifests, zips of recordings."""

import hashlib
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from myqasr.cli.main import app
from myqasr.core.storage import record_hash
from myqasr.exporters.manifest import load_manifest
from myqasr.runtime_bench.results.protocol import summarize
from myqasr.runtime_bench.results.report import TokenFlips, load_report
from myqasr.speech.audio import load_audio
from myqasr.speech.datasets import find_clips, read_clips
from tools.golden.golden_clips import USERS

DEMO = Path(__file__).parents[2] / "android_demo"
RESOURCES = DEMO / "core/src/test/resources"


def test_a_result_of_the_phone_is_a_bench_report() -> None:
    # The JVM's own test compares what it writes with this file to the letter.
    report = load_report(RESOURCES / "report.json")
    first, second = report.systems
    assert first.words is not None and second.words is not None
    assert (first.words.rate, second.words.rate) == (1 / 6, 2 / 6)
    assert (first.agreement, second.agreement, second.not_worse) == (1.0, 2 / 3, 0.5)
    assert first.latency == summarize(report.turns, first.seconds, [1.5, 2.5, 3.5])
    assert second.flips == TokenFlips(4, 9)
    assert not report.valid
    samples = [np.array([0.5, -0.25], "<f4"), np.array([1.0], "<f4")]
    digests = sorted(hashlib.sha256(one.tobytes()).digest() for one in samples)
    assert report.provenance.audio_hash == hashlib.sha256(b"".join(digests)).hexdigest()
    texts = sorted(utterance.text or "" for utterance in report.utterances)
    assert report.provenance.text_hash == record_hash(texts)


def test_results_of_the_phone_are_compared() -> None:
    path = str(RESOURCES / "report.json")
    compared = CliRunner().invoke(app, ["compare", path])
    assert compared.exit_code == 0, compared.output
    assert "ada-1/demo-ada.pte" in compared.output


def test_the_manifest_that_the_app_is_tested_with_is_one_of_this_version() -> None:
    manifest = load_manifest(RESOURCES)
    assert [artifact.target for artifact in manifest.artifacts] == ["xnnpack"]


def test_the_apps_clips_are_the_default_users() -> None:
    folder = DEMO / "app/src/main/assets/clips"
    clips = find_clips(folder)
    heard, _ = read_clips(clips, need_text=True)
    own = {clip.path: clip for clip in find_clips(USERS)}
    for recording in heard:
        known = own[USERS / ("/".join(recording.clip.path.stem.rsplit("-", 2)) + ".ogg")]
        assert recording.clip.text == known.text
        expected = load_audio(known.path)
        assert np.abs(recording.waveform - expected).max() <= 1 / 32768
    assert len(clips) == 8 and sum(clip.path.stat().st_size for clip in clips) < 1_000_000
