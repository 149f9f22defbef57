"""The Python API: few names, loaded late, and errors that a caller can tell apart."""

import subprocess
import sys

import pytest

import myqasr
from myqasr.core import errors


def test_the_interface_is_ten_names_at_most_and_each_is_there():
    assert len(myqasr.__all__) <= 12
    for name in myqasr.__all__:
        assert getattr(myqasr, name).__doc__
        assert name in dir(myqasr)


def test_importing_it_loads_no_torch():
    check = "import sys, myqasr; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        myqasr.quantise  # noqa: B018


def test_what_is_wrong_with_a_request_is_told_apart_by_its_type(tmp_path, tiny_model, tune_clips):
    with pytest.raises(errors.ModelError):
        myqasr.load_model(tmp_path)
    with pytest.raises(errors.AudioError):
        myqasr.personalize_model(tiny_model, tmp_path, budget="1MB", out=tmp_path / "a")
    with pytest.raises(errors.BudgetError):
        myqasr.personalize_model(tiny_model, tune_clips, budget=10, out=tmp_path / "b", clips=1)
    with pytest.raises(myqasr.UserError, match="is not a run"):
        myqasr.export(tmp_path)


def test_a_damaged_file_is_told_from_one_of_another_kind(run_copy):
    (file,) = (run_copy / "exports").glob("*.pte")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(errors.BrokenFileError):
        myqasr.transcribe(file, run_copy)
