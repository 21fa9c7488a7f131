"""Judged collections as the notebook reads and measures them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ir_measures import RR, R, nDCG
from judged import Collection, CollectionError, Tally, interval, ranking, read, to_depth, values
from python_faq import OWN, REFERRED, collection, entries

from cases import cases
from rerank_integrations import RerankClient
from rerank_integrations.errors import Attempt
from rerank_integrations.models import RerankResponse, RerankResult, Usage

FAQ = Path(__file__).parents[1] / "notebooks" / "data" / "python-faq"
GOOD = {
    "corpus.jsonl": '{"_id": "a", "title": "T", "text": "x"}\n\n{"_id": "b", "text": ""}\n',
    "queries.jsonl": '{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n2\tb\t1\n",
}
QRELS = {"1": {"a": 2, "b": 1}, "2": {"a": 1}}


def folder(path: Path, **changed: str | None) -> Path:
    """A collection on disk, with other contents for some files, and without those of None."""
    for name, content in {**GOOD, **changed}.items():
        file = path / name
        file.parent.mkdir(exist_ok=True)
        if content is not None:
            file.write_text(content, encoding="utf-8")
    return path


def answered(*order: int, **more: Any) -> RerankResponse:
    """A response that ranks documents by these indexes."""
    results = tuple(RerankResult(index, 1.0, None) for index in order)
    return RerankResponse(results, "some/model", "openrouter", **more)


def test_a_folder_is_read(tmp_path: Path) -> None:
    """Documents keep title and text, an absent title is empty, grades are numbers."""
    assert read(folder(tmp_path)) == Collection(
        {"a": {"title": "T", "text": "x"}, "b": {"title": "", "text": ""}},
        {"1": "one", "2": "two"},
        {"1": {"a": 2, "b": 0}, "2": {"b": 1}},
    )


def test_a_byte_order_mark_carriage_returns_and_a_missing_header_are_nothing(
    tmp_path: Path,
) -> None:
    """Files that Windows wrote, and judgments without a heading, are read alike."""
    plain = read(folder(tmp_path))
    rows = GOOD["qrels/test.tsv"].partition("\n")[2].replace("\n", "\r\n")
    (tmp_path / "qrels" / "test.tsv").write_bytes(rows.encode())
    (tmp_path / "queries.jsonl").write_text(GOOD["queries.jsonl"], encoding="utf-8-sig")
    assert read(tmp_path) == plain


def test_a_query_without_a_relevant_document_is_left_out(tmp_path: Path) -> None:
    """No order is better than another for it; unjudged queries are left out likewise."""
    rows = {"qrels/test.tsv": "1\ta\t1\n2\ta\t0\n"}
    assert list(read(folder(tmp_path, **rows)).queries) == ["1"]


def test_another_split_is_read(tmp_path: Path) -> None:
    """The split is the name of a file in qrels."""
    folder(tmp_path, **{"qrels/dev.tsv": "2\ta\t1\n"})
    assert read(tmp_path, "dev").judgments == {"2": {"a": 1}}


@cases(
    ("changed", "told"),
    [
        ({"corpus.jsonl": None}, r"corpus.jsonl is not there; choose a folder with corpus.jsonl,"),
        (
            {"qrels/test.tsv": None, "qrels/dev.tsv": "1\ta\t1\n"},
            r"test.tsv is not there; pass split= one of dev",
        ),
        ({"corpus.jsonl": "{"}, r"corpus.jsonl, line 1: not JSON .*; put one object a line"),
        ({"corpus.jsonl": "[]"}, 'line 1: give each object an "_id" that is a string'),
        ({"queries.jsonl": '{"_id": 1, "text": "one"}'}, 'an "_id" that is a string'),
        ({"queries.jsonl": '{"_id": "1"}'}, 'there is no "text"; it may be empty'),
        ({"corpus.jsonl": '{"_id": "a", "text": "x", "title": 3}'}, "title is a string, not int"),
        ({"corpus.jsonl": GOOD["corpus.jsonl"] * 2}, "line 4: 'a' is there twice"),
        ({"qrels/test.tsv": "1 0 a 1\n"}, "line 1: '1 0 a 1' is not query-id, corpus-id and a"),
        ({"qrels/test.tsv": "1\ta\thigh\n"}, "a whole number, with tabs"),
        ({"qrels/test.tsv": "9\ta\t1\n"}, "1 judged queries are not in .*'9'; take both files"),
        ({"qrels/test.tsv": "1\tz\t1\n"}, "1 judged documents are not in .*'z'.*partial=True"),
        ({"qrels/test.tsv": "1\ta\t0\n"}, "no query of the split 'test' has a relevant document"),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(
    tmp_path: Path, changed: dict[str, str | None], told: str
) -> None:
    """The message names the file, the line and what to do."""
    with pytest.raises(CollectionError, match=told):
        read(folder(tmp_path, **changed))


def test_the_corpus_may_lack_documents_where_one_says_so(tmp_path: Path) -> None:
    """With `partial` the judgments of absent documents are left out, and nothing else."""
    folder(tmp_path, **{"qrels/test.tsv": "1\ta\t1\n1\tz\t1\n2\tz\t1\n"})
    assert read(tmp_path, partial=True).judgments == {"1": {"a": 1}}


def test_a_part_of_the_queries_keeps_the_whole_corpus(tmp_path: Path) -> None:
    """Fewer queries are as hard as all; None takes all."""
    whole = read(folder(tmp_path))
    assert whole.first(None) == whole
    assert whole.first(1) == Collection(whole.corpus, {"1": "one"}, {"1": {"a": 2, "b": 0}})


def test_measures_follow_the_order_and_not_the_names() -> None:
    """The first of a ranking is the first, however the documents are called."""
    for order in (["a", "z"], ["z", "a"]):
        found = values({"1": {"a": 1}}, {"1": order}, [RR])
        assert found[RR]["1"] == 1 / (1 + order.index("a"))


def test_measures_are_those_of_the_textbook() -> None:
    """Gains count as they are, by the logarithm of the place, against the best order."""
    found = values(QRELS, {"1": ["b", "a"], "2": ["c", "a"]}, [nDCG @ 10, RR, R @ 1])
    worth = 1 / (2 + 0.6309297535714575)  # log2(3) below
    assert found[nDCG @ 10] == {
        "1": pytest.approx((1 + 2 * 0.6309297535714575) * worth),
        "2": pytest.approx(0.6309297535714575),
    }
    assert found[RR] == {"1": 1.0, "2": 0.5}
    assert found[R @ 1] == {"1": 0.5, "2": 0.0}


@cases("rankings", [{"1": ["a"]}, {"1": ["a"], "2": []}])
def test_a_query_that_found_nothing_counts_as_nothing(rankings: dict[str, list[str]]) -> None:
    """It is 0 and not left out, or who finds less would look better."""
    assert values(QRELS, rankings, [RR])[RR] == {"1": 1.0, "2": 0.0}
    assert values(QRELS, {}, [RR])[RR] == {"1": 0.0, "2": 0.0}


def test_what_a_response_leaves_out_follows() -> None:
    """Blank or missing documents and those beyond `top_n` keep their order, after the ranked."""
    assert ranking(["a", "b", "c", "d"], answered(2, 1)) == ["c", "b", "a", "d"]


def test_a_client_s_answer_is_a_ranking() -> None:
    """Indexes lead back to the names, the blank document's too."""
    response = RerankClient("local:bm25").rerank("red", ["", "blue", "red"])
    assert ranking(["a", "b", "c"], response) == ["c", "b", "a"]


def test_a_smaller_depth_ranks_only_the_first() -> None:
    """Depth 0 is the order before, the full depth the order after."""
    before, after = {"1": ["a", "b", "c"]}, {"1": ["c", "b", "a"]}
    seen = [to_depth(before, after, depth)["1"] for depth in range(4)]
    assert seen == [["a", "b", "c"], ["a", "b", "c"], ["b", "a", "c"], ["c", "b", "a"]]


def test_the_interval_is_that_of_the_mean() -> None:
    """It holds the mean, has no width without differences, and narrows with more queries."""
    assert interval([0.25, 0.25]) == (0.25, 0.25)
    low, high = interval([0.0, 1.0] * 8)
    assert low < 0.5 < high
    narrow_low, narrow_high = interval([0.0, 1.0] * 200)
    assert narrow_high - narrow_low < (high - low) / 3
    assert interval([0.0, 1.0] * 8) == (low, high)


def test_calls_are_counted() -> None:
    """Requests with retries, documents, the query once with each, all as of a thousand calls."""
    tally = Tally()
    attempts = (Attempt("p", "m", "RateLimitError"), Attempt("p", "m"))
    tally.add("ab", ["c", "de"], answered(1, 0, attempts=attempts), 0.2)
    tally.add("ab", ["c"], answered(0, attempts=attempts[1:]), 0.6)
    assert (tally.requests, tally.documents, tally.pairs) == (3, 3, 10)
    assert tally.per_thousand(tally.requests) == 1500
    assert [tally.within(budget) for budget in (0.1, 0.2, 0.5, 0.6)] == [0, 0.5, 0.5, 1]


def test_only_what_the_provider_said_of_every_call_is_a_sum() -> None:
    """A part would pass for the whole."""
    tally = Tally()
    tally.add("q", ["d"], answered(0, usage=Usage(cost=0.001, total_tokens=5)), 0.1)
    tally.add("q", ["d"], answered(0, usage=Usage(cost=0.002)), 0.1)
    assert tally.said("cost") == pytest.approx(0.003)
    assert tally.said("total_tokens") is None
    assert tally.said("search_units") is None


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
    found = read(FAQ)
    assert (len(found.corpus), len(found.queries)) == (178, 178)
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
        if grade == OWN and found.queries[query] in found.corpus[document]["text"]
    ]
    assert own == []


def test_the_shipped_collection_is_small_and_links_only_to_the_faq() -> None:
    """Each document says where it stands, and the folder is quickly cloned."""
    rows = (FAQ / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(path.stat().st_size for path in FAQ.rglob("*") if path.is_file()) < 300_000
    for row in rows:
        assert json.loads(row)["metadata"]["url"].startswith("https://docs.python.org/3.11/faq/")
