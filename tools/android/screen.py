"""Android layouts as HTML: the few views and attributes that the phone app uses."""

import html
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tools.android.lint import ANDROID

TOOLS = "{http://schemas.android.com/tools}"
SURE, UNSURE = 0.9, 0.6  # as in Show.java
CHART_LINES = (4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Resources:
    """Values of the app's resources, by name. font: the user's font size."""

    folder: Path
    font: float
    strings: dict[str, str]
    colors: dict[str, str]
    dimens: dict[str, str]
    arrays: dict[str, list[str]]
    styles: dict[str, dict[str, str]]

    @classmethod
    def load(cls, folder: Path, night: bool, font: float) -> "Resources":
        """Resources of a `res` folder, by day or night."""
        found = cls(folder, font, {}, {}, {}, {}, {})
        parents: dict[str, str] = {}
        for place in ("values", "values-night") if night else ("values",):
            for file in sorted((folder / place).glob("*.xml")):
                for element in ElementTree.parse(file).getroot():
                    name, text = element.get("name", ""), (element.text or "").strip()
                    if element.tag == "style":
                        parents[name] = element.get("parent", "")
                        items = {item.get("name", ""): item.text or "" for item in element}
                        found.styles[name] = {**found.styles.get(parents[name], {}), **items}
                    elif element.tag == "string-array":
                        found.arrays[name] = [item.text or "" for item in element]
                    else:
                        kinds = {
                            "string": found.strings,
                            "color": found.colors,
                            "dimen": found.dimens,
                        }
                        kinds[element.tag][name] = text.replace("\\'", "'")
        for name, parent in parents.items():  # children may be read before their parents
            found.styles[name] = {**found.styles.get(parent, {}), **found.styles[name]}
        return found

    def string(self, name: str, *values: Any) -> str:
        """A string with its places filled in."""
        form = re.sub(r"%(\d)\$(\.\d+f|[sd])", r"{\1:\2}", self.strings[name])
        form = form.replace(":s}", "}").replace(":d}", "}").replace("%%", "%")
        return form.format("", *values)

    def value(self, text: str) -> str:
        """What a reference stands for, sizes as CSS."""
        kind, _, name = text.removeprefix("@").partition("/")
        if text.startswith("@"):
            text = {"string": self.strings, "color": self.colors, "dimen": self.dimens}[kind][name]
        match = re.fullmatch(r"([\d.]+)(dp|sp)", text)
        if match:
            return f"{float(match[1]) * (self.font if match[2] == 'sp' else 1):g}px"
        return text


def body(resources: Resources, layout: str, filled: dict[str, str]) -> str:
    """HTML of a layout. filled: contents by view id; other views show their own text."""
    root = ElementTree.parse(resources.folder / "layout" / f"{layout}.xml").getroot()
    return _view(root, resources, filled, "column")


def confident_words(words: list[tuple[str, float]], resources: Resources) -> str:
    """Words as Show.java writes them: with their per cent, unsure ones coloured and underlined."""
    parts = []
    for word, confidence in words:
        written = html.escape(word)
        if confidence < SURE:
            color = resources.colors["unsure" if confidence < UNSURE else "half_sure"]
            written = f"<u style='color:{color}'>{written}</u>"
        grey = resources.colors["text_secondary"]
        figure = (
            f"<span style='color:{grey};font-size:60%'>&nbsp;{100 * confidence:.0f}&nbsp;%</span>"
        )
        parts.append(written + figure)
    return " ".join(parts)


def chart(bits: list[int], resources: Resources) -> str:
    """The bars of LayerChart.java as SVG."""
    width, height, left = 294.0, 120.0, 24.0
    small = float(resources.value("@dimen/text_small").removesuffix("px"))
    scale, bottom = height - small, height - small / 2
    parts = []
    for line in CHART_LINES:
        y = bottom - _level(line) * scale
        parts.append(
            f"<line x1={left} x2={width} y1={y:.1f} y2={y:.1f} stroke='{resources.colors['line']}'/>"
            f"<text x=0 y={y + small / 3:.1f} font-size={small} fill='{resources.colors['text_secondary']}'>"
            f"{line}</text>"
        )
    step = (width - left) / len(bits)
    for place, value in enumerate(bits):
        high = _level(value) * scale
        parts.append(
            f"<rect x={left + (place + 0.1) * step:.1f} y={bottom - high:.1f} width={0.8 * step:.1f} "
            f"height={high:.1f} fill='{resources.colors['accent']}'/>"
        )
    return f"<svg width=100% viewBox='0 0 {width} {height}'>{''.join(parts)}</svg>"


def _level(bits: int) -> float:
    return math.log(1 + bits) / math.log(33)


def _view(
    element: ElementTree.Element, resources: Resources, filled: dict[str, str], parent: str
) -> str:
    style = dict(resources.styles.get(element.get("style", "").removeprefix("@style/"), {}))
    own = {key.removeprefix(ANDROID): value for key, value in element.items() if ANDROID in key}
    look = {**{key.removeprefix("android:"): value for key, value in style.items()}, **own}
    if element.get(TOOLS + "visibility", look.get("visibility")) == "gone":
        return ""
    kind = element.tag.rpartition(".")[2]
    direction = "row" if look.get("orientation", "horizontal") == "horizontal" else "column"
    inside = "".join(_view(child, resources, filled, direction) for child in element)
    name = look.get("id", "").rpartition("/")[2]
    text = filled.get(name, inside or html.escape(resources.value(look.get("text", ""))))
    css = _css(look, resources, parent)
    if kind == "LinearLayout":
        css += f"display:flex;flex-direction:{direction};"
    elif kind == "Button":
        css += "display:flex;align-items:center;justify-content:center;text-align:center;"
    elif kind == "CheckBox":
        box = (
            f"accent-color:{resources.colors['accent']};width:20px;height:20px;margin:0 12px 0 4px"
        )
        text = f"<input type=checkbox checked style='{box}'>{text}"
        css += "display:flex;align-items:center;"
    elif kind == "Spinner":
        text = f"<span style='flex:1'>{text}</span><span>▾</span>"
        css += f"display:flex;align-items:center;padding:0 16px;color:{resources.colors['text']};"
        css += f"font-size:{resources.value('@dimen/text_body')};"
    elif kind == "ProgressBar":
        text = f"<div style='height:4px;background:{resources.colors['line']}'></div>"
    return f'<div style="{css}">{text}</div>'


def _css(look: dict[str, str], resources: Resources, parent: str) -> str:
    """Attributes that CSS has words for."""
    names = {
        "textSize": "font-size",
        "textColor": "color",
        "padding": "padding",
        "layout_marginTop": "margin-top",
        "layout_marginStart": "margin-left",
        "minHeight": "min-height",
        "textStyle": "font-weight",
    }
    parts = [f"{names[key]}:{resources.value(look[key])};" for key in names if key in look]
    if look.get("layout_weight"):
        parts.append("flex:1;")
    if parent == "column" and look.get("layout_width") == "match_parent":
        parts.append("width:100%;")
    if look.get("layout_height", "").startswith("@dimen"):
        parts.append(f"height:{resources.value(look['layout_height'])};")
    if look.get("background", "").startswith("@drawable/"):
        file = resources.folder / "drawable" / (look["background"].rpartition("/")[2] + ".xml")
        root = ElementTree.parse(file).getroot()
        for solid in root.iter("solid"):
            parts.append(f"background:{resources.value(solid.get(ANDROID + 'color', ''))};")
        for stroke in root.iter("stroke"):
            color = resources.value(stroke.get(ANDROID + "color", ""))
            parts.append(f"border:1px solid {color};")
        for corners in root.iter("corners"):
            parts.append(f"border-radius:{resources.value(corners.get(ANDROID + 'radius', ''))};")
    return "".join(parts)
