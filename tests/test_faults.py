"""Every fault of the table in docs/faults.md, for every gateway, sync and async."""

from __future__ import annotations

import pytest

from faults.case import GATEWAYS
from faults.cases import CASES
from faults.page import PAGE, page, title
from faults.play import Way, play


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("kind", sorted({case.kind for case in CASES}))
def test_a_fault_ends_as_the_table_says(pauses: list[float], kind: str, way: Way) -> None:
    """A fault has the outcome and the number of requests that the table lists."""
    wrong = []
    for case in CASES:
        for gateway in case.gateways if case.kind == kind else ():
            pauses.clear()
            got = play(case, gateway, way).got
            if (got, len(pauses)) != (case.wanted, case.sent - 1):
                wrong.append(f"{title(case)}, {gateway}: {got} after {len(pauses)} waits")
    assert not wrong


def without_time(line: str) -> str:
    """A line of the page; of a row all but the last column."""
    return line.rpartition(" | ")[0] if line.startswith("| ") else line


def test_the_page_has_the_rows_of_the_table() -> None:
    """docs/faults.md lists exactly these faults, with these outcomes."""
    written, expected = PAGE.read_text(encoding="utf-8"), page({})
    assert [*map(without_time, written.splitlines())] == [*map(without_time, expected.splitlines())]


def test_each_fault_is_listed_once_for_each_gateway() -> None:
    """No row repeats or contradicts another."""
    listed = [(case.kind, case.name, gateway) for case in CASES for gateway in case.gateways]
    assert len(set(listed)) == len(listed)
    assert {gateway for *_, gateway in listed} == set(GATEWAYS)
