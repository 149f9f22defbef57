"""What word errors are counted after: names, refusals, and Whisper's own normalisation."""

import sys

import pytest

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.results.quality import errors_of
from myqasr.speech import normalizers
from myqasr.speech.normalizers import normalizer
from myqasr.speech.scoring import normalize_text


def test_an_unknown_normalizer_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="'english'; known: default, whisper-english"):
        BenchOptions(normalizer="english")


def test_without_its_package_the_install_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    normalizers._made.cache_clear()
    with pytest.raises(NotInstalledError) as raised:
        normalizer("whisper-english")
    assert "pip install 'myqasr[whisper-normalizer]'" in str(raised.value)


def test_the_default_is_what_it_was_and_none_changes_spaces_only():
    assert normalizer("default") is normalize_text
    assert normalizer("none")("  A  b,c ") == "A b,c"


def test_spelling_and_numbers_are_no_errors_after_whispers_normalisation():
    pytest.importorskip("whisper_normalizer")
    normalizers._made.cache_clear()
    said = ["MISTER QUILTER'S FAVOURITE COLOUR COST TWENTY FIVE DOLLARS"]
    heard = ["Mr. Quilter's favorite color cost $25."]
    words, _ = errors_of(said, heard, normalizer("whisper-english"))
    assert words is not None
    assert words.errors == 0
    words, _ = errors_of(said, heard)
    assert words is not None
    assert words.errors > 3
    basic, _ = errors_of(said, heard, normalizer("whisper-basic"))
    assert basic is not None
    assert basic.errors > 0
