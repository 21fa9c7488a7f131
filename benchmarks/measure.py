"""Measuring: everyone in turn, again and again, and ratios with their spread instead of times."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

Call = Callable[[], object]


class Ratio(NamedTuple):
    """How much of the reference's time or CPU, in the median round, and in the middle half."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratios(rounds: list[dict[str, float]], reference: str) -> dict[str, Ratio]:
    """Everyone's ratio to the reference, each within its own round."""
    found = {}
    for name in rounds[0]:
        each = [one[name] / one[reference] for one in rounds]
        low, _, high = statistics.quantiles(each, n=4)
        found[name] = Ratio(statistics.median(each), low, high)
    return found


def cpu_in_turn(calls: Mapping[str, Call], *, rounds: int, each: int) -> list[dict[str, float]]:
    """Seconds of CPU for `each` calls of everyone, in each round: A B C A B C."""
    for call in calls.values():
        call()
    gc.collect()
    gc.freeze()  # what the peers have loaded is not walked through in anybody's turn
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
