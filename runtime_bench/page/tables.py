"""The page's tables: the same figures as the charts, and those that have none."""

from collections.abc import Sequence
from html import escape

from myqasr.personalize.planning.budget import format_bytes
from myqasr.runtime_bench.page.charts import LayerRow
from myqasr.runtime_bench.page.figures import edits, error_rate, interval, percent, points, speed
from myqasr.runtime_bench.page.story import Story
from myqasr.runtime_bench.results.protocol import Latency
from myqasr.runtime_bench.results.quality import speaker_errors
from myqasr.runtime_bench.results.report import OperationTime, SystemResult


def table(
    identifier: str,
    caption: str,
    note: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    own: Sequence[str] = (),
) -> str:
    """An HTML table that scrolls by itself; the first cell of a row is its header. `own` rows stand out."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr{" class=own" if row[0] in own else ""}><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table id="{identifier}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        + (f'<p class="muted">{escape(note)}</p>' if note else "")
    )


def words_table(story: Story) -> str:
    """What every system wrote: errors by kind, against the references and against the float model."""
    if story.report.task == "classification":
        rows = [
            [
                system.name,
                *_size(system),
                percent(story.report.accuracy(system.name)),
                percent(system.agreement),
                percent(system.flips.share),
            ]
            for system in story.report.systems
        ]
        header = ["system", "bytes", "bits", "accuracy", "same label", "flips"]
        return table("words", "Labels of every system", "", header, rows, story.own)
    rows = []
    for system in story.report.systems:
        difference = story.differences.get(system.name)
        wer = None if difference is None else difference.wer
        rows.append(
            [
                system.name,
                *_size(system),
                error_rate(system.words),
                edits(system.words),
                "" if wer is None else points(wer),
                error_rate(system.characters),
                edits(system.characters),
                percent(system.not_worse),
                percent(system.agreement),
                percent(system.flips.share),
            ]
        )
    header = [
        "system", "bytes", "bits", "WER", "S / I / D", "points against float", "CER", "S / I / D",
        "not worse", "same text", "token flips",
    ]  # fmt: skip
    note = (
        "S / I / D: words, then characters, substituted, inserted, deleted. Points against float: "
        "difference in WER, paired bootstrap, 95 %. Not worse: clips with no more word errors than the "
        "float model. Same text, token flips: against what the float model wrote."
    )
    return table("words", "Word and character errors", note, header, rows, story.own)


def speakers_table(story: Story) -> str:
    """Word errors by speaker; nothing when there is only one or no text."""
    found = {
        system.name: speaker_errors(story.report, system.name) for system in story.report.systems
    }
    speakers = sorted({speaker for errors in found.values() for speaker in errors})
    if len(speakers) < 2:
        return ""
    rows = [
        [name, *(percent(errors[speaker].rate) for speaker in speakers)]
        for name, errors in found.items()
    ]
    return "<h3>By speaker</h3>" + table(
        "speakers", "WER of every speaker", "", ["system", *speakers], rows, story.own
    )


def times_table(story: Story) -> str:
    """Latency of the model alone, from file to text, and starting."""
    rows = []
    for system in story.report.systems:
        if system.latency is None:
            continue
        difference = story.differences.get(system.name)
        ratio = None if difference is None else difference.time
        startup = system.startup
        rows.append(
            [
                system.name,
                *_latency(system.latency),
                "" if ratio is None else interval(ratio),
                "" if system.end_to_end is None else f"{system.end_to_end.median_ms:.1f}",
                *(
                    ["", "", ""]
                    if startup is None
                    else [
                        f"{startup.load_ms:.1f}",
                        f"{startup.first_inference_ms:.1f}",
                        format_bytes(startup.model_rss_bytes),
                    ]
                ),
            ]
        )
    header = [
        "system", "RTF", "x real time", "p50", "p90", "p99", "trimmed mean", "runs",
        "time / float", "file to text", "load", "first run", "memory",
    ]  # fmt: skip
    note = (
        "Milliseconds, of the model alone except file to text: decode, resample, model, decode tokens. "
        "RTF: seconds a second of audio. Trimmed mean: a fifth of the runs dropped at either end. "
        "Time / float: of one run, relative, 95 %. Load, first run, memory: each in a process of its own."
    )
    return table("times", "Latency and memory", note, header, rows, story.own)


def layers_table(target: str, rows: Sequence[LayerRow]) -> str:
    """Every layer's precision and what its cheapest one would cost."""
    return table(
        f"layers-{target}",
        "Precision and sensitivity of every layer",
        "Sensitivity: nats a frame that the layer's costliest precision would add, measured on this speaker.",
        ["layer", "precision", "bits", "weights", "sensitivity", "at"],
        [
            [
                row.name,
                row.precision,
                str(row.bits),
                f"{row.weights:,}",
                f"{row.sensitivity:.2e}",
                row.at,
            ]
            for row in rows
        ],
    )


def operations_table(number: int, operations: Sequence[OperationTime]) -> str:
    """Every operation with the kernel that the runtime says it ran."""
    return table(
        f"operations-{number}",
        "Time of one inference",
        "As the runtime's own profile has it.",
        ["operation", "kernel", "calls", "ms"],
        [[each.name, each.kernel, str(each.calls), f"{each.ms:.3f}"] for each in operations],
    )


def _size(system: SystemResult) -> list[str]:
    return [
        "" if system.size_bytes is None else f"{system.size_bytes:,}",
        "" if system.artifact is None else f"{system.artifact.mean_bits:.2f}",
    ]


def _latency(latency: Latency) -> list[str]:
    return [
        f"{latency.rtf:.4f}",
        speed(latency.speed),
        f"{latency.median_ms:.1f}",
        f"{latency.p90_ms:.1f}",
        f"{latency.p99_ms:.1f}",
        f"{latency.trimmed_mean_ms:.1f}",
        str(latency.runs),
    ]
