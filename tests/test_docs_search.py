"""The search of the site finds what people type into it."""

from __future__ import annotations

from docs_support import DOCS
from search_index import EXPECTED, missing


def test_each_term_is_on_the_page_that_explains_it() -> None:
    """A term is missing where its page lacks it, whatever other pages say; none is today."""
    entries = [
        {
            "location": f"{path.stem}.html#part",
            "title": "",
            "text": path.read_text(encoding="utf-8"),
        }
        for path in DOCS.glob("*.md")
    ]
    assert missing({"docs": entries}) == []

    for term, page in EXPECTED.items():
        others = [entry for entry in entries if not entry["location"].startswith(f"{page}.html")]
        assert f"{term!r} is not on {page}.html" in missing({"docs": others})
