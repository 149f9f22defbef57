"""What is said of a model folder that isn't one, and that nothing else is."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from myqasr.core.errors import ModelError
from myqasr.speech.models import load_model
from tests.speech.test_folders import USUAL, save_ctc


def test_a_path_that_is_near_a_model_is_told_where_it_is(tmp_path: Path) -> None:
    folder = save_ctc(tmp_path / "out" / "checkpoint-500", USUAL)
    for path, said in (
        (folder.parent, "folders in it are: checkpoint-500; pass one of these"),
        (folder / "model.safetensors", f"is one of a model's files; pass its folder, {folder}"),
        (folder / "config.json", f"pass its folder, {folder}"),
    ):
        with pytest.raises(ModelError) as caught:
            load_model(str(path))
        assert said in str(caught.value)


def test_nothing_but_the_one_line_is_printed(tmp_path: Path) -> None:
    save_ctc(tmp_path, USUAL)
    state = load_file(tmp_path / "model.safetensors")
    del state["lm_head.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    command = [sys.executable, "-P", "-m", "myqasr.cli.main", "personalize", tmp_path, tmp_path]
    done = subprocess.run(
        [*map(str, command), "--budget", "0.5x", "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no lm_head.weight (1 weights missing)" in " ".join(done.stderr.split())
    assert "LOAD REPORT" not in done.stderr + done.stdout
