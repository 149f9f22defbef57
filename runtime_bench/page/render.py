"""Charts as SVG text that takes its colours from the page, and as PNG files."""

import io
from html import escape

from PIL import Image, ImageDraw, ImageFont, ImageOps

from myqasr.runtime_bench.page.marks import TEXT_SIZE, Chart, Dot, Line, Mark, Rect, Text

LIGHT = {
    "text": "#1d2329",
    "muted": "#5b6670",
    "grid": "#d9dee3",
    "surface": "#ffffff",
    "a": "#0b62a8",
    "b": "#b34700",
    "c": "#1b7a43",
    "d": "#7a3fa0",
    "e": "#8a6100",
}
DARK = {
    "text": "#e7ebef",
    "muted": "#a3adb8",
    "grid": "#39424c",
    "surface": "#14191e",
    "a": "#6bb3f0",
    "b": "#ff9d5c",
    "c": "#63cf90",
    "d": "#c79bea",
    "e": "#e3bb4f",
}
"""Colour by paint. Each stands out at least 4.5 to 1 from the surface (save the grid); a test checks it."""

PNG_SCALE = 2
PNG_MARGIN = 12
_SMOOTHING = 3


def svg(chart: Chart, css_class: str = "") -> str:
    """An `<svg>` element for inline use, as wide as its place allows and no wider than it was drawn."""
    body = "".join(_svg_mark(mark) for mark in chart.marks)
    return (
        f'<svg class="chart {css_class}" role="img" aria-label="{escape(chart.label)}" '
        f'viewBox="0 0 {chart.width:g} {chart.height:g}" width="{chart.width:g}" '
        f'height="{chart.height:g}" xmlns="http://www.w3.org/2000/svg">{body}</svg>'
    )


def png(chart: Chart) -> bytes:
    """A PNG of twice the chart's size and a margin, in the light colours."""
    scale = PNG_SCALE * _SMOOTHING
    size = (round(chart.width * scale), round(chart.height * scale))
    image = Image.new("RGB", size, LIGHT["surface"])
    draw = ImageDraw.Draw(image)
    for mark in chart.marks:
        if not isinstance(mark, Text):
            _draw(draw, mark, scale)
    image = image.resize((size[0] // _SMOOTHING, size[1] // _SMOOTHING), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)  # letters are smooth already, and would blur
    font = ImageFont.load_default(TEXT_SIZE * PNG_SCALE)
    for mark in chart.marks:
        if isinstance(mark, Text):
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
            place = (mark.x * PNG_SCALE, mark.y * PNG_SCALE)
            draw.text(place, mark.text, LIGHT[mark.paint], font, anchor=anchor)
    image = ImageOps.expand(image, PNG_MARGIN * PNG_SCALE, LIGHT["surface"])
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def _svg_mark(mark: Mark) -> str:
    color = f"var(--{mark.paint})"
    if isinstance(mark, Rect):
        return (
            f'<rect x="{mark.x:.1f}" y="{mark.y:.1f}" width="{mark.width:.1f}" height="{mark.height:.1f}" '
            f'fill="{color}">{_hint(mark.hint)}</rect>'
        )
    if isinstance(mark, Line):
        dashes = ' stroke-dasharray="4 4"' if mark.dashed else ""
        return (
            f'<line x1="{mark.x1:.1f}" y1="{mark.y1:.1f}" x2="{mark.x2:.1f}" y2="{mark.y2:.1f}" '
            f'stroke="{color}" stroke-width="{mark.width:g}"{dashes}/>'
        )
    if isinstance(mark, Dot):
        inside = f'fill="var(--surface)" stroke="{color}" stroke-width="2"'
        look = inside if mark.hollow else f'fill="{color}"'
        return (
            f'<circle cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="{mark.radius:g}" {look}>'
            f"{_hint(mark.hint)}</circle>"
        )
    weight = ' font-weight="600"' if mark.bold else ""
    return (
        f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" text-anchor="{mark.anchor}" fill="{color}"{weight}>'
        f"{escape(mark.text)}</text>"
    )


def _hint(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _draw(draw: ImageDraw.ImageDraw, mark: Rect | Line | Dot, scale: float) -> None:
    color = LIGHT[mark.paint]
    if isinstance(mark, Rect):
        corner = ((mark.x + mark.width) * scale, (mark.y + mark.height) * scale)
        draw.rectangle((mark.x * scale, mark.y * scale, *corner), fill=color)
    elif isinstance(mark, Line):
        _draw_line(draw, mark, color, scale)
    else:
        x, y, radius = mark.x * scale, mark.y * scale, mark.radius * scale
        box = (x - radius, y - radius, x + radius, y + radius)
        if mark.hollow:
            draw.ellipse(box, fill=LIGHT["surface"], outline=color, width=round(2 * scale))
        else:
            draw.ellipse(box, fill=color)


def _draw_line(draw: ImageDraw.ImageDraw, mark: Line, color: str, scale: float) -> None:
    """Dashes are four pixels long and as far apart, as in the SVG."""
    length = max(((mark.x2 - mark.x1) ** 2 + (mark.y2 - mark.y1) ** 2) ** 0.5, 1e-9)
    step = 8.0 if mark.dashed else length
    begin = 0.0
    while begin < length:
        end = min(begin + (4.0 if mark.dashed else length), length)
        points = [
            (
                (mark.x1 + (mark.x2 - mark.x1) * part / length) * scale,
                (mark.y1 + (mark.y2 - mark.y1) * part / length) * scale,
            )
            for part in (begin, end)
        ]
        draw.line(points, fill=color, width=max(round(mark.width * scale), 1))
        begin += step
