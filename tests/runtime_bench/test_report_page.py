"""The page of a run: its figures are those of the result, it needs nothing else, anybody can read it."""

import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.page.page import WIDE, WORST, write_page
from myqasr.runtime_bench.page.render import PNG_MARGIN
from myqasr.runtime_bench.results.compare import time_ratios
from myqasr.runtime_bench.results.quality import worst_utterances
from myqasr.runtime_bench.results.report import (
    OperationTime,
    add_report,
    latest_reports,
    load_report,
)
from tests.conftest import invoke


class Page(HTMLParser):
    """Tables by id as {row: {column: text}}, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.table = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "table":
            self.table = dict(attrs)["id"] or ""
            self.tables[self.table] = []
        elif tag == "tr":
            self.tables[self.table].append([])
        elif tag in ("td", "th"):
            self.tables[self.table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "rect"):
            assert self.open.pop() == tag
        elif self.open[-1] == tag:
            self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[self.table][-1][-1] += data

    def rows(self, table: str) -> dict[str, list[str]]:
        return {row[0]: row for row in self.tables[table][1:]}

    def column(self, table: str, name: str) -> dict[str, str]:
        place = self.tables[table][0].index(name)
        return {row[0]: row[place] for row in self.tables[table][1:]}


@pytest.fixture(scope="session")
def reported_run(finished_run, test_clips, tmp_path_factory) -> Path:
    """A run that was benched and reported by the commands."""
    run = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("reported") / "alice"))
    done = invoke("bench", run, "--data", test_clips, "--limit", 6, "--runs", 6, "--seconds", 0)
    assert done.exit_code == 0, done.output
    done = invoke("report", run)
    assert done.exit_code == 0, done.output
    return run


@pytest.fixture
def page(reported_run) -> Page:
    return Page((reported_run / "report.html").read_text())


@pytest.fixture
def result(reported_run) -> dict:
    (path,) = (reported_run / "bench").glob("*.json")
    stored: dict = json.loads(path.read_text())
    return stored


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def test_errors_and_bytes_on_the_page_are_those_of_the_result(page, result):
    assert len(result["systems"]) == 4
    wers, kinds = page.column("words", "WER"), page.column("words", "S / I / D")
    sizes, flips = page.column("words", "bytes"), page.column("words", "token flips")
    kept, same = page.column("words", "not worse"), page.column("words", "same text")
    bits = page.column("words", "bits")
    assert list(wers) == [system["name"] for system in result["systems"]]
    for system in result["systems"]:
        name, words = system["name"], system["words"]
        edits = [words[kind] for kind in ("substitutions", "insertions", "deletions")]
        assert wers[name] == share(sum(edits) / words["reference_length"])
        assert kinds[name] == " / ".join(map(str, edits))
        assert same[name] == share(system["agreement"])
        assert kept[name] == share(system["not_worse"])
        assert flips[name] == share(system["flips"]["flipped"] / system["flips"]["tokens"])
        if system["artifact"] is not None:
            assert sizes[name] == f"{system['size_bytes']:,}"
            assert bits[name] == f"{system['artifact']['mean_bits']:.2f}"


def test_times_on_the_page_are_those_of_the_result(page, result, reported_run):
    timed = [system for system in result["systems"] if system["latency"] is not None]
    assert len(timed) == 3
    assert list(page.rows("times")) == [system["name"] for system in timed]
    columns = {
        "RTF": lambda s: f"{s['latency']['rtf']:.4f}",
        "p50": lambda s: f"{s['latency']['median_ms']:.1f}",
        "p90": lambda s: f"{s['latency']['p90_ms']:.1f}",
        "p99": lambda s: f"{s['latency']['p99_ms']:.1f}",
        "trimmed mean": lambda s: f"{s['latency']['trimmed_mean_ms']:.1f}",
        "runs": lambda s: str(s["latency"]["runs"]),
        "file to text": lambda s: f"{s['end_to_end']['median_ms']:.1f}",
        "load": lambda s: f"{s['startup']['load_ms']:.1f}",
        "first run": lambda s: f"{s['startup']['first_inference_ms']:.1f}",
    }
    for column, figure in columns.items():
        found = page.column("times", column)
        assert found == {system["name"]: figure(system) for system in timed}, column
    report = load_report(latest_reports(reported_run / "bench")[0])
    for name, ratio in time_ratios(report, report.baseline).items():
        if name != report.baseline:
            shown = page.column("times", "time / float")[name]
            assert shown == f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def test_layers_on_the_page_are_those_of_the_plan_and_profile(page, reported_run):
    folder = RunFolder(reported_run)
    plan, profile = folder.load_plan("xnnpack"), folder.load_costs()
    assert page.column("layers-xnnpack", "precision") == {
        name: spec.label for name, spec in plan.layers.items()
    }
    shown = page.column("layers-xnnpack", "sensitivity")
    for layer in profile.layers:
        assert shown[layer.shape.name] == f"{max(layer.costs.values()):.2e}"


def test_the_summary_and_the_provenance_name_the_file_and_say_whether_times_are_valid(page, result):
    text = " ".join(page.words)
    file = next(system for system in result["systems"] if system["artifact"] is not None)
    assert f"{file['size_bytes']:,} bytes for xnnpack" in text
    assert file["sha256"] in text
    assert file["artifact"]["plan_hash"] in text
    assert result["provenance"]["audio_hash"] in text
    assert ("are not valid" in text) == bool(result["problems"])
    assert all(problem in text for problem in result["problems"])


def test_worst_utterances_show_what_was_not_heard_and_what_was_heard_instead(reported_run):
    text = (reported_run / "report.html").read_text()
    report = load_report(latest_reports(reported_run / "bench")[0])
    worst = worst_utterances(report, "alice (xnnpack)", WORST)
    assert worst  # random weights: there is always something wrong
    steps = [step for each in worst for step in each.alignment if step.edit != "equal"]
    shown = [html.unescape(word) for word in re.findall("<del>(.*?)</del>", text)]
    assert shown == [step.reference for step in steps if step.reference]
    shown = [html.unescape(word) for word in re.findall("<ins>(.*?)</ins>", text)]
    assert shown == [step.hypothesis for step in steps if step.hypothesis]
    for each in worst:
        assert f"{each.clip}: {each.errors.errors} of {each.errors.reference_length} words" in text


def test_the_page_needs_nothing_from_outside(page, reported_run):
    text = (reported_run / "report.html").read_text()
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b", text)
    assert not re.search(r"url\(|@import", text)
    for _, attributes in page.tags:
        assert not {"src", "href", "srcset", "onclick"} & attributes.keys()
    addresses = set(re.findall(r"https?://[^\"'< ]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert page.open == []


def test_charts_have_labels_and_a_table_and_tables_have_headers(page):
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) == 2 * 3
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert {"words", "times", "layers-xnnpack"} == set(page.tables)
    scopes = [attributes.get("scope") for tag, attributes in page.tags if tag == "th"]
    assert set(scopes) == {"col", "row"}
    assert sum(tag == "caption" for tag, _ in page.tags) == len(page.tables)
    assert ("html", {"lang": "en"}) in page.tags


def test_plots_are_pictures_of_twice_the_charts_size(reported_run):
    plots = {path.name: path for path in (reported_run / "plots").iterdir()}
    assert set(plots) == {"wer_bytes.png", "latency.png", "layers.xnnpack.png"}
    for path in plots.values():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width == 2 * (WIDE + 2 * PNG_MARGIN)
            assert len(image.getcolors(1 << 24) or []) > 3  # something is drawn


def test_a_page_of_an_older_export_is_refused_and_nothing_is_written(run_copy, reported_run):
    shutil.copytree(reported_run / "bench", run_copy / "bench")
    file = run_copy / "exports" / "alice.pte"
    file.write_bytes(file.read_bytes() + b"x")
    done = invoke("report", run_copy)
    assert done.exit_code == 2
    assert len(re.findall(r"[0-9a-f]{64}", done.stderr.replace("\n", ""))) == 2
    assert not (run_copy / "report.html").exists()


def test_a_run_without_results_says_how_to_make_one(run_copy):
    done = invoke("report", run_copy)
    assert done.exit_code == 2
    assert "myqasr bench" in done.stderr


def test_operations_and_earlier_files_appear_when_there_are_any(run_copy, reported_run):
    report = load_report(latest_reports(reported_run / "bench")[0])
    file = next(system for system in report.systems if system.artifact is not None)
    assert file.artifact is not None
    older = replace(file.artifact, sha256="0" * 64, file="older.pte", plan_hash="other")
    before = replace(file, name="older", artifact=older, sha256="0" * 64, size_bytes=123_456)
    rest = tuple(system for system in report.systems if system is not file)
    earlier = replace(report, systems=(*rest, before))
    profiled = replace(file, operations=(OperationTime("<lm_head>", "QC8W GEMM", 2, 1.25),))
    later = replace(report.provenance, created="2099-01-01T00:00:00+00:00")
    add_report(earlier, run_copy / "bench")
    add_report(replace(report, provenance=later, systems=(*rest, profiled)), run_copy / "bench")
    path, plots = write_page(RunFolder(run_copy))
    page = Page(path.read_text())
    assert "operations.3.png" in {plot.name for plot in plots}
    (table,) = [name for name in page.tables if name.startswith("operations")]
    assert page.rows(table) == {"<lm_head>": ["<lm_head>", "QC8W GEMM", "2", "1.250"]}
    hints = [word for word in page.words if word.startswith("older: 123,456 bytes")]
    assert len(hints) == 2  # in either width
