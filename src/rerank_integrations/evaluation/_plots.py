"""Draws plots as SVG with the colours of the page, in a wide and a narrow version."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from rerank_integrations.evaluation._evaluation import Evaluation
from rerank_integrations.evaluation._verdict import costs_of, front_of

WIDE, NARROW = 560, 350
_COLOURS = 8
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 40
_DASHES = ("", "7 3", "2 3", "9 3 2 3")

Draw: TypeAlias = Callable[[int], str]
"""A function that draws an SVG with a width in pixels."""
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """A plot with its title and caption.

    Attributes:
        title: the title.
        caption: how to read the plot.
        wide: the SVG for a large screen.
        narrow: the SVG for a small screen.
        legend: the names by colour class; empty if the plot itself has the names.
    """

    title: str
    caption: str
    wide: str
    narrow: str
    legend: tuple[tuple[str, str], ...] = ()


def plots_of(evaluation: Evaluation) -> list[Plot]:
    """Return all plots for which there are figures."""
    colours = {name: f"c{at % _COLOURS}" for at, name in enumerate(evaluation.models)}
    every = [
        _gains(evaluation, colours),
        _quality(evaluation, colours),
        _curves(evaluation, colours),
        _kept(evaluation, colours),
        *(_per_query(evaluation, name, colours[name]) for name in evaluation.models),
    ]
    return [plot for plot in every if plot is not None]


def _plot(title: str, caption: str, draw: Draw, legend: Iterable[tuple[str, str]] = ()) -> Plot:
    return Plot(title, caption, draw(WIDE), draw(NARROW), tuple(legend))


def _gains(evaluation: Evaluation, colours: dict[str, str]) -> Plot:
    """Draw the gain of each model with its confidence interval."""
    models = list(evaluation.models.values())
    best = evaluation.first_stage.oracle - evaluation.first_stage.means[evaluation.decides]
    ends = [0.0, best]
    for model in models:
        own = model.decides
        ends += [one for one in (own.gain, own.ci_low, own.ci_high) if one is not None]

    def draw(width: int) -> str:
        row = 40
        height = row * len(models) + _BOTTOM + 22
        axis = _Axes(width, height, (min(ends), max(ends)), (0, 1), left=14, top=22)
        parts = [axis.x_axis(f"gain in {evaluation.decides}")]
        parts.append(_line((axis.x(0), 18), (axis.x(0), height - _BOTTOM), "zero"))
        at_edge = axis.x(0) < 60
        parts.append(_text(axis.x(0), 12, "no reranking", "start" if at_edge else "middle"))
        parts.append(_line((axis.x(best), 18), (axis.x(best), height - _BOTTOM), "best"))
        if axis.x(best) - axis.x(0) > 150:
            parts.append(_text(axis.x(best), 12, "best possible order", "end"))
        for at, model in enumerate(models):
            own, y = model.decides, 22 + row * at + 26
            colour = colours[model.name]
            parts.append(_text(20, y - 10, model.name, "start", "name"))
            if own.ci_low is not None and own.ci_high is not None:
                parts.append(
                    _line((axis.x(own.ci_low), y), (axis.x(own.ci_high), y), f"whisker {colour}")
                )
            parts.append(_dot(axis.x(own.gain), y, colour))
        return _svg(width, height, parts)

    return _plot(
        "Gain of each model",
        "The dot is the mean gain over the queries, and the line is its 95 % interval. If the line "
        "crosses “no reranking”, the gain may be due to chance.",
        draw,
    )


def _quality(evaluation: Evaluation, colours: dict[str, str]) -> Plot | None:
    """Draw quality against cost, or against latency if no model costs anything."""
    first = evaluation.first_stage.means[evaluation.decides]
    values = {name: one.decides.mean for name, one in evaluation.models.items()} | {"": first}
    spent = costs_of(evaluation.models)
    if any(spent.values()):
        spent[""] = 0.0
        title, label = "Quality and cost", "US dollars per 1,000 queries"
        without = "Models with an unknown price are not shown"
    else:
        spent = {
            name: 1000 * one.latency.p50
            for name, one in evaluation.models.items()
            if one.latency is not None
        }
        if not spent:
            return None
        spent[""] = 0.0
        title, label = "Quality and latency", "median latency in milliseconds (p50)"
        without = "Models whose calls all came from a checkpoint or a cache are not shown"
    shown = {name: values[name] for name in spent}
    front = front_of(spent, shown)
    names = {"": "no reranking"}

    def draw(width: int) -> str:
        height = 280
        axis = _Axes(width, height, (0, max(spent.values())), _padded(shown.values()))
        parts = [axis.x_axis(label), axis.y_axis(width)]
        parts.append(_steps([(axis.x(spent[one]), axis.y(shown[one])) for one in front]))
        parts += [
            _dot(axis.x(spent[one]), axis.y(value), colours.get(one, "cf"), names.get(one, one))
            for one, value in shown.items()
        ]
        return _svg(width, height, parts)

    missing = f" {without}." if len(shown) <= len(evaluation.models) else ""
    return _plot(
        title,
        f"{evaluation.decides} against {label}. The line joins the points that no other point "
        f"beats in both (the Pareto front).{missing}",
        draw,
        [("cf", "no reranking"), *((colours[one], one) for one in spent if one)],
    )


def _curves(evaluation: Evaluation, colours: dict[str, str]) -> Plot | None:
    """Draw quality by the number of candidates that are reranked."""
    curves = {name: one.curve for name, one in evaluation.models.items() if len(one.curve) > 1}
    if not curves:
        return None
    notes = [
        f"{name}: {one.curve_note}." for name, one in evaluation.models.items() if one.curve_note
    ]
    said = [
        f"{name}: {enough} candidates give 95 % of the gain."
        for name, curve in curves.items()
        if (enough := enough_of(curve)) is not None
    ]
    return _plot(
        "How many candidates to rerank",
        " ".join(
            [
                f"{evaluation.decides} by the number of candidates that are reranked.",
                *said,
                *notes,
            ]
        ),
        _lines(curves, colours, "candidates reranked"),
        [(colours[name], name) for name in curves],
    )


def enough_of(curve: dict[int, float]) -> int | None:
    """Return the smallest number of candidates with 95 % of the whole gain; None without a gain."""
    whole = list(curve.values())[-1] - curve[0]
    if whole <= 0:
        return None
    return min(depth for depth, value in curve.items() if value - curve[0] >= 0.95 * whole)


def _kept(evaluation: Evaluation, colours: dict[str, str]) -> Plot:
    """Draw recall by the number of documents that are passed on."""
    lines = {"": evaluation.first_stage.kept}
    lines |= {name: one.kept for name, one in evaluation.models.items()}
    return _plot(
        "How many documents to keep",
        "Recall of the first top_n documents. If a model's line is as high at 5 as the line of no "
        "reranking at 20, a quarter of the documents is enough.",
        _lines(lines, colours, "documents kept"),
        [("cf", "no reranking"), *((colours[name], name) for name in evaluation.models)],
    )


def _lines(lines: dict[str, dict[int, float]], colours: dict[str, str], label: str) -> Draw:
    """Return a function that draws a line for each name, over equidistant numbers."""
    numbers = sorted({number for line in lines.values() for number in line})
    values = [value for line in lines.values() for value in line.values()]

    def draw(width: int) -> str:
        height = 280
        axis = _Axes(width, height, (0, max(len(numbers) - 1, 1)), _padded(values))
        parts = [axis.y_axis(width), axis.label(label)]
        for at, number in enumerate(numbers):
            parts.append(_text(axis.x(at), height - _BOTTOM + 16, f"{number:,}", "middle"))
        for name, line in lines.items():
            places = [(axis.x(numbers.index(n)), axis.y(value)) for n, value in line.items()]
            colour = colours.get(name, "cf")
            parts.append(
                _polyline(places, colour, _DASHES[list(colours).index(name) % 4 if name else 0])
            )
            parts += [_dot(x, y, colour, radius=3) for x, y in places]
        return _svg(width, height, parts)

    return draw


def _per_query(evaluation: Evaluation, name: str, colour: str) -> Plot:
    """Draw the sorted gains of the queries."""
    before = evaluation.first_stage.per_query[evaluation.decides]
    after = evaluation.models[name].decides.per_query
    gains = sorted((after[one] - before[one] for one in before), reverse=True)
    model = evaluation.models[name]
    low, high = min(*gains, 0.0, -0.1), max(*gains, 0.0, 0.1)

    def draw(width: int) -> str:
        height = 150
        axis = _Axes(width, height, (0, len(gains)), (low, high), bottom=12)
        zero = axis.y(0)
        path = f"M{_n(axis.x(0))} {_n(zero)}"
        for at, gain in enumerate(gains):
            path += f"V{_n(axis.y(gain))}H{_n(axis.x(at + 1))}"
        area = f'<path class="area {colour}" d="{path}V{_n(zero)}Z"/>'
        line = _line((axis.x(0), zero), (axis.x(len(gains)), zero), "zero")
        return _svg(width, height, [axis.y_axis(width), area, line])

    return _plot(
        f"Change of each query with {name}",
        f"The change in {evaluation.decides} of each query, sorted. Wins: {model.wins}, ties: "
        f"{model.ties}, losses: {model.losses}.",
        draw,
    )


class _Axes:
    """Axes, which convert values to pixels."""

    def __init__(
        self,
        width: int,
        height: int,
        across: Point,
        up: Point,
        *,
        left: int = _LEFT,
        top: int = _TOP,
        bottom: int = _BOTTOM,
    ) -> None:
        self._width, self._height = width, height
        self._left, self._top, self._bottom = left, top, bottom
        self._across, self._up = _span(across), _span(up)

    def x(self, value: float) -> float:
        """Return the horizontal position of a value in pixels, from the left."""
        low, high = self._across
        room = self._width - self._left - _RIGHT
        return self._left + room * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Return the vertical position of a value in pixels, from the top."""
        low, high = self._up
        room = self._height - self._top - self._bottom
        return self._top + room * (high - value) / (high - low)

    def x_axis(self, label: str) -> str:
        """Return the ticks and the label below the plot."""
        ticks = _ticks(*self._across, 4 if self._width < WIDE else 8)
        base = self._height - self._bottom
        parts = [_line((self.x(t), base), (self.x(t), base + 4), "tick") for t in ticks]
        parts += [_text(self.x(t), base + 16, _tick(t, ticks), "middle") for t in ticks]
        return "".join([*parts, self.label(label)])

    def label(self, label: str) -> str:
        """Return the label below the plot."""
        return _text((self._left + self._width) / 2, self._height - 6, label, "middle")

    def y_axis(self, width: int) -> str:
        """Return the ticks on the left, with grid lines."""
        ticks = _ticks(*self._up, 5)
        parts = []
        for tick in ticks:
            y = self.y(tick)
            parts.append(_line((self._left, y), (width - _RIGHT, y), "grid"))
            parts.append(_text(self._left - 6, y + 4, _tick(tick, ticks), "end"))
        return "".join(parts)


def _span(ends: Point) -> Point:
    low, high = ends
    return (low, high) if high > low else (low, low + 1)


def _padded(values: Iterable[float]) -> Point:
    found = list(values)
    low, high = min(found), max(found)
    room = 0.08 * (high - low or 0.1)
    return low - room, high + room


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers in a range."""
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough)
    first = math.ceil(low / step - 1e-9)
    return [step * at for at in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(value: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(value) or 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value or 0.0:,.{digits}f}"  # and no -0


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _svg(width: int, height: int, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    own = f' class="{kind}"' if kind else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"{own}>{escape(text)}</text>'


def _line(start: Point, end: Point, kind: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{kind}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _dot(x: float, y: float, colour: str, title: str = "", radius: int = 6) -> str:
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<circle class="dot {colour}" cx="{_n(x)}" cy="{_n(y)}" r="{radius}">{inside}</circle>'


def _polyline(points: Iterable[Point], colour: str, dash: str) -> str:
    joined = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polyline class="line {colour}" points="{joined}" stroke-dasharray="{dash}"/>'


def _steps(points: Sequence[Point]) -> str:
    joined = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polyline class="front" points="{joined}"/>'
