"""The table of faults as a page to be read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from faults.case import DOCUMENTS, GATEWAYS, Case
from faults.cases import CASES

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
SLACK = 0.25  # seconds that a call may end after its deadline

_TIMES = (0.1, 0.4, 1.0, 2.0, 3.0)  # finer ones would change with each run
_PROPER = {"openrouter": "OpenRouter", "together": "Together", "portkey": "Portkey"}
_BEGINNING = f"""# What you get when something goes wrong

Each row is played on a real socket, by `rerank` and by `arerank`, for OpenRouter, Together and
Portkey. Both ways give the same, and so do all gateways where none is named. `make faults` plays
every row and writes this page.

The client has its defaults: `max_retries=2`, so at most 3 requests, and `deadline=60`. Where a row
names them, `timeout` is 0.05 s and `deadline` 0.1 s. A fault lasts for as long as the client asks,
unless the row says "once". No row ends with a score on the wrong document, with an exception that
is no `RerankError`, after a request too many, or later than {SLACK} s after the deadline. Times are
rounded, and include the pauses between requests.
"""
_COLUMNS = "| fault | what you get | requests sent | time (typical) |\n|---|---|---|---|"


def page(seconds: Mapping[Case, float]) -> str:
    """The page; the time of a case that is not there stays empty."""
    parts = [_BEGINNING]
    for kind, cases in groupby(CASES, lambda one: one.kind):
        rows = [_row(one, seconds.get(one)) for one in cases]
        parts.append("\n".join([f"## {kind}\n", _COLUMNS, *rows, ""]))
    return "\n".join(parts)


def title(case: Case) -> str:
    """The name, with the gateways where it is not about all."""
    if case.gateways == GATEWAYS:
        return case.name
    return f"{case.name} ({', '.join(_PROPER[name] for name in case.gateways)})"


def _row(case: Case, seconds: float | None) -> str:
    took = "" if seconds is None else _rounded(seconds)
    return f"| {title(case)} | {_gets(case)} | {case.sent} | {took} |"


def _gets(case: Case) -> str:
    if not case.is_answered:
        return f"`{case.gets}`"
    few = len(case.ranked) < len(DOCUMENTS)
    return f"{case.gets}, {len(case.ranked)} of {len(DOCUMENTS)} documents" if few else case.gets


def _rounded(seconds: float) -> str:
    if seconds < _TIMES[0]:
        return "at once"
    nearest = min(_TIMES, key=lambda time: abs(time - seconds))
    return f"{nearest:g} s"
