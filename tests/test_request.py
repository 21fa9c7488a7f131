"""Tests of requests: the bytes that each provider is sent for a call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cases import cases
from rerank_integrations import __version__
from rerank_integrations.errors import InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.images import wire_image
from rerank_integrations.models import RerankDocument
from rerank_integrations.providers.base import Provider
from rerank_integrations.providers.local import Local, bm25
from support import (
    DATA_URI,
    KEY,
    PNG,
    body_of,
    call,
    content_of,
    is_hidden,
    local_variables,
    openrouter,
    options,
    planned,
    portkey,
    request_of,
    together,
)

URL = "https://example.com/cat.png"
LLAMA_RANK = "Salesforce/Llama-Rank-V1"
PINECONE = "@pinecone/bge-reranker-v2-m3"  # ranks one field
PINECONE_COHERE = "@pinecone/cohere-rerank-3.5"  # ranks any number of fields
LLAMA = {"title": "Llama", "text": "A camelid."}
PANDA = {"title": "Panda", "text": "A bear."}


def test_exact_bytes() -> None:
    """A body is compact UTF-8 with the common keys in a fixed order."""
    documents = ["Paris is the capital of France.", "La vicuña «vive» en Perú."]
    given = options(openrouter(), model="cohere/rerank-v3.5", top_n=1)
    prepared = planned(given, "What is the capital of France?", documents)
    assert (
        content_of(request_of(prepared))
        == (
            '{"model":"cohere/rerank-v3.5","query":"What is the capital of France?",'
            '"documents":["Paris is the capital of France.","La vicuña «vive» en Perú."],"top_n":1}'
        ).encode()
    )


def test_common_headers() -> None:
    """A request asks for JSON, sends JSON and says what sends it."""
    headers = request_of(call("a")).headers.get_secret_value()
    assert headers == {
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "content-type": "application/json",
        "user-agent": f"rerank-integrations/{__version__}",
        "authorization": f"Bearer {KEY}",
    }


@cases(
    ("provider", "url"),
    [
        (openrouter, "https://openrouter.ai/api/v1/rerank"),
        (together, "https://api.together.ai/v1/rerank"),
        (portkey, "https://api.portkey.ai/v1/rerank"),
    ],
)
def test_address(provider: Callable[[], Provider], url: str) -> None:
    """A request goes to the rerank endpoint of the provider."""
    assert request_of(call("a", provider=provider())).url == url


def test_absent_keys() -> None:
    """What nobody set is not in the body, not even as null."""
    assert body_of(call("a")) == {"model": "some/model", "query": "a query", "documents": ["a"]}


@cases(("top_n", "expected"), [(1, 1), (2, 2), (3, 2), (99, 2)])
def test_top_n(top_n: int, expected: int) -> None:
    """top_n never exceeds the number of documents that are sent."""
    assert body_of(call("a", " ", "b", top_n=top_n))["top_n"] == expected


def test_together_example() -> None:
    """Together's own example goes out as its documentation has it."""
    provider = together(return_documents=True)
    given = options(provider, model=LLAMA_RANK, top_n=2, rank_fields=["title", "text"])
    prepared = planned(given, "What animals can I find near Peru?", [LLAMA, PANDA])
    assert body_of(prepared) == {
        "model": LLAMA_RANK,
        "query": "What animals can I find near Peru?",
        "documents": [LLAMA, PANDA],
        "top_n": 2,
        "rank_fields": ["title", "text"],
        "return_documents": True,
    }


@cases(
    ("document", "expected"),
    [
        ("a cat", "a cat"),
        (" a cat\n", " a cat\n"),
        (LLAMA, "title: Llama\ntext: A camelid."),
        ({"text": "a cat"}, "a cat"),
        ({"image": URL}, {"image": URL}),
        ({"image": URL, "text": " "}, {"image": URL}),
        ({"image": URL, "text": "a cat"}, {"text": "a cat", "image": URL}),
        (
            {"image": URL, "title": "Cat", "text": "a cat"},
            {"text": "title: Cat\ntext: a cat", "image": URL},
        ),
        (RerankDocument(text="a cat"), "a cat"),
        (RerankDocument(fields={"title": "Cat"}), "Cat"),
        (RerankDocument(text="cat", image=DATA_URI), {"text": "cat", "image": DATA_URI}),
        (RerankDocument(image=PNG), {"image": wire_image(PNG).uri()}),
        ({"image": PNG, "text": None}, {"image": wire_image(PNG).uri()}),
        ({"image": None, "text": "a cat"}, "a cat"),
    ],
)
def test_document_with_images(document: object, expected: object) -> None:
    """OpenRouter is sent texts as strings and images as objects."""
    assert body_of(call(document, provider=openrouter()))["documents"] == [expected]


def test_text_and_image_documents_mix() -> None:
    """Each document of a call has its own form."""
    documents = body_of(call("a", {"image": URL}, LLAMA))["documents"]
    assert documents == ["a", {"image": URL}, "title: Llama\ntext: A camelid."]


@cases(
    "provider",
    [openrouter(), together(), portkey(), Local(scorer=bm25)],
)
@cases(
    ("rank_fields", "expected"),
    [
        (["text"], "A camelid."),
        (["title"], "Llama"),
        (["text", "title"], "text: A camelid.\ntitle: Llama"),
        (["author", "title"], "Llama"),
    ],
)
def test_rank_fields_as_text(provider: Provider, rank_fields: list[str], expected: str) -> None:
    """An endpoint without rank_fields is sent the ranked fields as text, in their order."""
    body = body_of(call(LLAMA, provider=provider, rank_fields=rank_fields))
    assert (body["documents"], "rank_fields" in body) == ([expected], False)


def test_image_stays_with_rank_fields() -> None:
    """rank_fields chooses among texts and leaves the image in."""
    document = {"image": URL, **LLAMA}
    body = body_of(call(document, rank_fields=["title"]))
    assert body["documents"] == [{"text": "Llama", "image": URL}]


@cases(
    ("documents", "rank_fields", "sent", "named"),
    [
        ([LLAMA, PANDA], ["text", "title"], [LLAMA, PANDA], ["text", "title"]),
        ([LLAMA], ["title"], [{"title": "Llama"}], ["title"]),
        ([LLAMA, {"text": "b"}], ["title", "text"], [LLAMA, {"text": "b"}], ["title", "text"]),
        (["a", LLAMA], ["title", "text"], [{"text": "a"}, LLAMA], ["title", "text"]),
        (["a", "b"], ["text"], [{"text": "a"}, {"text": "b"}], ["text"]),
        ([LLAMA, {"year": 1}], None, [LLAMA, {"year": 1}], ["title", "text", "year"]),
        (["a", LLAMA], None, [{"text": "a"}, LLAMA], ["text", "title"]),
        ([RerankDocument(text="a")], None, [{"text": "a"}], ["text"]),
        ([{"a": {"b": 1}}], ["a.b"], [{"a.b": 1}], ["a.b"]),
    ],
)
def test_native_rank_fields(
    documents: list[object], rank_fields: list[str] | None, sent: list[object], named: list[str]
) -> None:
    """Llama-Rank at Together is sent objects only, and always told by which keys to rank."""
    prepared = call(*documents, provider=together(), model=LLAMA_RANK, rank_fields=rank_fields)
    body = body_of(prepared)
    assert (body["documents"], body["rank_fields"]) == (sent, named)


def test_native_strings() -> None:
    """Strings without rank_fields stay strings, also where fields are ranked."""
    body = body_of(call("a", "b", provider=together(), model=LLAMA_RANK))
    assert (body["documents"], "rank_fields" in body) == (["a", "b"], False)


def test_together_never_mixes() -> None:
    """A model at Together that ranks no fields is sent strings only."""
    body = body_of(call("a", LLAMA, provider=together(), model="mixedbread-ai/mxbai"))
    assert body["documents"] == ["a", "title: Llama\ntext: A camelid."]


@cases(
    ("model", "document", "rank_fields", "expected"),
    [
        (PINECONE_COHERE, LLAMA, None, {"text": "A camelid.", "title": "Llama"}),
        (PINECONE_COHERE, {"title": "Llama"}, None, {"text": "Llama", "title": "Llama"}),
        (PINECONE_COHERE, LLAMA, ["title"], {"text": "Llama", "title": "Llama"}),
        (PINECONE_COHERE, {"text": 5, "n": 1}, None, {"text": "text: 5\nn: 1", "n": 1}),
        (PINECONE_COHERE, "a", ["text"], {"text": "a"}),
        (PINECONE, "a", ["text"], {"text": "a"}),
        (PINECONE, {"title": "Llama"}, None, {"text": "Llama", "title": "Llama"}),
        (PINECONE, LLAMA, ["title"], {"text": "Llama", "title": "Llama"}),
        (PINECONE, LLAMA, None, "title: Llama\ntext: A camelid."),
        (PINECONE, LLAMA, ["text", "title"], "text: A camelid.\ntitle: Llama"),
    ],
)
def test_pinecone_documents(
    model: str, document: object, rank_fields: list[str] | None, expected: object
) -> None:
    """An object for Pinecone through Portkey always has a text, which would be null otherwise.

    Several fields for a model that ranks one are sent as one text, without rank_fields.
    """
    prepared = call(document, provider=portkey(), model=model, rank_fields=rank_fields)
    body = body_of(prepared)
    assert body["documents"] == [expected]
    assert ("rank_fields" in body) is isinstance(expected, dict)


BLANKS = ["", " \n", {}, {"text": None}, {"title": ""}, RerankDocument(text=" ")]


@cases("blank", BLANKS)
@cases("provider", [openrouter(), together()])
def test_blank_documents(provider: Provider, blank: object) -> None:
    """A blank document is not sent, and the others keep their indexes."""
    prepared = call("a", blank, "b", blank, provider=provider, model=LLAMA_RANK)
    assert body_of(prepared)["documents"][-1] in ("b", {"text": "b"})
    assert (prepared.chunks[0].sent, prepared.skipped) == ([0, 2], (1, 3))


def test_nothing_left_to_rank_by() -> None:
    """A document without any of the ranked fields counts as blank."""
    prepared = call("a", LLAMA, {"author": "x"}, rank_fields=["title"])
    assert (prepared.chunks[0].sent, prepared.skipped) == ([1], (0, 2))


def test_image_alone_is_not_blank() -> None:
    """A document with an image and no text is sent."""
    assert call({"image": URL}, rank_fields=["title"]).skipped == ()


@cases(("query", "documents"), [("", []), (None, ()), ("a", iter([]))])
def test_empty_list(query: object, documents: object) -> None:
    """An empty list is nothing to send, whatever the query."""
    assert planned(options(), query, documents).chunks == ()


def test_only_blank_documents() -> None:
    """Where all documents are blank there is nothing to send."""
    prepared = call(*BLANKS)
    assert (prepared.chunks, prepared.skipped) == ((), (0, 1, 2, 3, 4, 5))


@cases("query", ["", " ", "\n\t"])
def test_empty_query(query: str) -> None:
    """An empty query is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match="query is empty"):
        planned(options(), query, ["a"])


@cases("query", [None, 5, b"q", ["q"]])
def test_query_of_another_type(query: object) -> None:
    """A query is a text, or has the form of a document."""
    with pytest.raises(InvalidRequestError, match="query must be a str, or a mapping or"):
        planned(options(), query, ["a"])


@cases("documents", ["a", b"a", LLAMA, RerankDocument(text="a"), {}])
def test_one_document(documents: object) -> None:
    """One document where a list belongs is refused, not taken apart."""
    with pytest.raises(InvalidRequestError, match="put it into a list"):
        planned(options(), "q", documents)


FRAME = pytest.importorskip("pandas").DataFrame({"text": ["a"]})


@cases("documents", [None, 5, object(), FRAME])
def test_no_list(documents: object) -> None:
    """What cannot be gone through is no list of documents, nor is a table."""
    with pytest.raises(InvalidRequestError, match="must be a list of documents, not"):
        planned(options(), "q", documents)


def test_documents_before_the_query() -> None:
    """A call with query and documents in the wrong places is told the order."""
    with pytest.raises(InvalidRequestError, match="pass the query first"):
        planned(options(), ["a", "b"], "query")


def test_any_iterable() -> None:
    """Documents may come from a generator."""
    prepared = planned(options(), "q", (text for text in "ab"))
    assert (body_of(prepared)["documents"], prepared.chunks[0].documents) == (
        ["a", "b"],
        ("a", "b"),
    )


@cases("image", [URL, DATA_URI, PNG])
@cases("provider", [together(), portkey(), Local(scorer=bm25)])
def test_image_for_a_text_endpoint(provider: Provider, image: object) -> None:
    """An image for an endpoint that takes text only is refused with its index."""
    with pytest.raises(UnsupportedDocumentError, match=r"document 1: an image is given.*text only"):
        call("a", {"image": image, "text": "x"}, provider=provider)


@cases(
    ("document", "kind", "why"),
    [
        (5, UnsupportedDocumentError, "not int"),
        (None, UnsupportedDocumentError, "not NoneType"),
        ({"image": "cat.png"}, UnsupportedDocumentError, "from_file"),
        ({"cover": b"x"}, UnsupportedDocumentError, "'cover' holds bytes"),
    ],
)
def test_wrong_document(document: object, kind: type[Exception], why: str) -> None:
    """A document that cannot be sent is refused with its index and the reason."""
    with pytest.raises(kind, match=f"document 1: .*{why}") as caught:
        call("a", document)
    assert type(caught.value) is kind


def test_extra_body() -> None:
    """Keys of extra_body are sent as they are, and win over the provider's own."""
    provider = openrouter(user="u")
    body = body_of(call("a", provider=provider, extra_body={"user": "v", "new": {"a": [1]}}))
    assert (body["user"], body["new"]) == ("v", {"a": [1]})


@cases("name", ["X-Team", "User-Agent", "AUTHORIZATION", "content-type"])
def test_extra_headers(name: str) -> None:
    """A header of the caller is added, or replaces ours of the same name in whatever letters."""
    headers = request_of(call("a", extra_headers={name: "mine"})).headers.get_secret_value()
    assert [value for own, value in headers.items() if own.lower() == name.lower()] == ["mine"]


@cases(
    ("provider", "query", "document", "sent", "named"),
    [
        (openrouter(), "q\ud83d", "x", ("q\ufffd", "x"), "the query"),
        (openrouter(), "q", "x\ud83d", ("q", "x\ufffd"), "document 1"),
        (openrouter(), "q", "\ud83d\ude00 \udc00", ("q", "\U0001f600 \ufffd"), "document 1"),
        (openrouter(), "\ud800", {"t": ["\udfff"]}, ("\ufffd", "\ufffd"), "the query and doc"),
        (
            openrouter(),
            "q",
            {"text": "\ud800", "image": URL},
            ("q", {"text": "\ufffd", "image": URL}),
            "document 1",
        ),
        (
            together(native_rank_fields=True),
            "q",
            {"a": {"b": "\ud800"}, "c": [1, "\ud800"]},
            ("q", {"a": {"b": "\ufffd"}, "c": [1, "\ufffd"]}),
            "document 1",
        ),
    ],
)
def test_half_a_surrogate(
    provider: Provider, query: str, document: object, sent: tuple[str, object], named: str
) -> None:
    """Half a surrogate pair is sent as U+FFFD, with a warning that names what it was in."""
    prepared = planned(options(provider), query, ["a", document])
    body = body_of(prepared)
    assert (body["query"], body["documents"][1]) == sent
    (warning,) = prepared.warnings
    assert warning.startswith(named)
    assert "U+FFFD" in warning


def test_half_a_surrogate_elsewhere() -> None:
    """Half a surrogate pair in an argument is refused with the places to look."""
    with pytest.raises(InvalidRequestError, match="extra_body") as caught:
        planned(options(extra_body={"user": "\ud800"}), "q", ["a"])
    assert type(caught.value) is InvalidRequestError


def _loop() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    return loop


@cases("value", [object(), b"\xff", _loop(), float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_body_that_json_cannot_carry(value: object) -> None:
    """A value that JSON has no form for is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match="JSON cannot carry"):
        call("a", extra_body={"new": value})


def test_refused_body_stays_hidden() -> None:
    """The error about a body that cannot be written shows neither the key nor an image."""
    with pytest.raises(InvalidRequestError) as caught:
        call(RerankDocument(image=PNG), extra_body={"new": object()})
    shown = local_variables(caught.value)
    assert (KEY in shown, wire_image(PNG).uri() in shown) == (False, False)


def test_repr_of_a_request() -> None:
    """A request's repr shows neither the key nor the documents."""
    shown = repr(request_of(call("a private text")))
    assert (KEY in shown, "private" in shown) == (False, False)


def test_repr_of_a_call() -> None:
    """A call's repr shows no document."""
    assert "private" not in repr(call("a private text"))


def test_documents_are_not_changed() -> None:
    """Preparing a call leaves the caller's objects as they were."""
    document = {"image": PNG, "text": "x", "tags": ["a"]}
    before = dict(document)
    call(document)
    assert document == before


def test_same_call_same_bytes() -> None:
    """The same call makes the same bytes."""
    document = {"tags": {"b", "a", "c"}, "text": "x"}
    assert request_of(call(document)).content == request_of(call(document)).content


def test_headers_are_hidden() -> None:
    """The repr of a request shows neither its headers nor its body."""
    request = request_of(call("a secret text"))
    assert is_hidden(request.headers)
    assert repr(request) == f"<HTTPRequest to {request.url}, {request.size} bytes>"


def test_body_is_json() -> None:
    """Quotes, line breaks and control characters of a text survive."""
    text = 'say "a"\n\\ \x00 \u2028 😀'
    content = content_of(request_of(call(text)))
    assert json.loads(content)["documents"] == [text]


def test_a_long_list_is_written_in_slices() -> None:
    """A body of megabytes is the same JSON as a small one, in pieces of which none is large."""
    documents = [f"{number} ü".ljust(7_000, "\n") for number in range(900)] + ["a" * 600_000, "b"]
    request = request_of(call(*documents, max_request_bytes=None))
    assert json.loads(content_of(request))["documents"] == documents
    assert len(request.content) > 10
    assert max(map(len, request.content)) < 1_000_000


def test_an_int_of_any_size_is_written() -> None:
    """A number beyond 64 bits goes on the wire as it is."""
    body = body_of(call("a", extra_body={"seed": 2**70}))
    assert body["seed"] == 2**70
