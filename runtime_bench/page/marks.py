"""What charts are made of: rectangles, lines, dots and texts, in pixels from the upper left corner.

A chart is drawn once and written twice: as SVG whose colours are the page's, and as PNG. `paint` is the
name of a colour of the style sheet: text, muted, grid, surface, or one of the series a to e.
"""

from dataclasses import dataclass
from typing import Literal

Anchor = Literal["start", "middle", "end"]
TEXT_SIZE = 12.0
_ADVANCE = 0.56
"""Width of an average letter over the size of the text: an estimate, for leaving room."""


@dataclass(frozen=True, slots=True)
class Rect:
    """A filled rectangle; `hint` is shown when pointed at."""

    x: float
    y: float
    width: float
    height: float
    paint: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line, dashed or not."""

    x1: float
    y1: float
    x2: float
    y2: float
    paint: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc, or a ring if `hollow`."""

    x: float
    y: float
    radius: float
    paint: str
    hollow: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; y is its baseline."""

    x: float
    y: float
    text: str
    paint: str = "text"
    anchor: Anchor = "start"
    bold: bool = False


Mark = Rect | Line | Dot | Text


@dataclass(frozen=True, slots=True)
class Chart:
    """Marks on an area. label: what the chart says, for those who can't see it."""

    width: float
    height: float
    label: str
    marks: tuple[Mark, ...]


def text_width(text: str) -> float:
    """About how many pixels a text takes."""
    return _ADVANCE * TEXT_SIZE * len(text)


def fitted(text: str, width: float) -> str:
    """The beginning of a text that fits so many pixels."""
    most = max(int(width / (_ADVANCE * TEXT_SIZE)), 3)
    return text if len(text) <= most else text[: most - 2] + ".."
