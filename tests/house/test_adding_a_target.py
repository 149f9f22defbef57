"""A new target is its own module and one line; everything else follows."""

import re
from pathlib import Path

import pytest

from myqasr.exporters import target
from myqasr.exporters.manifest import load_artifact
from tests.conftest import invoke

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "material" / "toy_target.py"


@pytest.fixture
def one_line_more(monkeypatch):
    monkeypatch.setitem(target.TARGETS, "toy", "tests.material.toy_target")


def test_a_target_of_ones_own_plans_exports_and_is_inspected(
    one_line_more, tiny_model, tune_clips, tmp_path
):
    out = tmp_path / "alice"
    asked = ("--budget", "0.4x", "--target", "toy", "--clips", 2, "--out", out)
    for command in (("personalize", tiny_model, tune_clips, *asked), ("export", out)):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    path = out / "exports" / "alice.toy.safetensors"
    _, artifact = load_artifact(path)
    assert path.stat().st_size <= artifact.budget_bytes
    assert artifact.target == "toy" and {spec.bits for spec in artifact.layers.values()} == {8, 32}
    shown = invoke("inspect", path)
    assert shown.exit_code == 0 and "int8" in shown.output


def test_a_file_that_was_changed_afterwards_is_refused_by_reading_it_back(
    one_line_more, tiny_model, tune_clips, tmp_path, monkeypatch
):
    from tests.material import toy_target

    def forgetful(path):
        return toy_target.read(path)[1:]

    import dataclasses

    monkeypatch.setattr(
        toy_target, "TARGET", dataclasses.replace(toy_target.TARGET, read=forgetful)
    )
    out = tmp_path / "alice"
    asked = ("--budget", "0.4x", "--target", "toy", "--clips", 2, "--out", out)
    assert invoke("personalize", tiny_model, tune_clips, *asked).exit_code == 0
    done = invoke("export", out)
    assert done.exit_code == 2 and "does not hold the plan" in done.output


def test_the_guide_shows_the_module_that_is_tested_and_it_is_short():
    shown = re.search(
        r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-target.md").read_text(), re.S
    )
    assert shown is not None and shown[1].strip() == TOY.read_text().strip()
    assert len(TOY.read_text().splitlines()) < 80
