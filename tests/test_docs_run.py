"""The examples of README and of docs/ run as they stand, and their curl twins are twins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cases import cases
from docs_support import (
    GUIDES,
    MIGRATE,
    PAGES,
    README,
    SHORT_PAGES,
    Block,
    Sent,
    World,
    blocks_of,
    by_hand,
    programs,
    promised,
    run,
)

WITH_CURL = [
    page
    for page in PAGES
    if page not in SHORT_PAGES and any(block.is_curl for block in blocks_of(page))
]


def missing(blocks: Sequence[Block], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run the blocks; returns what their comments promise and is not printed."""
    for _ in run(blocks):
        pass
    printed = iter(capsys.readouterr().out.splitlines())
    return [line for line in promised(blocks) if line not in printed]


def twins(page: Path, world: World) -> list[tuple[Sent, Sent]]:
    """Run a page; returns the request of each curl command, and the last one before it."""
    return [
        (by_hand(block.text), world.last_sent()) for block in run(blocks_of(page)) if block.is_curl
    ]


@pytest.mark.parametrize("blocks", programs())
def test_each_example_runs_and_shows_what_it_says(
    blocks: Sequence[Block], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block of code runs, and a print with a comment behind it prints the comment."""
    assert missing(blocks, capsys) == []


@cases("page", SHORT_PAGES, ids=lambda page: page.stem)
def test_each_short_page_runs_and_shows_what_it_says(
    page: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for the pages that `make providers` writes."""
    assert missing(blocks_of(page), capsys) == []


@cases("page", GUIDES, ids=lambda page: page.stem)
def test_each_guide_runs_and_shows_what_it_says(
    page: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for the guides."""
    assert missing(blocks_of(page), capsys) == []


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
    for by_curl, by_client in twins(page, world):
        assert by_curl == by_client


@cases("page", SHORT_PAGES, ids=lambda page: page.stem)
def test_each_curl_of_a_short_page_is_a_twin(page: Path, world: World) -> None:
    """The same for the pages that `make providers` writes."""
    for by_curl, by_client in twins(page, world):
        assert by_curl == by_client


@cases("page", [README, *PAGES], ids=lambda page: page.stem)
def test_no_block_escapes(page: Path) -> None:
    """Every fence begins its line and names its language, so that no example goes unread."""
    fences = page.read_text(encoding="utf-8").count("```")
    assert fences == 2 * len(blocks_of(page))
