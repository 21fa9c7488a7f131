"""A slope chart: what each stage of a search put where, and how far it moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

UP, DOWN, SAME = "#2f9e5b", "#b0553a", "#888888"
DARK, FAINT = "#222222", "#999999"


def moved(before: int, after: int) -> tuple[str, str]:
    """How far something moved between two places, in words and in colour."""
    if before == after:
        return "=", SAME
    return (f"▲ {before - after}", UP) if after < before else (f"▼ {after - before}", DOWN)


def slope_chart(question: str, stages: Mapping[str, Sequence[str]]) -> None:
    """Draw the stages side by side, from what was retrieved to what was kept.

    Args:
        question: what was asked; the title.
        stages: the names that each stage put out, best first. Each is among the first stage's.
    """
    found, *_, kept = stages.values()
    last = len(stages) - 1
    _, axes = plt.subplots(figsize=(2 + 3 * last, 0.8 + 0.21 * len(found)), dpi=110)
    for column, (left, right) in enumerate(pairwise(stages.values())):
        for after, name in enumerate(right, 1):
            if name not in left:
                axes.plot(column + 1, after, "o", color=SAME, ms=5)
                continue
            before = left.index(name) + 1
            colour, width = moved(before, after)[1], 2.4 if name in kept else 1.2
            axes.plot([column, column + 1], [before, after], "o-", color=colour, lw=width, ms=5)
    for place, name in enumerate(found, 1):
        shade = DARK if name in kept else FAINT
        axes.plot(0, place, "o", color=shade, ms=4)
        _write(axes, (0, place), f"{name}  {place}", points=-8, color=shade, ha="right")
    for place, name in enumerate(kept, 1):
        way, colour = moved(found.index(name) + 1, place)
        _write(axes, (last, place), f"{place}", points=20, color=DARK, ha="right")
        _write(axes, (last, place), way, points=30, color=colour)
        _write(axes, (last, place), name, points=62, color=DARK)
    for column, stage in enumerate(stages):
        _write(axes, (column, -0.6), stage, color="#555555", ha="center", size=12)
    axes.set(xlim=(-0.02, last + 0.02), ylim=(len(found) + 0.6, -1.2))
    axes.axis("off")
    axes.set_title(question, fontsize=15)
    plt.show()


def _write(axes: Axes, where: tuple[int, float], text: str, points: int = 0, **how: Any) -> None:
    """Write a text that many points to the right of a place."""
    look = {"va": "center", "size": 10, "annotation_clip": False, **how}
    axes.annotate(text, where, (points, 0), textcoords="offset points", **look)
