"""Links of README and of docs/ lead somewhere, in the repository and on the site."""

from __future__ import annotations

import re
from pathlib import Path

from cases import cases
from docs_support import PAGES, README, ROOT

WRITTEN_BY_MAKE = {ROOT / "benchmarks" / "RESULTS.md"}
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """The anchors of a page: its headings as GitHub and MkDocs both spell them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"\s", "-", heading) for heading in plain}


@cases("page", [README, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file that is there, or that make writes, and a heading of it."""
    broken = []
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        is_there = target.exists() or target in WRITTEN_BY_MAKE
        if not is_there or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@cases("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_are_relative_or_secure(page: Path) -> None:
    """A page links to vendors by https, and to the rest by relative links."""
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if link.startswith(("http://", "/", "file:"))] == []
