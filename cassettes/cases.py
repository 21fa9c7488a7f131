"""The table: every cassette that there is, for the recorder and for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cassettes import (
    cases_hosted,
    cases_hosted_other,
    cases_openrouter,
    cases_portkey,
    cases_self_hosted,
    cases_together,
)
from cassettes.case import GATEWAYS, HERE, Case

CASES: Sequence[Case] = (
    *cases_openrouter.CASES,
    *cases_together.CASES,
    *cases_portkey.CASES,
    *cases_hosted.CASES,
    *cases_hosted_other.CASES,
    *cases_self_hosted.CASES,
)


def unnamed() -> list[Path]:
    """Files in the folders of cassettes that no case names."""
    named = {case.path for case in CASES}
    found = (path for gateway in GATEWAYS for path in (HERE / gateway).rglob("*"))
    return sorted(path for path in found if path.is_file() and path not in named)
