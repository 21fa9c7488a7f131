"""Every fault of the table in docs/faults.md, for every gateway, sync and async."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from faults.case import GATEWAYS, Case
from faults.cases import CASES
from faults.page import PAGE, page, title
from faults.play import Way, play

from server import pauses_fixture  # noqa: F401

EACH = [
    pytest.param(case, gateway, id=f"{title(case)}-{gateway}")
    for case in CASES
    for gateway in case.gateways
]


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(("case", "gateway"), EACH)
def test_a_fault_ends_as_the_table_says(
    pauses: Sequence[float], case: Case, gateway: str, way: Way
) -> None:
    """A fault ends in the right documents or a typed error, after so many requests."""
    assert play(case, gateway, way).got == case.wanted
    assert len(pauses) == case.sent - 1


def without_time(line: str) -> str:
    """A line of the page; of a row all but the last column."""
    return line.rpartition(" | ")[0] if line.startswith("| ") else line


def test_the_page_has_the_rows_of_the_table() -> None:
    """docs/faults.md lists exactly these faults, with these outcomes."""
    written, expected = PAGE.read_text(encoding="utf-8"), page({})
    assert [*map(without_time, written.splitlines())] == [*map(without_time, expected.splitlines())]


def test_each_fault_stands_once_for_each_gateway() -> None:
    """No row repeats or contradicts another."""
    listed = [(case.kind, case.name, gateway) for case in CASES for gateway in case.gateways]
    assert len(set(listed)) == len(listed)
    assert {gateway for *_, gateway in listed} == set(GATEWAYS)
