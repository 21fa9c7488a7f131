"""Documents of real data: one that cannot be sent spoils nothing, and none is lost silently."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode

import langchain_support
import llama_index_support
from calls import Calls, client_of
from cases import cases
from langchain_support import Tracer, Way
from llama_index_support import Rerank
from loopback import Reply, Server
from rerank_integrations import (
    InvalidRequestError,
    Local,
    RerankClient,
    RerankDocument,
    RerankError,
    Together,
    UnsupportedDocumentError,
)
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor
from support import PNG

pd: Any = pytest.importorskip("pandas")

QUERY = "a red bicycle"
BOOK = {"title": "Bicycles", "text": "about chains"}
LARGE = "x" * 400
BAD: dict[str, Any] = {
    "bytes in a field": {"title": b"x", "text": "a"},
    "an object without text": {"title": object()},
    "an image that is none": RerankDocument("a", image="thumbnail.png"),
    "an image of an unknown format": {"text": "a", "image": b"%PDF"},
    "an address with half of a surrogate pair": {"text": "a", "image": "https://a.ai/\ud800"},
    "a key without text": {"title": {object(): 1}},
    "a name without text": {object(): "a"},
    "no document": 7,
    "None": None,
    "NaN": np.nan,
    "larger than a request": LARGE,
}


def sent(server: Server) -> list[Any]:
    """The documents of all requests."""
    return [document for received in server.received for document in received.body["documents"]]


@cases(
    ("documents", "rank_fields", "fix"),
    [
        ([BOOK, BOOK], ["titel"], ["did you mean 'title'?", "title, text"]),
        ([BOOK], ["page_content"], ["title, text"]),
        (["a", "b"], ["title"], ["fields of the documents are: text"]),
        ([RerankDocument("a", fields={"year": 1})], ["yaer"], ["'year'", "text, year"]),
        ([{"a": {"b": "c"}}], ["a.x"], ["did you mean 'a.b'?"]),
        ([BOOK, "", {}], ["titel", "txt"], ["['titel', 'txt']"]),
        ([BOOK, RerankDocument("a", image=PNG)], ["titel"], ["did you mean 'title'?"]),
        ([{"image": None, "text": "a"}], ["image"], ["of the documents are: text"]),
    ],
)
@cases("gateway", ["openrouter", "together"])
def test_fields_that_no_document_has(
    *, call: Calls, server: Server, gateway: str, documents: Any, rank_fields: Any, fix: list[str]
) -> None:
    """rank_fields that no document has are an error that lists the fields there are."""
    with client_of(server, gateway) as client:
        for mode in ("raise", "skip", "text"):
            with pytest.raises(InvalidRequestError) as caught:
                call(client, QUERY, documents, rank_fields=rank_fields, on_invalid_document=mode)
            assert all(words in str(caught.value) for words in fix)
    assert not server.received


@cases(
    ("documents", "rank_fields", "wanted", "skipped", "warning"),
    [
        (
            ["a", BOOK, "b"],
            ["title"],
            ["Bicycles"],
            (0, 2),
            "skipped documents 0, 2: no field title",
        ),
        ([BOOK, {"title": ""}, {}], ["title"], ["Bicycles"], (1, 2), None),
        ([{"title": " "}, {"title": None}], ["title"], [], (0, 1), None),
        (["", " "], ["title"], [], (0, 1), None),
        (
            [BOOK, {"year": 1}],
            ["title", "text"],
            None,
            (1,),
            "skipped document 1: no field title, text",
        ),
        (
            [BOOK, RerankDocument("a", image=PNG)],
            ["title"],
            None,
            (),
            "document 1: no field title, ranked by the image",
        ),
        ([RerankDocument(image=PNG)], ["title"], None, (), None),
        ([BOOK], ["titel", "text"], ["about chains"], (), "'titel' of rank_fields; did you mean"),
        ([BOOK], ["text", "author"], ["about chains"], (), "no document has the field 'author'"),
        (["a", "b"], ["title", "text"], ["a", "b"], (), None),
    ],
)
def test_fields_that_some_documents_lack(
    *, call: Calls, server: Server, documents: Any, rank_fields: Any, wanted: Any, skipped: Any,
    warning: str | None,
) -> None:  # fmt: skip
    """A document without any of the fields is skipped with a warning, a blank one without."""
    with client_of(server) as client:
        response = call(client, QUERY, documents, rank_fields=rank_fields)
    assert response.skipped == skipped
    assert wanted is None or sent(server) == wanted
    assert len(response.warnings) == (warning is not None)
    assert all(warning in each for each in response.warnings if warning)


@cases("bad", BAD.values(), ids=BAD)
def test_an_invalid_document(call: Calls, server: Server, bad: object) -> None:
    """An invalid document fails the call by its index, or is skipped with a warning."""
    documents = ["a red car", bad, "a red bicycle"]
    with client_of(server, max_request_bytes=300) as client:
        with pytest.raises(UnsupportedDocumentError, match=r"^document 1: ") as caught:
            call(client, QUERY, documents)
        assert caught.value.index == 1
        assert not server.received

        response = call(client, QUERY, documents, on_invalid_document="skip")
        assert response.skipped == (1,)
        assert [result.index for result in response] == [2, 0]
        assert response.warnings[0].startswith("skipped document 1: ")
        assert sent(server) == ["a red car", "a red bicycle"]

        with pytest.raises(UnsupportedDocumentError, match=r"^document 0: "):
            call(client, QUERY, [bad, bad, ""], on_invalid_document="skip")


def test_an_invalid_image_beside_text(call: Calls, server: Server) -> None:
    """on_invalid_document="text" leaves an image out; without a text the document is skipped."""
    documents = [
        RerankDocument("a red bicycle", image="a.png"),
        RerankDocument(image="b.png"),
        {"text": "a car", "image": 7},
        {"title": b"x", "image": PNG},
    ]
    with client_of(server) as client:
        response = call(client, QUERY, documents, on_invalid_document="text")
    assert sent(server) == ["a red bicycle", "a car"]
    assert response.skipped == (1, 3)
    assert [result.document for result in response] == [documents[0], documents[2]]
    told = "\n".join(response.warnings)
    assert "skipped document 1: an image is" in told
    assert "skipped document 3: field 'title' holds bytes" in told
    assert "the images of document 0 were left out: " in told


@cases(
    ("given", "ends"),
    [
        ({}, UnsupportedDocumentError),
        ({"on_invalid_document": "raise"}, UnsupportedDocumentError),
        ({"on_image": "raise", "on_invalid_document": "text"}, UnsupportedDocumentError),
        ({"on_image": "raise", "on_invalid_document": "skip"}, (1,)),
        ({"on_invalid_document": "skip"}, (1,)),
        ({"on_invalid_document": "text"}, ()),
        ({"on_image": "text"}, ()),
        ({"on_image": "text", "on_invalid_document": "skip"}, ()),
    ],
)
def test_an_image_for_a_model_of_texts(
    call: Calls, server: Server, given: dict[str, Any], ends: Any
) -> None:
    """on_image decides about an image that a provider takes none of, else on_invalid_document."""
    documents = ["a", RerankDocument("b", image=PNG)]
    with client_of(server, "together", **given) as client:
        if ends is UnsupportedDocumentError:
            with pytest.raises(UnsupportedDocumentError, match=r"^document 1: .*takes text only"):
                call(client, QUERY, documents)
            return
        response = call(client, QUERY, documents)
        assert response.skipped == ends
        assert len(response.warnings) == 1
        if given == {"on_invalid_document": "text"}:  # an image alone leaves nothing to rank
            assert call(client, QUERY, ["a", RerankDocument(image=PNG)]).skipped == (1,)
            with pytest.raises(UnsupportedDocumentError, match="no other document can be sent"):
                call(client, QUERY, [RerankDocument(image=PNG)])


def test_a_fallback_skips_too(call: Calls, server: Server) -> None:
    """What is skipped for a provider is skipped for its fallbacks, with the same indexes."""
    server.plays(Reply(status=402))
    with client_of(server, fallbacks=["local:bm25"], on_invalid_document="skip") as client:
        response = call(client, QUERY, [{"text": b"x"}, "a red bicycle", ""])
    assert response.provider == "local"
    assert response.skipped == (0, 2)
    assert response[0].index == 1


@cases(
    ("document", "rank_fields", "expected"),
    [
        ("a red bicycle", None, "a red"),
        ({"text": "a red bicycle"}, None, "a red"),
        ({"title": "a red bicycle", "year": 1999}, ["title", "year"], "title: a"),
        (RerankDocument("a red bicycle", image=PNG), None, "a red"),
    ],
)
def test_long_texts_are_cut(
    call: Calls, server: Server, document: Any, rank_fields: Any, expected: str
) -> None:
    """max_document_chars cuts what is sent at a word boundary, with a warning, and no result."""
    with client_of(server, max_document_chars=10, rank_fields=rank_fields) as client:
        response = call(client, QUERY, [{"title": "a"}, document, document])
        whole = call(client, QUERY, [document], max_document_chars=None)
    last = server.received[0].body["documents"][1]
    assert (last["text"] if isinstance(last, dict) else last) == expected
    assert response.results[-1].document in (document, {"title": "a"})
    assert response.warnings == ("the texts of documents 1, 2 were cut to max_document_chars=10",)
    assert whole.warnings == ()


def test_long_fields_are_cut(call: Calls, server: Server) -> None:
    """Where the server ranks fields, all of them together are cut, and no number is."""
    provider = Together(api_key="k", base_url=server.url, native_rank_fields=True)
    document = {"year": 1999, "title": "a red bicycle", "text": "more", "tags": ["x", "y"]}
    with RerankClient("m", provider=provider, max_document_chars=10) as client:
        response = call(client, QUERY, [document, {"title": "short", "number": 123456}])
    assert sent(server) == [{"year": 1999, "title": "a red"}, {"title": "short"}]
    assert response.warnings == ("the texts of documents 0, 1 were cut to max_document_chars=10",)
    assert response[0].index in (0, 1)


def test_many_indexes_are_not_all_listed(call: Calls, server: Server) -> None:
    """A warning lists ten indexes and counts the rest."""
    with client_of(server, on_invalid_document="skip") as client:
        response = call(client, QUERY, [*[{"text": b"x"}] * 1000, "a"])
    assert "skipped documents 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 990 more: " in response.warnings[0]
    assert len(response.skipped) == 1000


def test_many_reasons_are_not_all_listed() -> None:
    """Ten reasons are listed, for each may name another number; their words are bounded."""

    class Bad:
        def __str__(self) -> str:
            raise ValueError("x" * 5000)

    images = [{"text": "a", "image": PNG + b"0" * size} for size in range(100)]
    local = Local(scorer=lambda query, texts: [1.0] * len(texts), sees_images=True)
    client = RerankClient("m", provider=local, on_invalid_document="skip", max_image_bytes=1)
    response = client.rerank(QUERY, [*images, "a car", {"text": Bad()}])
    assert len(response.skipped) == 101
    assert len(response.warnings) == 11
    assert "and 81 more: for similar or other reasons" in response.warnings[-1]
    [warning] = client.rerank(QUERY, ["a car", {"text": Bad()}]).warnings
    assert len(warning) < 400


def test_a_missing_image() -> None:
    """NaN and NaT, as in a row of pandas, are no image."""
    documents = [{"text": "a car", "image": missing} for missing in (math.nan, pd.NaT, None)]
    response = RerankClient("local:bm25").rerank(QUERY, documents)
    assert (len(response), response.warnings) == (3, ())


def test_surrogates_in_names_and_in_pairs(server: Server) -> None:
    """The name of a field is cleaned too; a whole pair is a character, and needs no warning."""
    provider = Together(api_key="k", base_url=server.url, native_rank_fields=True)
    with RerankClient("m", provider=provider) as client:
        named = client.rerank(QUERY, [{"ti\ud800tle": "a"}, {"title": "b"}])
        paired = client.rerank(QUERY, [{"title": "\ud83d\ude00"}])
    assert server.received[0].body["rank_fields"] == ["ti\ufffdtle", "title"]
    assert sent(server) == [{"ti\ufffdtle": "a"}, {"title": "b"}, {"title": "\N{GRINNING FACE}"}]
    assert (len(named.warnings), paired.warnings) == (1, ())


# --- in the frameworks

TEXTS = ["a blue car", "a red bicycle", "a van"]
GOOD = [Document(text, id=text) for text in TEXTS]
THUMBNAIL = Document("a red van", id="bad", metadata={"image": "thumbnail.png"})
IMAGE_ALONE = Document("", id="alone", metadata={"image": "thumbnail.png"})


def nodes(*documents: Document) -> list[NodeWithScore]:
    """The documents as nodes with falling scores; an image is a local file."""
    made = [
        ImageNode(id_=one.id, text=one.page_content, image_path=one.metadata["image"])
        if one.metadata
        else TextNode(id_=one.id, text=one.page_content)
        for one in documents
    ]
    return [NodeWithScore(node=node, score=1 / (i + 1)) for i, node in enumerate(made)]


@cases("given", [lambda c: c, lambda c: c.with_options(max_retries=1)], ids=["plain", "copy"])
def test_one_retrieved_document_cannot_stop_langchain(
    way: Way,
    server: Server,
    caplog: pytest.LogCaptureFixture,
    given: Callable[[RerankClient], RerankClient],
) -> None:
    """An image in metadata that cannot be sent is dropped, and its document ranked by its text."""
    tracer = Tracer()
    with client_of(server) as client:
        kept = way.compress(
            RerankCompressor(client=given(client)),
            [*GOOD, THUMBNAIL, IMAGE_ALONE],
            QUERY,
            callbacks=[tracer],
        )
    assert langchain_support.ids(kept) == ["a red bicycle", "a blue car", "a van", "bad"]
    warnings = (tracer.run().extra or {})["metadata"]["rerank"]["warnings"]
    assert "the images of document 3 were left out" in warnings[1]
    assert "skipped document 4: an image is" in warnings[0]
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "; ".join(warnings)
    ]


def test_one_retrieved_node_cannot_stop_llama_index(
    *, rerank: Rerank, server: Server, heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A node's image that cannot be sent is dropped, and the node ranked by its text."""
    with client_of(server) as client:
        kept = rerank(
            RerankPostprocessor(client=client), nodes(*GOOD, THUMBNAIL, IMAGE_ALONE), QUERY
        )
    assert llama_index_support.ids(kept) == ["a red bicycle", "a blue car", "a van", "bad"]
    warnings = heard[-1].tags["rerank_warnings"]
    assert "allow_local_images" in warnings[1]
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "; ".join(warnings)
    ]


@cases(
    ("of_client", "of_adapter", "words"),
    [
        ("raise", None, "document 3 ({name} {id}): an image is"),
        (None, "raise", "document 3 ({name} {id}): an image is"),
        ("text", "raise", "document 3 ({name} {id}): an image is"),
        ("raise", "skip", None),
        ("skip", None, None),
    ],
)
def test_adapters_do_what_was_given(
    *, way: Way, server: Server, of_client: Any, of_adapter: Any, words: str | None
) -> None:
    """on_invalid_document of the adapter counts, else that of its client; errors name the id."""
    own = {} if of_client is None else {"on_invalid_document": of_client}
    given = {} if of_adapter is None else {"on_invalid_document": of_adapter}
    documents = [*GOOD, THUMBNAIL]
    with client_of(server, **own) as client:
        compressor = RerankCompressor(client=client, **given)
        postprocessor = RerankPostprocessor(client=client, allow_local_images=True, **given)
        if words is None:
            assert len(way.compress(compressor, documents, QUERY)) == 3
            assert len(postprocessor.postprocess_nodes(nodes(*documents), query_str=QUERY)) == 3
            return
        with pytest.raises(UnsupportedDocumentError) as caught:
            way.compress(compressor, documents, QUERY)
        assert words.format(name="id", id="'bad'") in str(caught.value)
        with pytest.raises(
            UnsupportedDocumentError, match=r"^document 3 \(node bad\): cannot read"
        ):
            postprocessor.postprocess_nodes(nodes(*documents), query_str=QUERY)


@cases(
    "settings", [{"model": "local:bm25"}, {"model": "local:bm25", "on_invalid_document": "skip"}]
)
def test_nothing_left_is_an_error_of_adapters(
    way: Way, rerank: Rerank, settings: dict[str, Any]
) -> None:
    """Where all documents would be skipped the call fails, and passthrough covers that."""
    settings = {"model": "local:bm25", **settings}
    documents = [IMAGE_ALONE, Document("", id="blank")]
    with pytest.raises(UnsupportedDocumentError, match="takes text only"):
        way.compress(RerankCompressor(**settings), documents, QUERY)
    with pytest.raises(UnsupportedDocumentError, match="takes text only"):
        rerank(RerankPostprocessor(**settings), nodes(*documents), QUERY)
    passing = {**settings, "on_error": "passthrough"}
    assert way.compress(RerankCompressor(**passing), documents, QUERY) == [IMAGE_ALONE]
    kept = rerank(RerankPostprocessor(**passing), nodes(*documents), QUERY)
    assert llama_index_support.ids(kept) == ["alone"]


@cases(
    "settings",
    [
        {"rank_fields": ["titel"]},
        {"on_invalid_document": "raise", "rank_fields": ["title"]},
        {"on_invalid_document": "raise", "max_request_bytes": 50, "rank_fields": ["text"]},
    ],
)
def test_passthrough_covers_faults_of_documents(
    way: Way, server: Server, settings: dict[str, Any]
) -> None:
    """on_error="passthrough" covers faults of the documents; blank ones take no place."""
    documents = [
        Document(" ", id="blank", metadata={}),
        Document("a", id="a", metadata={"title": b"x"}),
        Document("b", id="b", metadata={"title": "y"}),
        Document("c", id="c", metadata={"title": "z"}),
    ]
    with client_of(server) as client:
        with pytest.raises(InvalidRequestError):
            way.compress(RerankCompressor(client=client, **settings), documents, QUERY)
        passing = {**settings, "on_error": "passthrough", "top_n": 2}
        kept = way.compress(RerankCompressor(client=client, **passing), documents, QUERY)
        assert kept == documents[1:3]
    assert not server.received


def test_passthrough_keeps_what_a_success_keeps(
    way: Way, rerank: Rerank, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Blank and invalid documents take no place of top_n; a 401 is logged as an error."""
    server.plays(Reply(status=401))
    documents = [Document("", id="blank"), IMAGE_ALONE, *GOOD]
    with client_of(server) as client:
        given: dict[str, Any] = {"client": client, "on_error": "passthrough", "top_n": 2}
        kept = way.compress(RerankCompressor(**given), documents, QUERY)
        assert langchain_support.ids(kept) == ["a blue car", "a red bicycle"]
        found = rerank(
            RerankPostprocessor(**given, keep_retrieval_score=True), nodes(*documents), QUERY
        )
    assert llama_index_support.ids(found) == ["a blue car", "a red bicycle"]
    assert [one.score for one in found] == [1 / 3, 1 / 4]
    assert [one.node.metadata["retrieval_score"] for one in found] == [1 / 3, 1 / 4]
    assert {record.levelname for record in caplog.records if record.levelno >= 30} == {"ERROR"}


@cases(
    ("rank_fields", "expected"),
    [
        (["page_content"], TEXTS),
        (
            ["title", "page_content"],
            [f"title: t\npage_content: {one.page_content}" for one in GOOD],
        ),
        (["text"], TEXTS),
    ],
)
def test_page_content_is_the_text_of_langchain(
    way: Way, server: Server, rank_fields: list[str], expected: list[str]
) -> None:
    """In LangChain "page_content" is another name for a document's own text."""
    documents = [one.model_copy(update={"metadata": {"title": "t"}}) for one in GOOD]
    with client_of(server, rank_fields=rank_fields) as client:
        way.compress(RerankCompressor(client=client), documents, QUERY)
    assert sent(server) == expected


def test_page_content_of_a_string(server: Server) -> None:
    """The same for the strings that `rerank` takes."""
    with client_of(server, rank_fields=["page_content"]) as client:
        documents: list[Any] = ["a", Document("b")]
        response = RerankCompressor(client=client).rerank(documents, QUERY)
    assert (sent(server), response.skipped) == (["a", "b"], ())


def test_passthrough_leaves_out_what_has_no_ranked_text() -> None:
    """A document without the ranked fields takes no place, if another one cannot be sent."""
    documents = [
        Document("a", id="a", metadata={"title": b"x"}),
        Document("", id="blank", metadata={"year": 1}),
        Document("b", id="b", metadata={"title": "y"}),
    ]
    given: dict[str, Any] = {"on_error": "passthrough", "on_invalid_document": "raise", "top_n": 2}
    compressor = RerankCompressor("local:bm25", rank_fields=["title", "text"], **given)
    kept = compressor.compress_documents(documents, QUERY)
    assert [one.id for one in kept] == ["a", "b"]


def test_a_misspelt_field_of_an_adapter(way: Way, rerank: Rerank, server: Server) -> None:
    """A field that no metadata has is an error, not an empty context."""
    documents = [one.model_copy(update={"metadata": {"title": "t"}}) for one in GOOD]
    with client_of(server) as client:
        with pytest.raises(InvalidRequestError, match="'title'"):
            way.compress(RerankCompressor(client=client, rank_fields=["titel"]), documents, QUERY)
        with pytest.raises(RerankError, match="fields of the documents are: text"):
            rerank(RerankPostprocessor(client=client, rank_fields=["titel"]), nodes(*GOOD), QUERY)
    assert not server.received
