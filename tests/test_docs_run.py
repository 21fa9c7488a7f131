"""The examples of README and of docs/ run as they stand, and their curl twins are twins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cases import cases
from docs_support import (
    MIGRATE,
    PAGES,
    README,
    Block,
    Sent,
    World,
    blocks_of,
    by_hand,
    programs,
    promised,
    run,
)

WITH_CURL = [page for page in PAGES if any(block.is_curl for block in blocks_of(page))]


@pytest.mark.parametrize("blocks", programs())
def test_each_example_runs_and_shows_what_it_says(
    blocks: Sequence[Block], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block of code runs, and a print with a comment behind it prints the comment."""
    for _ in run(blocks):
        pass

    printed = iter(capsys.readouterr().out.splitlines())
    assert [line for line in promised(blocks) if line not in printed] == []


@cases("page", sorted(MIGRATE.glob("*.md")), ids=lambda page: page.stem)
def test_each_new_side_of_a_migration_runs(
    page: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new side of every `diff` in docs/migrate/ runs, and prints what its comment says."""
    blocks = blocks_of(page)
    for _ in run(blocks):
        pass

    assert capsys.readouterr().out.splitlines() == promised(blocks)


@pytest.mark.parametrize("page", WITH_CURL, ids=lambda page: page.stem)
def test_each_curl_sends_what_the_code_above_it_sends(page: Path, world: World) -> None:
    """A curl command has the address, headers and body of the last request of the code above."""
    twins: list[tuple[Sent, Sent]] = [
        (by_hand(block.text), world.last_sent()) for block in run(blocks_of(page)) if block.is_curl
    ]

    assert [by_curl for by_curl, _ in twins] == [by_client for _, by_client in twins]


@cases("page", [README, *PAGES], ids=lambda page: page.stem)
def test_no_block_escapes(page: Path) -> None:
    """Every fence begins its line and names its language, so that no example goes unread."""
    fences = page.read_text(encoding="utf-8").count("```")
    assert fences == 2 * len(blocks_of(page))
