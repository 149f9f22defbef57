"""Charts: all that is drawn stays inside, bars are as long as their figures, colours stand out."""

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from myqasr.runtime_bench.page.charts import (
    FilePoint,
    LayerRow,
    latency_bars,
    layer_rows,
    nice_ceiling,
    operation_bars,
    size_ticks,
    wer_by_bytes,
)
from myqasr.runtime_bench.page.marks import Chart, Dot, Rect, Text, text_width
from myqasr.runtime_bench.page.page import NARROW, WIDE
from myqasr.runtime_bench.page.render import DARK, LIGHT, PNG_MARGIN, png, svg
from myqasr.runtime_bench.results.protocol import summarize
from myqasr.runtime_bench.results.report import OperationTime


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_from_the_page(colors):
    """WCAG 2.2, contrast of text: 4.5 to 1."""
    ground = luminance(colors["surface"])
    for name in colors.keys() - {"surface", "grid"}:
        one, other = sorted((luminance(colors[name]), ground))
        assert (other + 0.05) / (one + 0.05) >= 4.5, name


sizes = st.integers(10_000, 10**9)
files = st.lists(
    st.builds(
        FilePoint, st.text(max_size=20), sizes, st.floats(0, 2), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=8,
)
widths = st.sampled_from([NARROW, WIDE])
few = settings(max_examples=30, deadline=None)


def assert_within(chart: Chart) -> None:
    for mark in chart.marks:
        if isinstance(mark, Rect):
            assert mark.x >= 0
            assert mark.width > 0
            assert mark.x + mark.width <= chart.width + 1e-6
            assert mark.y + mark.height <= chart.height
        if isinstance(mark, Dot):
            assert 0 <= mark.x <= chart.width
            assert 0 <= mark.y <= chart.height
    assert svg(chart).count("<") > len(chart.marks)


@few
@given(files, st.none() | st.floats(0, 1), widths)
def test_every_file_has_its_dot_inside_the_chart_and_labels_cover_nothing(points, wer, width):
    chart = wer_by_bytes(points, wer, width)
    assert_within(chart)
    dots = [mark for mark in chart.marks if isinstance(mark, Dot)]
    assert len(dots) == len(points)
    names = {point.name for point in points}
    labels = [
        mark
        for mark in chart.marks
        if isinstance(mark, Text) and mark.text in names and mark.paint in ("a", "b")
    ]
    for label in labels:
        for dot in dots:
            covered = label.x < dot.x < label.x + text_width(label.text)
            assert not (covered and label.y - 10 < dot.y < label.y)


@few
@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=30), widths)
def test_latency_bars_stay_inside_and_are_as_long_as_their_medians(seconds, width):
    latency = summarize([0] * len(seconds), seconds, [1.0])
    chart = latency_bars(
        [("one", latency), ("a name that is much too long for it" * 3, latency)], width
    )
    assert_within(chart)
    bars = [mark for mark in chart.marks if isinstance(mark, Rect)]
    assert len(bars) == 2
    assert bars[0].width == bars[1].width


@few
@given(
    st.lists(
        st.builds(
            LayerRow,
            st.text(min_size=1, max_size=60),
            st.just("int4"),
            st.sampled_from([4, 8, 16, 32]),
            sizes,
            st.just(0.0) | st.floats(1e-12, 1e6),
            st.just("int4"),
        ),
        min_size=1,
        max_size=40,
    ),
    widths,
)
def test_more_bits_and_more_sensitivity_are_longer_bars(layers, width):
    chart = layer_rows(layers, width)
    assert_within(chart)
    bars = [mark for mark in chart.marks if isinstance(mark, Rect)]
    by_bits = dict(
        zip(
            (layer.bits for layer in layers),
            (b.width for b in bars if b.paint != "d"),
            strict=False,
        )
    )
    assert [by_bits[bits] for bits in sorted(by_bits)] == sorted(by_bits.values())
    assert sum(bar.paint == "d" for bar in bars) == sum(layer.sensitivity > 0 for layer in layers)


@few
@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=15), widths)
def test_operation_bars_stay_inside(times, width):
    operations = [OperationTime(f"op{i}", "kernel", 1 + i % 3, ms) for i, ms in enumerate(times)]
    assert_within(operation_bars(operations, width))


@few
@given(st.floats(1e-9, 1e9))
def test_axes_end_at_a_round_number_not_far_above(value):
    assert value <= nice_ceiling(value) <= 2.5 * value


@few
@given(sizes, st.floats(1.05, 1e4), st.integers(2, 6))
def test_ticks_lie_on_the_axis_and_are_not_too_many(low, factor, most):
    ticks = size_ticks(low, low * factor, most)
    assert len(ticks) <= most
    assert all(low <= tick <= low * factor for tick in ticks)


def test_layers_are_told_apart_where_their_names_do_not_fit():
    long = "wav2vec2.encoder.layers.7.feed_forward.output_dense"
    layer = LayerRow(long, "int4", 4, 100, 1.0, "int4")
    texts = [
        {mark.text for mark in layer_rows([layer], width).marks if isinstance(mark, Text)}
        for width in (WIDE, NARROW)
    ]
    assert long in texts[0]
    assert "7.output_dense" in texts[1]


def test_names_and_texts_from_outside_are_escaped():
    chart = wer_by_bytes([FilePoint("<b>&", 1_000, 0.1, True)], 0.1, NARROW)
    text = svg(chart)
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text
    with Image.open(BytesIO(png(chart))) as image:
        assert image.size == tuple(2 * round(side + 2 * PNG_MARGIN) for side in (328, 280))
