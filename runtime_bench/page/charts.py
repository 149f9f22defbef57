"""The page's charts: WER against bytes, latency, bits beside sensitivity, time by operation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from myqasr.personalize.planning.budget import format_bytes
from myqasr.runtime_bench.page.marks import Chart, Dot, Line, Mark, Rect, Text, fitted, text_width
from myqasr.runtime_bench.results.protocol import Latency
from myqasr.runtime_bench.results.report import OperationTime

SERIES = ("a", "b", "c", "d", "e")
ROW = 18.0
_GAP = 8.0


@dataclass(frozen=True, slots=True)
class FilePoint:
    """A file in the chart of WER against bytes. earlier: of an earlier result of the run."""

    name: str
    size_bytes: int
    wer: float
    own: bool
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer of the plan: its stored bits and what its lowest precision would cost, in nats a frame."""

    name: str
    precision: str
    bits: int
    weights: int
    sensitivity: float
    at: str


def wer_by_bytes(points: Sequence[FilePoint], float_wer: float | None, width: float) -> Chart:
    """Word error rate against file bytes (logarithmic); the float model as a dashed line."""
    height, left, right, top, bottom = 280.0, 46.0, 14.0, 24.0, 44.0
    sizes = [point.size_bytes for point in points]
    rates = [point.wer for point in points] + ([float_wer] if float_wer is not None else [])
    low, high = math.log(min(sizes) / 1.15), math.log(max(sizes) * 1.15)
    highest = nice_ceiling(max(*rates, 0.001) * 1.1)

    def place(size: float, rate: float) -> tuple[float, float]:
        x = left + (math.log(size) - low) / (high - low) * (width - left - right)
        return x, height - bottom - rate / highest * (height - top - bottom)

    marks: list[Mark] = [Text(2, 14, "WER", "muted")]
    for step in range(5):
        rate = highest * step / 4
        _, y = place(sizes[0], rate)
        marks.append(Line(left, y, width - right, y, "grid"))
        marks.append(Text(left - 6, y + 4, f"{100 * rate:.3g} %", "muted", "end"))
    for size in size_ticks(math.exp(low), math.exp(high), 5 if width > 500 else 3) or sizes[:1]:
        x, y = place(size, 0)
        marks.append(Line(x, y, x, y + 4, "muted"))
        marks.append(Text(x, y + 17, format_bytes(round(size)), "muted", "middle"))
    marks.append(Text((left + width) / 2, height - 8, "file size", "muted", "middle"))
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in (place(p.size_bytes, p.wer) for p in points)]
    if float_wer is not None:
        _, y = place(sizes[0], float_wer)
        marks.append(Line(left, y, width - right, y, "muted", 1.5, dashed=True))
        taken.append((left, y - 2, width - right, y + 2))
        text = "float model in torch"
        spot = _label_spot(
            width - right, y, text_width(text), (left, width), top, height - bottom, taken
        )
        if spot is not None:
            taken.append(spot)
            marks.append(Text(spot[0], spot[3] - 3, text, "muted"))
    for point in sorted(points, key=lambda each: (not each.own, each.earlier)):
        x, y = place(point.size_bytes, point.wer)
        hint = f"{point.name}: {point.size_bytes:,} bytes, WER {100 * point.wer:.1f} %"
        paint = "b" if point.own else "a"
        marks.append(Dot(x, y, 4 if point.earlier else 5.5, paint, point.earlier, hint))
        spot = _label_spot(
            x, y, text_width(point.name), (left, width - 2), top, height - bottom, taken
        )
        if spot is not None and not point.earlier:
            taken.append(spot)
            marks.append(Text(spot[0], spot[3] - 3, point.name, paint, bold=point.own))
    label = (
        f"Word error rate against file size of {len(points)} files; the figures are in the table"
    )
    return Chart(width, height, label, tuple(marks))


def latency_bars(systems: Sequence[tuple[str, Latency]], width: float) -> Chart:
    """A bar to the median, a line from there to the 99th percentile, a tick at the 90th."""
    longest = nice_ceiling(max(latency.p99_ms for _, latency in systems))
    left, right = 2.0, 12.0
    scale = (width - left - right) / longest
    marks: list[Mark] = []
    y = 0.0
    for name, latency in systems:
        marks.append(Text(left, y + 14, fitted(name, width * 0.62)))
        marks.append(
            Text(width - right, y + 14, f"{latency.median_ms:.1f} ms", "text", "end", bold=True)
        )
        middle = y + 27
        ends = [left + scale * each for each in (latency.median_ms, latency.p90_ms, latency.p99_ms)]
        hint = (
            f"{name}: half of the runs within {latency.median_ms:.1f} ms, 90 % within "
            f"{latency.p90_ms:.1f} ms, 99 % within {latency.p99_ms:.1f} ms"
        )
        marks.append(Line(ends[0], middle, ends[2], middle, "muted", 1.5))
        marks.append(Line(ends[1], middle - 5, ends[1], middle + 5, "muted", 2))
        marks.append(Line(ends[2], middle - 3, ends[2], middle + 3, "muted", 1.5))
        marks.append(Rect(left, middle - 6, max(ends[0] - left, 1), 12, "a", hint))
        y += 42
    marks += _scale_line(left, width - right, y, f"{longest:g} ms")
    label = f"Latency of {len(systems)} systems: medians, 90th and 99th percentiles; see the table"
    return Chart(width, y + 24, label, tuple(marks))


def layer_rows(layers: Sequence[LayerRow], width: float) -> Chart:
    """One row a layer, in the model's order: bits as one bar, sensitivity (logarithmic) as another."""
    name_width = width * (0.4 if width > 500 else 0.36)
    half = (width - name_width - 2 * _GAP) / 2
    bits_left, cost_left = name_width + _GAP, name_width + half + 2 * _GAP
    room = half - 26  # for the figure after the bar
    costs = [layer.sensitivity for layer in layers if layer.sensitivity > 0]
    low = math.log(min(costs, default=1e-6) / 3)
    high = math.log(max(costs, default=1e-6))
    marks: list[Mark] = [
        Text(0, 13, "layer", "muted"),
        Text(bits_left, 13, "bits", "muted"),
        Text(cost_left, 13, "sensitivity" if width > 500 else "cost", "muted"),
    ]
    y = ROW + 4
    for layer in layers:
        marks.append(Text(0, y + 12, _layer_name(layer.name, name_width)))
        paint = {4: "c", 8: "a", 16: "e"}.get(layer.bits, "b")
        bar = room * math.log2(layer.bits) / 5  # 32 bits is all of it
        hint = f"{layer.name}: {layer.precision}, {layer.weights:,} weights"
        marks.append(Rect(bits_left, y + 2, bar, ROW - 5, paint, hint))
        marks.append(Text(bits_left + bar + 4, y + 12, str(layer.bits), "muted"))
        if layer.sensitivity > 0:
            share = (math.log(layer.sensitivity) - low) / max(high - low, 1e-9)
            cost = f"{layer.name}: {layer.sensitivity:.2e} nats a frame at {layer.at}"
            marks.append(Rect(cost_left, y + 2, max(half * share, 1), ROW - 5, "d", cost))
        y += ROW
    label = f"Bits and sensitivity of {len(layers)} layers; the figures are in the table below"
    return Chart(width, y + 4, label, tuple(marks))


def operation_bars(operations: Sequence[OperationTime], width: float) -> Chart:
    """Time of one inference by operation, longest first."""
    longest = nice_ceiling(max(operation.ms for operation in operations))
    left, right = 2.0, 12.0
    marks: list[Mark] = []
    y = 0.0
    for operation in operations:
        share = (width - left - right) * operation.ms / longest
        times = f"{operation.calls}x" if operation.calls > 1 else ""
        name = _layer_name(operation.name, width * 0.72 - text_width(times))
        marks.append(Text(left, y + 13, f"{name} {times}".strip()))
        marks.append(
            Text(width - right, y + 13, f"{operation.ms:.2f} ms", "text", "end", bold=True)
        )
        hint = (
            f"{operation.name}: {operation.kernel}, {operation.calls} calls, {operation.ms:.3f} ms"
        )
        marks.append(Rect(left, y + 18, max(share, 1), 8, "a", hint))
        y += 32
    marks += _scale_line(left, width - right, y, f"{longest:g} ms")
    label = f"Time of the {len(operations)} longest operations; see the table"
    return Chart(width, y + 24, label, tuple(marks))


def nice_ceiling(value: float) -> float:
    """The next 1, 2, 4, 5 or 8 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10, 20) if step * power >= value)


def size_ticks(low: float, high: float, most: int) -> list[float]:
    """Round sizes between two: 1, 2, 5 times powers of ten, thinned out evenly."""
    ticks = [
        step * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for step in (1, 2, 3, 5, 7)
        if low <= step * 10.0**power <= high
    ]
    return ticks[:: -(-len(ticks) // most)] if ticks else []


def _scale_line(left: float, right: float, y: float, end: str) -> list[Mark]:
    """A line from 0 to the longest value."""
    return [
        Line(left, y + 4, right, y + 4, "muted"),
        Text(left, y + 19, "0", "muted"),
        Text(right, y + 19, end, "muted", "end"),
    ]


def _label_spot(
    x: float,
    y: float,
    width: float,
    sides: tuple[float, float],
    top: float,
    bottom: float,
    taken: list[tuple[float, float, float, float]],
) -> tuple[float, float, float, float] | None:
    """Box (left, upper, right, lower) between `sides`, beside a dot, that covers nothing; None if there is
    none."""
    above, below = -26, 10
    places = (
        *((10, -8), (-10 - width, -8), (-width / 2, above), (-width / 2, below)),
        *((6, above), (-6 - width, above), (6, below), (-6 - width, below)),
    )
    for dx, dy in places:
        box = (x + dx, y + dy, x + dx + width, y + dy + 16)
        inside = (
            sides[0] <= box[0] and box[2] <= sides[1] and box[1] >= top - 20 and box[3] <= bottom
        )
        apart = all(
            box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
            for other in taken
        )
        if inside and apart:
            return box
    return None


def _layer_name(name: str, width: float) -> str:
    """As much of a dotted name as fits: its end, or its numbers and last part, which tell layers apart."""
    if text_width(name) <= width:
        return name
    *path, last = name.split(".")
    short = ".".join([*(part for part in path if part.isdigit()), last])
    return short if text_width(short) <= width else fitted(short, width)
