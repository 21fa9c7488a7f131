"""The judged collection that is shipped with the notebooks: how it is made, and what it holds."""

from __future__ import annotations

import json
from pathlib import Path

from python_faq import OWN, REFERRED, collection, entries

from rerank_integrations.evaluation import Dataset
from rerank_integrations.evaluation._dataset import text_of

FAQ = Path(__file__).parents[1] / "notebooks" / "data" / "python-faq"


PAGE = """<nav><a href="x">Contents</a></nav><section id="page"><h1>Small FAQ</h1>
<section id="part"><h2>A part<a class="headerlink" href="#part">¶</a></h2>
<section id="one"><span id="first"></span><h3>Why\u2019s that?<a class="headerlink">¶</a></h3>
<p>Since it
is <code>so</code>:</p><pre>if x:
    y</pre><p><a href="#two">more</a></p><ul><li><p>https://example.com/a</p></li></ul></section>
<section id="two"><h3>And then?</h3><p>See the next question.</p></section>
<section id="three"><h3>Still?</h3><p>Yes, <a href="other.html#first">see</a>.</p></section>
<section id="empty"><h3>No text</h3></section>
</section></section>"""


def test_a_page_becomes_questions_with_their_answers() -> None:
    """The innermost sections with a text: quotes straight, code as it is, no bare address."""
    found = [(entry.part, entry.question, entry.answer) for entry in entries("small", PAGE)]
    assert found == [
        ("Small FAQ: A part", "Why's that?", "Since it is so:\nif x:\n    y\nmore"),
        ("Small FAQ: A part", "And then?", "See the next question."),
        ("Small FAQ: A part", "Still?", "Yes, see."),
    ]


def test_a_question_wants_its_answer_and_less_what_that_links_to() -> None:
    """A pointer passes to the next answer, and a question that is there twice wants both."""
    pages = [entry for page in ("small", "other") for entry in entries(page, PAGE)]
    corpus, queries, qrels = collection(pages)
    assert [row["_id"] for row in corpus] == ["a1", "a3", "a4", "a6"]
    assert corpus[0]["metadata"]["url"].endswith("/small.html#one")
    assert [(row["_id"], row["text"]) for row in queries] == [
        ("q1", "Why's that?"),
        ("q2", "And then?"),
        ("q3", "Still?"),
    ]
    assert set(qrels) == {
        ("q1", "a1", OWN),
        ("q1", "a4", OWN),
        ("q1", "a3", REFERRED),
        ("q1", "a6", REFERRED),
        ("q2", "a3", OWN),
        ("q2", "a6", OWN),
        ("q3", "a3", OWN),
        ("q3", "a6", OWN),
        ("q3", "a4", REFERRED),
    }


def test_the_shipped_collection_is_what_its_page_says() -> None:
    """Counts, grades, licence; no answer holds its own question, or finding it were no work."""
    found = Dataset.read(FAQ)
    assert (len(found.documents), len(found.queries), found.problems) == (178, 178, ())
    grades = [grade for row in found.judgments.values() for grade in row.values()]
    assert (len(grades), grades.count(REFERRED)) == (182, 3)
    said = (FAQ / "README.md").read_text(encoding="utf-8")
    assert "| 178 |" in said
    assert "| 182 |" in said
    assert "PYTHON SOFTWARE FOUNDATION LICENSE" in (FAQ / "LICENSE").read_text(encoding="utf-8")
    own = [
        (query, document)
        for query, row in found.judgments.items()
        for document, grade in row.items()
        if grade == OWN and found.queries[query] in text_of(found.documents[document])
    ]
    assert own == []


def test_the_shipped_collection_is_small_and_links_only_to_the_faq() -> None:
    """Each document says where it stands, and the folder is quickly cloned."""
    rows = (FAQ / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(path.stat().st_size for path in FAQ.rglob("*") if path.is_file()) < 300_000
    for row in rows:
        assert json.loads(row)["metadata"]["url"].startswith("https://docs.python.org/3.11/faq/")
