"""What is refused before a release."""

from __future__ import annotations

from cases import cases
from release.page import dead_links
from release.tag import problems

UNRELEASED = "# Changelog\n\n## [Unreleased]\n"
DATED = "## [1.2.0] - 2026-11-24\n\n### Added\n\n- This.\n\n## [1.1.0] - 2026-10-01\n\n- That.\n"


@cases("changelog", [DATED, f"# Changelog\n\n{DATED}", f"{UNRELEASED}\n{DATED}"])
def test_a_dated_version_may_be_released(changelog: str) -> None:
    """A tag is released when it names the version and the changelog dates it."""
    assert problems("v1.2.0", "1.2.0", changelog) == []


@cases("tag", ["", "1.2.0", "v1.2", "v1.2.0.post1", "v1.2.0 ", "V1.2.0", "v1.3.0"])
def test_another_tag(tag: str) -> None:
    """A tag that is not the version of the wheel is refused."""
    (problem,) = problems(tag, "1.2.0", DATED)
    assert "not 'v1.2.0'" in problem


@cases("heading", ["[1.2.0]", "1.2.0 - 2026-11-24", "[1.2.0] - soon"])
def test_a_version_without_a_date(heading: str) -> None:
    """A version that the changelog does not date is refused."""
    (problem,) = problems("v1.2.0", "1.2.0", f"## {heading}\n\n- This.\n")
    assert problem == "CHANGELOG has no '## [1.2.0] - <date>'"


def test_something_unreleased() -> None:
    """A release is refused while the changelog says that something is not in it."""
    (problem,) = problems("v1.2.0", "1.2.0", f"{UNRELEASED}\n- More.\n\n{DATED}")
    assert problem == "CHANGELOG says that something is unreleased"


def test_nothing_dated_yet() -> None:
    """Before its first date a changelog gives both reasons."""
    assert len(problems("v1.2.0", "1.2.0", f"{UNRELEASED}\n- All.\n")) == 2


@cases("target", ["docs/faults.md", "/docs", "#nowhere", "", "./a.png"])
def test_dead_links(target: str) -> None:
    """A link or an image that leads nowhere on a page of its own is found."""
    assert dead_links(f'<h2 id="b">B</h2><a href="{target}">a</a>') == [target]
    assert dead_links(f'<img alt="a" src="{target}">') == [target]


@cases("target", ["https://a.example/b", "mailto:a@b.example", "#b"])
def test_links_that_lead_on(target: str) -> None:
    """An address, and an anchor that is on the page, are in order."""
    assert dead_links(f'<a href="{target}">a</a><h2 id="b">B</h2>') == []
