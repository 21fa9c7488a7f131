"""The table of faults as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from faults.case import DOCUMENTS, GATEWAYS, Case
from faults.cases import CASES

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
SLACK = 0.25  # seconds that a call may end after its deadline

_TIMES = (0.1, 0.4, 1.0, 2.0, 3.0)  # finer ones would change with each run
_PROPER = {"openrouter": "OpenRouter", "together": "Together AI", "portkey": "Portkey"}
_BEGINNING = f"""# Faults and their outcomes

Each row is an integration test over a real socket, with `rerank` and with `arerank`, for
OpenRouter, Together AI and Portkey. Both methods have the same outcome. So do all three providers,
unless the row names some of them. `make faults` runs every row and writes this page.

In every case, scores stay attached to the right document, every exception is a `RerankError`, no
more requests are sent than the retry settings allow, and the call ends at most {SLACK} s after the
deadline.

The client has its default settings, unless the row names others. So it sends at most 3 requests
(`max_retries=2`), and the deadline is 60 s. Rows that name `timeout` without a value set a read
timeout of 0.05 s, and rows that name `deadline` without a value set `deadline=0.1`. Every request
of a call meets the fault. If the row says "once", only the first request does. Times include the
waits between requests, and are rounded.
"""
_COLUMNS = "| fault | outcome | requests sent | typical time |\n|---|---|---|---|"


def page(seconds: Mapping[Case, float]) -> str:
    """The page; a case without a time has an empty cell."""
    parts = [_BEGINNING]
    for kind, cases in groupby(CASES, lambda one: one.kind):
        rows = [_row(one, seconds.get(one)) for one in cases]
        parts.append("\n".join([f"## {kind}\n", _COLUMNS, *rows, ""]))
    return "\n".join(parts)


def title(case: Case) -> str:
    """The name, with its gateways unless the row is about all of them."""
    if case.gateways == GATEWAYS:
        return case.name
    return f"{case.name} ({', '.join(_PROPER[name] for name in case.gateways)})"


def _row(case: Case, seconds: float | None) -> str:
    took = "" if seconds is None else _rounded(seconds)
    return f"| {title(case)} | {_gets(case)} | {case.sent} | {took} |"


def _gets(case: Case) -> str:
    if not case.has_response:
        return f"`{case.gets}`"
    few = len(case.ranked) < len(DOCUMENTS)
    return f"{case.gets}, {len(case.ranked)} of {len(DOCUMENTS)} documents" if few else case.gets


def _rounded(seconds: float) -> str:
    if seconds < _TIMES[0]:
        return f"under {_TIMES[0]} s"
    nearest = min(_TIMES, key=lambda time: abs(time - seconds))
    return f"{nearest:g} s"
