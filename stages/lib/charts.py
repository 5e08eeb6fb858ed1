"""Charts as inline SVG: whole without a script, in print and for screen readers; a script lets them zoom.

Elements are built as a tree, so that text from data is escaped by construction. Colours are CSS classes
(`report.css.jinja`), so that one chart serves light and dark. Each mark carries a <title>: the tooltip.
The numbers themselves stand as JSON in the attribute `data-chart`, from which `report_charts.js` draws the
same chart anew at any zoom.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as Tree

import numpy as np
from markupsafe import Markup

from stages.lib.metrics import CalibrationBin

WIDTH, HEIGHT = 340, 230
LEFT, RIGHT, TOP, BOTTOM = 54, 16, 10, 34
"""A chart is as wide as a phone, so that its text keeps its size; wider pages put several in a row."""


@dataclass(frozen=True)
class Series:
    """One line: x and y (N,) float, x rising, gaps where y is NaN; style (CSS): first, second or bound.

    dots: marks that nothing joins, in place of the line.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    style: str
    dots: bool = False


@dataclass(frozen=True)
class Frame:
    """A plotting area: the ranges of both axes, and the way from data to pixels."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel position of a data point."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        x_pixel = LEFT + across * (WIDTH - LEFT - RIGHT)
        return x_pixel, HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers within [low, high], about `most` of them, in steps of 1, 2 or 5 times a power."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def line_chart(series: Sequence[Series], x_label: str, y_label: str, summary: str) -> Markup:
    """Return lines over a shared x axis; `summary` is what a reader who cannot see it is told."""
    finite = np.concatenate([line.y[np.isfinite(line.y)] for line in series])
    low, high = float(finite.min()), float(finite.max())
    margin = 0.05 * (high - low) or 0.05 * max(abs(high), 1.0)
    x_values = np.concatenate([line.x for line in series])
    right = float(x_values.max())
    left = float(x_values.min())
    frame = Frame((left, right if right > left else left + 1), (low - margin, high + margin))
    svg = _canvas(summary)
    _axes(svg, frame, x_label, y_label)
    for line in series:
        (_dots if line.dots else _line)(svg, frame, line)
    shared = np.unique(x_values)
    lines = [{"name": line.name, "style": line.style, "y": _over(shared, line)} for line in series]
    _numbers(svg, frame, (x_label, y_label), shared, lines)
    return _markup(svg)


def reliability_chart(table: Sequence[CalibrationBin], summary: str) -> Markup:
    """Return accuracy over confidence with the diagonal of perfect calibration; a mark's area shows its n."""
    frame = Frame((0.0, 1.0), (0.0, 1.0))
    svg = _canvas(summary)
    _axes(svg, frame, "confidence", "accuracy")
    (x1, y1), (x2, y2) = frame.at(0, 0), frame.at(1, 1)
    _add(svg, "line", x1=x1, y1=y1, x2=x2, y2=y2, style="diagonal")
    most = max(row.n for row in table)
    for row in table:
        x, y = frame.at(row.confidence, row.accuracy)
        mark = _add(svg, "circle", cx=x, cy=y, r=3 + 7 * math.sqrt(row.n / most), style="mark")
        _title(mark, f"confidence {row.confidence:.1%}, accuracy {row.accuracy:.1%}, n = {row.n}")
    sure = np.array([row.confidence for row in table])
    n = [row.n for row in table]
    marks = {"name": "accuracy", "style": "first", "y": [_rounded(row.accuracy) for row in table], "n": n}
    _numbers(svg, frame, ("confidence", "accuracy"), sure, [marks])
    return _markup(svg)


def _over(x: np.ndarray, line: Series) -> list[float | None]:
    values = np.full(len(x), np.nan)
    values[np.searchsorted(x, line.x)] = line.y
    return [_rounded(value) if math.isfinite(value) else None for value in values.tolist()]


def _rounded(value: float) -> float:
    """Return six digits: finer than any screen, even zoomed, and a third of the bytes."""
    return float(f"{value:.6g}")


def _numbers(
    svg: Tree.Element, frame: Frame, labels: tuple[str, str], x: np.ndarray, lines: Sequence[dict[str, Any]]
) -> None:
    """Leave beside the drawing what it was drawn from."""
    told = {"x": [_rounded(value) for value in x.tolist()], "lines": lines, "labels": labels}
    told["frame"] = [*map(_rounded, (*frame.x, *frame.y))]
    svg.set("data-chart", json.dumps(told, separators=(",", ":"), allow_nan=False))


def _canvas(summary: str) -> Tree.Element:
    box = f"0 0 {WIDTH} {HEIGHT}"
    return Tree.Element("svg", {"viewBox": box, "role": "img", "aria-label": summary, "class": "chart"})


def _axes(svg: Tree.Element, frame: Frame, x_label: str, y_label: str) -> None:
    bottom, left = HEIGHT - BOTTOM, LEFT
    for value, label in _labelled(ticks(*frame.y)):
        y = frame.at(frame.x[0], value)[1]
        _add(svg, "line", x1=left, y1=y, x2=WIDTH - RIGHT, y2=y, style="grid")
        _text(svg, left - 6, y + 3.5, label, "tick end")
    for value, label in _labelled(ticks(*frame.x)):
        x = frame.at(value, frame.y[0])[0]
        _text(svg, x, bottom + 14, label, "tick middle")
    _add(svg, "line", x1=left, y1=bottom, x2=WIDTH - RIGHT, y2=bottom, style="axis")
    _text(svg, (left + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, "label middle")
    turned = _text(svg, 0, 0, y_label, "label middle")
    turned.set("transform", f"translate(11 {_number((TOP + bottom) / 2)}) rotate(-90)")


def _labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """Return the values with as many digits as tell them apart: 0.9996 beside 0.9998, not 1 and 1."""
    digits = 3
    while digits < 8 and len({f"{value:.{digits}g}" for value in values}) < len(values):
        digits += 1
    return [(value, f"{value:.{digits}g}") for value in values]


def _line(svg: Tree.Element, frame: Frame, line: Series) -> None:
    points: list[str] = []
    pen = "M"
    for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True):
        if math.isfinite(y):
            across, down = frame.at(x, y)
            points.append(f"{pen}{_number(across)} {_number(down)}")
        pen = "L" if math.isfinite(y) else "M"
    path = _add(svg, "path", d="".join(points), style=f"line {line.style}")
    finite = line.y[np.isfinite(line.y)]
    _title(path, f"{line.name}: last {_short(float(finite[-1]))}" if len(finite) else line.name)


def _dots(svg: Tree.Element, frame: Frame, line: Series) -> None:
    for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True):
        if math.isfinite(y):
            across, down = frame.at(x, y)
            mark = _add(svg, "circle", cx=across, cy=down, r=3, style=line.style)
            _title(mark, f"{line.name}: {_short(x)}, {_short(y)}")


def _add(parent: Tree.Element, tag: str, style: str, **attributes: float | str) -> Tree.Element:
    found = {key: value if isinstance(value, str) else _number(value) for key, value in attributes.items()}
    return Tree.SubElement(parent, tag, {"class": style, **found})


def _text(parent: Tree.Element, x: float, y: float, text: str, style: str) -> Tree.Element:
    element = _add(parent, "text", style, x=x, y=y)
    element.text = text
    return element


def _title(parent: Tree.Element, text: str) -> None:
    Tree.SubElement(parent, "title").text = text


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _short(value: float) -> str:
    return f"{value:.3g}"


def _markup(svg: Tree.Element) -> Markup:
    return Markup(Tree.tostring(svg, encoding="unicode", short_empty_elements=False))  # noqa: S704 (a tree escapes)
