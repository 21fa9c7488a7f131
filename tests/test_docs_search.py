"""The search of the site finds what people type into it."""

from __future__ import annotations

from typing import Any

from docs_support import DOCS, ROOT
from search_index import EXPECTED, missing

ON_SPACES = r"[\s\-]+"  # what MkDocs does where nothing is set


def index_of(pages: dict[str, str], separator: str) -> dict[str, Any]:
    """The index of pages, as MkDocs writes it."""
    entries = [
        {"location": f"{page}.html#part", "title": "", "text": text} for page, text in pages.items()
    ]
    return {"config": {"separator": separator}, "docs": entries}


def test_each_term_is_on_the_page_that_explains_it() -> None:
    """A term is a word of its page, at its beginning; other pages and punctuation do not count."""
    pages = {path.stem: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        pages[f"notebooks/{path.stem}"] = path.read_text(encoding="utf-8")
    assert missing(index_of(pages, r"[\W_]+")) == []

    for term, page in EXPECTED.items():
        lost = f"{term!r} is not on {page}.html"
        assert lost in missing(index_of({**pages, page: ""}, ON_SPACES))
        assert lost in missing(index_of({**pages, page: f"({term})"}, ON_SPACES))
