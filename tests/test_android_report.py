"""What the phone app writes and reads, seen from Python: results, clips, manifests, zips of recordings."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from exporters.manifest import load_manifest
from runtime_bench.report import load_report
from tools.golden_clips import USERS

DEMO = Path(__file__).parent.parent / "android_demo"
RESOURCES = DEMO / "core/src/test/resources"


def test_a_result_of_the_phone_is_a_bench_report() -> None:
    # The JVM's own test compares what it writes with this file to the letter.
    report = load_report(RESOURCES / "report.json")
    first, second = report.systems
    assert first.words is not None and second.words is not None
    assert (first.words.rate, second.words.rate) == (1 / 6, 2 / 6)
    assert (first.agreement, second.agreement) == (1.0, 2 / 3)
    assert first.latency is not None
    assert first.latency.rtf == pytest.approx(3 * 0.021 / 7.5)
    assert not report.valid
    samples = [np.array([0.5, -0.25], "<f4"), np.array([1.0], "<f4")]
    digests = sorted(hashlib.sha256(one.tobytes()).digest() for one in samples)
    assert report.audio_hash == hashlib.sha256(b"".join(digests)).hexdigest()


def test_the_manifest_that_the_app_is_tested_with_is_one_of_this_version() -> None:
    manifest = load_manifest(RESOURCES)
    assert [artifact.target for artifact in manifest.artifacts] == ["xnnpack"]


def test_the_apps_clips_are_the_default_users() -> None:
    folder = DEMO / "app/src/main/assets/clips"
    listed = [line.split("\t") for line in (folder / "texts.tsv").read_text().splitlines() if line]
    known = (USERS / "manifest.csv").read_text()
    for name, text in listed:
        path = "/".join(name.rsplit("-", 2))
        assert (folder / name).read_bytes() == (USERS / path).read_bytes()
        assert text in known
    assert {name for name, _ in listed} == {file.name for file in folder.glob("*.ogg")}
