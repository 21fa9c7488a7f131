"""What an evaluation reads: folders, retrievers, labels from a spreadsheet."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from llama_index.core.schema import NodeWithScore, TextNode

from cases import cases
from evaluation_support import dataset, folder, model, right
from rerank_integrations import ConfigurationError, InvalidRequestError, RerankDocument
from rerank_integrations.evaluation import Dataset, evaluate, read_labels, sample

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63"
    "f8cfc0f01f0005000201ff9bd1a0d00000000049454e44ae426082"
)


def test_a_folder_is_read(tmp_path: Path) -> None:
    """Title and text are one text, an absent title is nothing, and BM25 finds the candidates."""
    found = Dataset.read(folder(tmp_path / "mine"))

    assert found.documents == {"a": RerankDocument(text="T\nred car"), "b": RerankDocument("sea")}
    assert found.queries == {"1": "red", "2": "blue sea"}
    assert found.judgments == {"1": {"a": 2, "b": 0}, "2": {"b": 1}}
    assert found.candidates == {"1": ["a"], "2": ["b"]}  # what shares no word is not found
    assert found.retrieval_scores["1"]["a"] > 0
    assert (found.name, found.first_stage, found.problems) == ("mine", "BM25", ())


def test_stored_candidates_come_with_their_scores(tmp_path: Path) -> None:
    """They take the place of BM25, and a document brings its score to the reranker."""
    stored = '{"query_id": "1", "doc_ids": ["b", "a"], "scores": [2.5, 1]}\n'
    stored += '{"query_id": "2", "doc_ids": ["b"]}\n'
    found = Dataset.read(folder(tmp_path, **{"candidates.jsonl": stored}))

    assert found.candidates == {"1": ["b", "a"], "2": ["b"]}
    assert [one.retrieval_score for one in found.inputs("1", 1)] == [2.5]  # type: ignore[union-attr]
    assert found.inputs("2", 5) == [RerankDocument("sea")]
    assert found.first_stage == "candidates.jsonl"


def test_windows_files_and_another_split(tmp_path: Path) -> None:
    """A byte order mark, carriage returns and a missing heading are nothing; a split has a name."""
    plain = Dataset.read(folder(tmp_path))
    rows = "1\ta\t2\r\n1\tb\t0\r\n2\tb\t1\r\n"
    (tmp_path / "qrels" / "test.tsv").write_bytes(rows.encode())
    text = (tmp_path / "queries.jsonl").read_text(encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text(text, encoding="utf-8-sig")
    (tmp_path / "qrels" / "dev.tsv").write_text("2\tb\t3\n", encoding="utf-8")

    assert Dataset.read(tmp_path) == plain
    assert Dataset.read(tmp_path, split="dev").judgments == {"2": {"b": 3}}


@cases(
    ("qrels", "judgments"),
    [
        ("1 0 a 2\n1 0 b 0\n2 0 b 1\n", {"1": {"a": 2, "b": 0}, "2": {"b": 1}}),
        ("1\tQ0\ta\t2\r\n2   0  b\t1\r\n", {"1": {"a": 2}, "2": {"b": 1}}),
        ("1 0 a -2\n2 0 b 1\n", {"1": {"a": 0}, "2": {"b": 1}}),
        ("query-id\tcorpus-id\tscore\n1 0\ta b\t1\n", {"1 0": {"a b": 1}}),  # ids with spaces
    ],
)
def test_judgments_in_the_form_of_trec_are_read(
    tmp_path: Path, qrels: str, judgments: dict[str, dict[str, int]]
) -> None:
    """Four words are query, iteration, document and grade; three cells are those of BEIR."""
    corpus = "".join(f'{{"_id": "{name}", "text": "x"}}\n' for name in ("a", "b", "a b"))
    queries = "".join(f'{{"_id": "{name}", "text": "x"}}\n' for name in ("1", "2", "1 0"))
    files = {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels/test.tsv": qrels}

    assert Dataset.read(folder(tmp_path, **files)).judgments == judgments


def test_packed_files_are_read(tmp_path: Path) -> None:
    """As collections are handed out: each file may end in `.gz`; a broken one is told."""
    lists = '{"query_id":"1","doc_ids":["b","a"]}'
    plain = Dataset.read(folder(tmp_path, **{"candidates.jsonl": lists}))
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "candidates.jsonl"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        (tmp_path / name).unlink()

    assert Dataset.read(tmp_path) == Dataset.read(tmp_path, split="test") == plain
    for broken in (b"no", gzip.compress(b"{}" * 99)[:-9]):
        (tmp_path / "corpus.jsonl.gz").write_bytes(broken)
        with pytest.raises(ConfigurationError, match=r"cannot unpack .*corpus\.jsonl\.gz"):
            Dataset.read(tmp_path)


@cases(
    ("changed", "problem"),
    [
        (
            {"corpus.jsonl": '{"_id": "a"}\n{"_id": "b", "text": "sea"}\n[]\n{\n'},
            "2 lines have no JSON object",
        ),
        (
            {"corpus.jsonl": '{"_id":"a","text":"1"}\n' * 2 + '{"_id":"b","text":"2"}'},
            "1 documents have an id that was there before; left out (a)",
        ),
        (
            {"queries.jsonl": '{"_id": 1, "text": " "}\n{"_id": "2", "text": "x"}'},
            "1 queries are empty; left out (1)",
        ),
        (
            {
                "queries.jsonl": (
                    '{"_id":"1","text":"y"}\n{"_id":"2","text":"x"}\n{"_id":"3","text":"z"}'
                )
            },
            "1 queries have no judgments; left out (3)",
        ),
        (
            {"qrels/test.tsv": "1\ta\t1\n9\ta\t1\n2\tb\t1"},
            "1 judged queries are not among the queries; left out (9)",
        ),
        (
            {"qrels/test.tsv": "1\ta\t1\n2\tz\t1\n2\tb\t1"},
            "1 judgments are of documents that are not in the corpus; left out (2 z)",
        ),
        (
            {"qrels/test.tsv": "1\ta\t1\n2\tb\thigh\n2\tb\t1"},
            (
                "1 lines of qrels are neither query-id, corpus-id and a whole number, separated "
                "by tabs, nor TREC's query, iteration, document and a whole number; left out "
                "(test.tsv, line 2)"
            ),
        ),
        (
            {"qrels/test.tsv": "1 0 a 1\n1 a 2\n2 0 b 1"},  # two forms, and neither of them
            "1 lines of qrels are neither query-id, corpus-id and a whole number, separated by",
        ),
        (
            {"qrels/test.tsv": "1\ta\t1\n1\ta\t2\n2\tb\t1"},
            "1 judgments are there twice; the last one counts (1 a)",
        ),
        (
            {"qrels/test.tsv": "1\ta\t1\n1\tb\t-1\n2\tb\t1"},
            "1 grades are below 0; taken as 0 (1 b)",
        ),
        (
            {
                "candidates.jsonl": (
                    '{"query_id":"1","doc_ids":["a","a"]}\n{"query_id":"2","doc_ids":["b"]}'
                )
            },
            "1 candidates are twice in the list of a query; the first one is kept (1 a)",
        ),
        (
            {
                "candidates.jsonl": (
                    '{"query_id":"1","doc_ids":["a","y"]}\n{"query_id":"2","doc_ids":["b"]}'
                )
            },
            "1 candidates are not in the corpus; left out (1 y)",
        ),
        (
            {"candidates.jsonl": '{"query_id":"1","doc_ids":["a"]}\nx'},
            "1 queries have no list of candidates (2)",
        ),
        (
            {
                "candidates.jsonl": (
                    '{"query_id":"1","doc_ids":["a"],"scores":[]}\n'
                    '{"query_id":"2","doc_ids":["b"],"scores":[1,2]}'
                )
            },
            (
                "1 lines of candidates.jsonl are not query_id, doc_ids and scores; left out "
                "(candidates.jsonl, line 2)"
            ),
        ),
        (
            {"qrels/test.tsv": "1\ta\t99999999999\n1\tb\t1e30\n2\tb\t1"},
            "2 grades are above 1,000,000; left out (1 a, 1 b)",
        ),
        (
            {"corpus.jsonl": '{"_id":"a","image":"../x.png"}\n{"_id":"b","text":"sea"}'},
            "1 images are outside of the folder; left out (corpus.jsonl, line 1)",
        ),
        (
            {"corpus.jsonl": '{"_id":"a","image":"x.png"}\n{"_id":"b","text":"sea"}'},
            "1 images cannot be read; left out (corpus.jsonl, line 1)",
        ),
    ],
)
def test_what_is_wrong_is_counted_and_listed(
    tmp_path: Path, changed: dict[str, str], problem: str
) -> None:
    """Bad input is left out, or corrected, and said; it ends nothing."""
    found = Dataset.read(folder(tmp_path, **changed))

    assert any(str(one).startswith(problem) for one in found.problems), found.problems
    assert found.judgments["2"]["b"] == 1
    assert found.checked() == found  # and it is said once
    assert evaluate(found, [model(right)], curve=False).problems == found.problems


@cases(
    ("changed", "given", "told"),
    [
        ({"corpus.jsonl": None}, {}, r"corpus.jsonl is not there; choose a folder with corpus"),
        ({"corpus.jsonl": "\n"}, {}, r'corpus.jsonl: no line has a JSON object with an "_id"'),
        ({}, {"split": "dev"}, r"dev.tsv is not there; pass split= one of test"),
        (
            {"qrels/test.tsv": None, "qrels/a.tsv": "", "qrels/b.tsv": ""},
            {},
            r"pass split= one of a, b",
        ),
        ({}, {"labels": "none.csv"}, r"cannot read 'none.csv'"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_cure(
    tmp_path: Path, changed: dict[str, str | None], given: dict[str, str], told: str
) -> None:
    """The message names the file and what to do."""
    with pytest.raises(ConfigurationError, match=told):
        Dataset.read(folder(tmp_path, **changed), **given)  # type: ignore[arg-type]


def test_images_are_read_from_the_folder(tmp_path: Path) -> None:
    """A path inside of the folder is read; addresses and data URIs stay as they are."""
    rows = [
        {"_id": "a", "text": "t", "image": "pages/1.png"},
        {"_id": "b", "image": "https://e.org/1"},
    ]
    corpus = "\n".join(map(json.dumps, rows))
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "1.png").write_bytes(PNG)
    found = Dataset.read(folder(tmp_path, **{"corpus.jsonl": corpus})).documents

    assert found["a"] == RerankDocument(text="t", image=PNG)
    assert found["b"] == RerankDocument(image="https://e.org/1")


def test_a_retriever_gives_the_candidates() -> None:
    """Of LangChain, of LlamaIndex, or a function; ids are theirs, or in their metadata."""
    texts = {"a": "red car", "b": "sea"}
    queries, judgments = {"1": "red", "2": " "}, {"1": {"b": 1, "elsewhere": 1}, "2": {"a": 1}}

    def documents(_: str) -> list[Document]:
        return [
            Document(text, id=name, metadata={"key": f"m{name}"}) for name, text in texts.items()
        ]

    class Nodes:
        def retrieve(self, _: str) -> list[NodeWithScore]:
            return [
                NodeWithScore(node=TextNode(id_=name, text=text), score=0.5)
                for name, text in texts.items()
            ]

    for retriever in (documents, RunnableLambda(documents), Nodes()):
        found = Dataset.from_retriever(retriever, queries, judgments)
        assert found.candidates == {"1": ["a", "b"]}
        assert found.documents == {name: RerankDocument(text) for name, text in texts.items()}
        assert found.judgments == {"1": {"b": 1, "elsewhere": 1}}  # what it did not find counts
        assert [str(one) for one in found.problems] == ["1 queries are empty; left out (2)"]
    assert found.retrieval_scores == {"1": {"a": 0.5, "b": 0.5}}
    for id_of in ("key", lambda document: document.metadata["key"]):
        keyed = Dataset.from_retriever(documents, queries, {"1": {"mb": 1}}, id_of=id_of)
        assert keyed.candidates == {"1": ["ma", "mb"]}
    numbers: list[Any] = [({1: "x"}, {}), ({"1": "x"}, {"1": {7: 1}})]
    for asked, judged in numbers:
        with pytest.raises(ConfigurationError, match=r"ids must be str, not [17]"):
            Dataset.from_retriever(lambda _: [], asked, judged)
    with pytest.raises(ConfigurationError, match="a Document of the retriever has no id"):
        Dataset.from_retriever(lambda _: [Document("x")], queries, judgments)
    a_list: Any = ["x"]
    with pytest.raises(ConfigurationError, match="queries must be a mapping of ids to texts"):
        Dataset.from_retriever(documents, a_list, judgments)
    a_set: Any = {"1": {"b"}}
    with pytest.raises(ConfigurationError, match=r"of query '1' must be a mapping .*, not set"):
        Dataset.from_retriever(documents, queries, a_set)
    grades: Any = {"1": {"a": 0.9, "b": 1.0, "c": "2", "d": float("nan"), "e": True}}
    graded = Dataset.from_retriever(documents, queries, grades)
    assert graded.judgments == {"1": {"b": 1, "e": 1}}
    told = "3 grades are not whole numbers; left out (1 a: 0.9, 1 c: '2', 1 d: nan)"
    assert told in map(str, graded.problems)


def test_labels_make_the_round_trip(tmp_path: Path) -> None:
    """What a person fills in is read back for the very ids, and no cell is a formula."""
    ids = ["007", "1-2", "=1+1", "'x", "mar1", "12", "1e5", "plain", "a;=1;'b", "\uff1d1"]
    corpus = "\n".join(
        json.dumps({"_id": one, "text": f"=cmd|{one}\n red; b; -1;\uff20x"}) for one in ids
    )
    folder(tmp_path, **{"corpus.jsonl": corpus, "qrels/test.tsv": None})
    path = tmp_path / "labels.csv"
    count = sample(tmp_path, 1, path, depth=10)
    with path.open(encoding="utf-8-sig", newline="") as file:
        heading, *rows = csv.reader(file)

    assert count == len(rows) == 10
    # where ";" separates, a cell begins after it
    cells = [own.strip() for row in rows for cell in row for own in (cell, *cell.split(";"))]
    assert not any(cell.startswith(tuple("=+-@\t\uff1d\uff20")) for cell in cells)
    assert all("red; b;' -1;'\uff20x" in row[3] for row in rows)
    assert {row[2] for row in rows} == {
        "'007",
        "'1-2",
        "'=1+1",
        "''x",
        "'mar1",
        "12",
        "'1e5",
        "plain",
        "'a;'=1;''b",
        "'\uff1d1",
    }
    for number, row in enumerate(rows):
        row[4] = str(number % 2) if number else ""
    # as a spreadsheet of another country saves it
    lines = [";".join(f'"{cell}"' for cell in row) for row in [heading, *rows]]
    path.write_text("\n".join(lines), encoding="utf-8")
    labels = read_labels(path)
    path.write_text("\r\n".join("\t".join(row) for row in [heading, *rows]), encoding="utf-16")
    assert read_labels(path) == labels
    path.write_bytes("\n".join(lines).encode("cp1252", "replace"))
    assert set(read_labels(path)["1"]) - {"?1"} == set(labels["1"]) - {"\uff1d1"}
    path.write_text("\n".join(lines), encoding="utf-8")
    found = Dataset.read(tmp_path, labels=path)

    assert found.judgments == labels
    assert len(labels["1"]) == 9
    assert set(labels["1"]) < set(ids)


def test_a_sample_has_what_models_find_and_hides_the_order(tmp_path: Path) -> None:
    """The first of each ranking are drawn, in random order, and the same each time."""
    path = tmp_path / "labels.csv"
    data = dataset(4, size=6, relevant_at=6, judgments={})
    assert sample(data, 2, path, depth=2) == 4
    assert sample(data, 9, path, depth=2, models=[model(right)], overwrite=True) == 4 * 3
    text = path.read_text(encoding="utf-8-sig")
    assert "q0 6 good" in text
    sample(data, 9, path, depth=2, models=[model(right)], overwrite=True)
    assert path.read_text(encoding="utf-8-sig") == text
    order = [line.partition(",")[0] + line.rsplit(",", 2)[1] for line in text.splitlines()[1:]]
    drawn = [[one for one in order if one.startswith(f"q{number}")] for number in range(4)]
    assert any(own != sorted(own) for own in drawn)
    with pytest.raises(ConfigurationError, match="is there, perhaps with grades in it"):
        sample(data, 9, path)
    with pytest.raises(InvalidRequestError, match="n must be an int of at least 1"):
        sample(data, 0, path)


@cases(
    ("content", "told"),
    [
        ("a,b\n1,2\n", "has no column document_id, grade, query_id"),
        (
            "query_id,document_id,grade\n1,a,yes\n",
            "1 grades are not whole numbers; left out \\(line 2: yes\\)",
        ),
    ],
)
def test_wrong_labels_are_told(tmp_path: Path, content: str, told: str) -> None:
    """A table of another kind, or a grade that is no number, is an error with its line."""
    (tmp_path / "labels.csv").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=told):
        read_labels(tmp_path / "labels.csv")
