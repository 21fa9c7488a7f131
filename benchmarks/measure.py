"""Measuring: all clients in turn, in several rounds, as ratios with their spread."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

Call = Callable[[], object]


class Ratio(NamedTuple):
    """The ratio to the reference: the median of the rounds, and the interquartile range."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratios(rounds: list[dict[str, float]], reference: str) -> dict[str, Ratio]:
    """The ratio of each client to the reference of the same round."""
    found = {}
    for name in rounds[0]:
        each = [one[name] / one[reference] for one in rounds]
        low, _, high = statistics.quantiles(each, n=4)
        found[name] = Ratio(statistics.median(each), low, high)
    return found


def cpu_in_turn(calls: Mapping[str, Call], *, rounds: int, each: int) -> list[dict[str, float]]:
    """Seconds of CPU for `each` calls of every client, in each round: A B C A B C."""
    for call in calls.values():
        call()
    gc.collect()
    gc.freeze()  # so that no client pays for scanning what the others have loaded
    found = []
    for _ in range(rounds):
        one = {}
        for name, call in calls.items():
            gc.collect()
            started = time.process_time()
            for _ in range(each):
                call()
            one[name] = time.process_time() - started
        found.append(one)
    return found
