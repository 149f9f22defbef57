"""Tables, folders and vocabularies drawn at random: read as they were written, or refused in one line."""

import csv
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from myqasr.core.errors import ModelError, UserError
from myqasr.speech.datasets import find_clips
from myqasr.speech.decoding import collapse, ids_to_text, single_spaces
from myqasr.speech.manifests import COLUMNS
from myqasr.speech.models.pretrained import ctc_tokens

Window = tuple[float, float] | None
Said = tuple[str, str | None, Window]
"""File name, text, window."""

QUICK = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
ODD = "aé日\"',;| \u2028\u00ad<[nan-é0."
LINES = st.text(ODD, max_size=12)
WINDOWS = st.none() | st.tuples(st.integers(0, 90), st.integers(1, 40)).map(
    lambda tenths: (tenths[0] / 10, tenths[1] / 10)
)
ROWS = st.lists(st.tuples(LINES, WINDOWS), min_size=1, max_size=5)
PATHS = st.sampled_from([name for name in COLUMNS["path"] if name not in ("mp3", "flac")])
TEXTS = st.sampled_from(COLUMNS["text"])


def said(rows: list[tuple[str, Window]]) -> list[Said]:
    """What a table says of as many files as it has rows."""
    return [(f"{n}.wav", text.strip() or None, window) for n, (text, window) in enumerate(rows)]


def heard(source: Path) -> list[Said]:
    return [(clip.path.name, clip.text, clip.window) for clip in find_clips(source)]


def close(found: list[Said], expected: list[Said]) -> bool:
    """The same but for how seconds are rounded."""
    if [row[:2] for row in found] != [row[:2] for row in expected]:
        return False
    pairs = [(one[2], other[2]) for one, other in zip(found, expected, strict=True)]
    return all(
        one == other if one is None or other is None else np.allclose(one, other)
        for one, other in pairs
    )


def delimited(rows: list[Said], delimiter: str, path: str, text: str, places: str) -> str:
    """By Python's own csv module; in tables of tabs quotes mean nothing."""
    out = io.StringIO(newline="")
    plain = delimiter == "\t"
    if plain:
        out.write("\t".join((path, text, *places.split())) + "\n")
        for name, words, window in rows:
            out.write("\t".join((name, words or "", *cells(window, places))) + "\n")
        return out.getvalue()
    table = csv.writer(out, delimiter=delimiter)
    table.writerow((path, text, *places.split()))
    for name, words, window in rows:
        table.writerow((name, words or "", *cells(window, places)))
    return out.getvalue()


def cells(window: Window, places: str) -> list[str]:
    if window is None:
        return [""] * len(places.split())
    start, length = window
    return {
        "start end": [f"{start}", f"{start + length:.6g}"],
        "Offset Duration": [f"{start}", f"{length}"],
        "begin_ms end_ms": [f"{1000 * start:.0f}", f"{1000 * (start + length):.0f}"],
    }[places]


@QUICK
@given(
    ROWS,
    st.sampled_from([",", ";", "\t"]),
    PATHS,
    TEXTS,
    st.sampled_from(["start end", "Offset Duration", "begin_ms end_ms"]),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_drawn_table_is_read_as_it_was_written(
    rows: list[tuple[str, Window]],
    delimiter: str,
    path: str,
    text: str,
    places: str,
    case: Callable[[str], str],
    encoding: str,
) -> None:
    expected = said(rows)
    if delimiter == "\t":  # a cell in quotes as a whole is what they hold
        expected = [(n, None if t is None else t.replace('"', ""), w) for n, t, w in expected]
        expected = [(n, (t or "").strip() or None, w) for n, t, w in expected]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / ("t.tsv" if delimiter == "\t" else "t.csv")
        held = delimited(expected, delimiter, case(path), case(text), places)
        table.write_text(held, encoding=encoding, newline="")
        assert close(heard(table), expected)


@QUICK
@given(ROWS, st.sampled_from(["lines", "array", "metadata"]), PATHS)
def test_drawn_objects_are_read_as_they_were_written(
    rows: list[tuple[str, Window]], kind: str, path: str
) -> None:
    expected = said(rows)
    entries = []
    for name, text, window in expected:
        entry: dict[str, object] = {path: name, "text": text if text is not None else float("nan")}
        if window is not None:
            entry |= {"offset": window[0], "duration": window[1]}
        entries.append(entry)
    lines = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    with tempfile.TemporaryDirectory() as folder:
        name = "metadata.jsonl" if kind == "metadata" else "t.json"
        held = json.dumps(entries) if kind == "array" else lines
        (Path(folder) / name).write_text(held, encoding="utf-8")
        source = Path(folder) if kind == "metadata" else Path(folder) / name
        assert close(heard(source), expected)


@QUICK
@given(ROWS, st.sampled_from(["t.csv", "t.tsv", "t.json", "t.stm"]), st.data())
def test_a_damaged_table_is_read_or_refused_in_one_line_that_names_it(
    rows: list[tuple[str, Window]], name: str, data: st.DataObject
) -> None:
    expected = said(rows)
    held = {
        "t.csv": lambda: delimited(expected, ",", "path", "text", "start end"),
        "t.tsv": lambda: delimited(expected, "\t", "path", "text", "start end"),
        "t.json": lambda: "\n".join(
            json.dumps({"audio_filepath": n, "text": t}) for n, t, _ in expected
        ),
        "t.stm": lambda: "\n".join(f"{n} 1 x 0 1 {t or ''}" for n, t, _ in expected),
    }[name]().encode()
    place = data.draw(st.integers(0, len(held)))
    spoiled = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"\n", b"\0", b"\t"]))
    gone = data.draw(st.integers(0, 3))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / name
        table.write_bytes(held[:place] + spoiled + held[place + gone :])
        try:
            find_clips(table)
        except UserError as error:
            assert str(table) in str(error)
            assert "\n" not in str(error).replace(str(table), "")


NAMES = ["<pad>", "[PAD]", "_", "<blank>", "<ctc>", "<s>", "</s>", "<unk>", "[UNK]", "[noise]"]
LETTERS = [*"abcdefghijé日'.,?!", "tʃ", "##a", "<b>", "aa"]


@QUICK
@given(
    st.lists(st.sampled_from([*NAMES, *LETTERS, "|", " ", "<space>"]), min_size=6, unique=True),
    st.data(),
)
def test_a_drawn_vocabulary_writes_what_its_tokenizer_decodes(
    symbols: list[str], data: st.DataObject
) -> None:
    blank = data.draw(st.sampled_from(symbols))
    named = {
        "tokenizer_class": data.draw(
            st.sampled_from(["Wav2Vec2CTCTokenizer", "Wav2Vec2PhonemeCTCTokenizer"])
        ),
        "pad_token": blank,
        "word_delimiter_token": data.draw(st.sampled_from(["|", " ", "<space>"])),
        "do_lower_case": data.draw(st.booleans()),
        "clean_up_tokenization_spaces": data.draw(st.booleans()),
    }
    padded = data.draw(st.sampled_from([0, 0, 3]))
    config = SimpleNamespace(
        vocab_size=len(symbols) + padded, pad_token_id=data.draw(st.sampled_from([symbols.index(blank), 0]))
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary))
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(named))
        try:
            tokens = ctc_tokens(folder, config, "model")
        except ModelError as error:
            assert "\n" not in str(error)
            return
        tokenizer = getattr(transformers, str(named["tokenizer_class"])).from_pretrained(folder)
    assert tokens.blank == tokenizer.pad_token_id == config.pad_token_id
    draw = np.random.default_rng(len(symbols))
    for length in range(1, 12):
        path = np.repeat(draw.integers(0, len(symbols), length), draw.integers(1, 3, length))
        found = ids_to_text(collapse(path, tokens.blank), tokens)
        assert found == single_spaces(tokenizer.decode(path.tolist()))


def test_a_table_of_a_hundred_thousand_rows_is_read_in_seconds(tmp_path: Path) -> None:
    rows = "".join(f"{n}.wav,text {n}\n" for n in range(100_000))
    (tmp_path / "t.csv").write_text("path,text\n" + rows)
    assert len(find_clips(tmp_path / "t.csv")) == 100_000


def test_a_line_that_is_too_deep_for_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"t\.json is not JSON"):
        find_clips(tmp_path / "t.json")
