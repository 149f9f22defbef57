"""`report.html`: one page that needs nothing else, and its plots as PNG files beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

from myqasr.core.placing import check_place, together, write_bytes
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.page.charts import latency_bars, layer_rows, operation_bars, wer_by_bytes
from myqasr.runtime_bench.page.figures import percent
from myqasr.runtime_bench.page.marks import Chart
from myqasr.runtime_bench.page.render import DARK, LIGHT, png, svg
from myqasr.runtime_bench.page.story import Story, file_points, layer_table, tell
from myqasr.runtime_bench.page.tables import (
    layers_table,
    operations_table,
    speakers_table,
    times_table,
    words_table,
)
from myqasr.runtime_bench.page.words import key_figures, summary
from myqasr.runtime_bench.results.quality import WorstUtterance, worst_utterances
from myqasr.speech.scoring import AlignedWord

NARROW, WIDE = 328.0, 960.0
WORST = 5
OPERATIONS = 15


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart that is drawn for two widths. file: of its PNG."""

    file: str
    draw: Callable[[float], Chart]


def write_page(folder: RunFolder) -> tuple[Path, list[Path]]:
    """Write `report.html` and `plots/*.png` of a run; returns their paths. Raises as `tell`."""
    check_place(folder.page)
    with folder.lock("`myqasr report`", alone=False):
        story = tell(folder)
        figures = _figures(story)
        plots = {folder.plots / figure.file: figure for figure in figures.values()}
        with together():
            for path, figure in plots.items():
                write_bytes(path, png(figure.draw(WIDE)))
            write_bytes(folder.page, page(story, figures).encode())
    return folder.page, list(plots)


def page(story: Story, figures: dict[str, Figure]) -> str:
    """The whole page."""
    title = f"{story.name}: myqasr report"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_style()}</style></head><body>"
        f"<header><h1>{escape(story.name)}</h1>{_heading(story)}</header><main>"
        f"{_validity(story)}{_words(story, figures)}{_times(story, figures)}{_layers(story, figures)}"
        f"{_operations(story, figures)}{_worst(story)}{_provenance(story)}</main></body></html>\n"
    )


def _figures(story: Story) -> dict[str, Figure]:
    """Charts that there are figures for, by the place where they go."""
    found: dict[str, Figure] = {}
    report = story.report
    points = file_points(story)
    words = report.system(report.baseline).words
    if points and report.task == "transcription":
        rate = None if words is None else words.rate
        found["words"] = Figure("wer_bytes.png", partial(wer_by_bytes, points, rate))
    timed = [(each.name, each.latency) for each in report.systems if each.latency is not None]
    if timed:
        found["times"] = Figure("latency.png", partial(latency_bars, timed))
    for target, plan in story.plans.items():
        rows = layer_table(plan, story.profile)
        found[f"layers {target}"] = Figure(f"layers.{target}.png", partial(layer_rows, rows))
    for number, system in enumerate(report.systems):
        if system.operations:
            longest = system.operations[:OPERATIONS]
            found[f"operations {system.name}"] = Figure(
                f"operations.{number}.png",
                partial(operation_bars, longest),
            )
    return found


def _style() -> str:
    """The style sheet with the colours of the charts."""
    sheet = (Path(__file__).parent / "style.css").read_text()
    for place, colors in (("LIGHT_COLOURS", LIGHT), ("DARK_COLOURS", DARK)):
        sheet = sheet.replace(
            place, " ".join(f"--{name}: {value};" for name, value in colors.items())
        )
    return sheet


def _figure(figures: dict[str, Figure], place: str, caption: str) -> str:
    figure = figures.get(place)
    if figure is None:
        return ""
    return (
        f"<figure>{svg(figure.draw(NARROW), 'narrow')}{svg(figure.draw(WIDE), 'wide')}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _heading(story: Story) -> str:
    report = story.report
    facts = (
        f"{report.provenance.created[:10]}, {len(report.utterances)} test clips of "
        f"{report.audio_seconds:.0f} s together, {report.threads_in_words} on {report.device.cpu}"
    )
    parts = [f'<p class="muted">{escape(facts)}</p>']
    for name in story.own:
        tiles = "".join(
            f"<li><strong>{escape(value)}</strong> {escape(what)}</li>"
            for value, what in key_figures(story, name)
        )
        parts.append(f'<ul class="tiles" aria-label="{escape(name)}">{tiles}</ul>')
        parts += [f"<p>{escape(sentence)}</p>" for sentence in summary(story, name)]
    parts += [f"<p>{escape(sentence)}</p>" for sentence in story.adapting]
    if not story.own:
        missing = "This result has no file of the run's present plans; export and bench them."
        parts.append(f"<p>{missing}</p>")
    return "".join(parts)


def _validity(story: Story) -> str:
    """Whether the timings can be believed, before any of them is shown."""
    if story.report.valid:
        return '<div class="notice good"><p>The timings of this run are valid.</p></div>'
    items = "".join(f"<li>{escape(problem)}</li>" for problem in story.report.problems)
    return (
        '<div class="notice"><p><strong>The timings of this run are not valid</strong>; word errors and '
        f"bytes are not affected.</p><ul>{items}</ul></div>"
    )


def _words(story: Story, figures: dict[str, Figure]) -> str:
    caption = "Files of this result; rings are files of earlier results on the same clips."
    return (
        f"<section><h2>Errors and bytes</h2>{_figure(figures, 'words', caption)}"
        f"{words_table(story)}{speakers_table(story)}</section>"
    )


def _times(story: Story, figures: dict[str, Figure]) -> str:
    caption = (
        "Bars: the median run. Ticks: 90 and 99 % of runs. Clips differ in length, so runs do too."
    )
    if "times" not in figures:
        return ""
    return (
        f"<section><h2>Time and memory</h2>{_figure(figures, 'times', caption)}"
        f"{times_table(story)}</section>"
    )


def _layers(story: Story, figures: dict[str, Figure]) -> str:
    parts = []
    for target, plan in story.plans.items():
        rows = layer_table(plan, story.profile)
        caption = (
            "Left: bits a weight, as stored (green 4, blue 8, ochre 16, orange 32). Right, logarithmic: what "
            "the layer's costliest precision would add, measured on this speaker's recordings."
        )
        parts.append(
            f"<section><h2>Bits where they matter: {escape(target)}</h2>"
            f"{_figure(figures, f'layers {target}', caption)}"
            f"<details><summary>All {len(rows)} layers as a table</summary>"
            f"{layers_table(target, rows)}</details></section>"
        )
    return "".join(parts)


def _operations(story: Story, figures: dict[str, Figure]) -> str:
    parts = []
    for number, system in enumerate(story.report.systems):
        if system.operations:
            shown = min(OPERATIONS, len(system.operations))
            caption = (
                f"The {shown} longest of {len(system.operations)} operations of one inference."
            )
            parts.append(
                f"<h3>{escape(system.name)}</h3>{_figure(figures, f'operations {system.name}', caption)}"
                f"<details><summary>All {len(system.operations)} operations as a table</summary>"
                f"{operations_table(number, system.operations)}</details>"
            )
    return f"<section><h2>Time by operation</h2>{''.join(parts)}</section>" if parts else ""


def _worst(story: Story) -> str:
    if story.report.task == "classification":
        return ""
    parts = []
    for name in story.own:
        worst = worst_utterances(story.report, name, WORST)
        if worst:
            parts.append(f"<h3>{escape(name)}</h3>" + "".join(map(_utterance, worst)))
    if not parts:
        return ""
    return (
        '<section><h2>Worst utterances</h2><p class="muted">Struck through: said and not heard. '
        f"Framed: heard and not said.</p>{''.join(parts)}</section>"
    )


def _utterance(worst: WorstUtterance) -> str:
    counts = worst.errors
    facts = f"{worst.clip}: {counts.errors} of {counts.reference_length} words"
    words = " ".join(_word(step) for step in worst.alignment)
    return f'<p class="said">{words}<br><span class="muted">{escape(facts)}</span></p>'


def _word(step: AlignedWord) -> str:
    said = f"<del>{escape(step.reference)}</del>"
    heard = f"<ins>{escape(step.hypothesis)}</ins>"
    if step.edit == "equal":
        return escape(step.reference)
    return {"substitute": f"{said} {heard}", "insert": heard, "delete": said}[step.edit]


def _provenance(story: Story) -> str:
    report = story.report
    facts = {
        "result": f"bench/{story.result_name}",
        "command": report.provenance.command,
        "measured": report.provenance.created,
        "device": f"{report.device.cpu} ({report.device.machine}), {report.device.cores} cores, "
        f"{report.device.memory_bytes / 2**30:.0f} GiB, {report.device.system}",
        "threads": f"{report.threads_in_words}; cores {', '.join(map(str, report.cores)) or 'not pinned'}",
        "other work": f"{report.load.busy_cores:.1f} cores busy before; while timing others took "
        f"{percent(report.load.others_share)} of the cores, the host {percent(report.load.stolen_share)}",
        "protocol": f"{report.timing.warmup} runs to warm up, at least {report.timing.runs} timed runs and "
        f"{report.timing.seconds:g} s of each system, in turns drawn at random",
        "versions": ", ".join(
            f"{name} {each}" for name, each in report.provenance.versions.items()
        ),
        "model": f"{report.provenance.model}, weights {report.provenance.weights_hash}",
        "recordings": report.provenance.audio_hash,
        "texts": report.provenance.text_hash,
        "words": f"counted after the normalizer {report.normalizer}",
    }
    for system in report.systems:
        if system.artifact is not None:
            facts[system.name] = (
                f"{system.artifact.file}, sha256 {system.artifact.sha256}, plan {system.artifact.plan_hash}"
            )
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()
    )
    return f"<section><h2>Where the figures come from</h2><dl>{items}</dl></section>"
