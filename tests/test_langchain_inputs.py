"""What of a LangChain document is ranked: its text, its fields, its image; and what is not sent."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from langchain_core.documents import Document

from calls import client_of
from cases import cases
from langchain_support import QUERY, Way, openrouter, three
from loopback import Server
from rerank_integrations import DocumentInput, RerankDocument, UnsupportedDocumentError
from rerank_integrations.langchain import RerankCompressor
from support import DATA_URI, PNG

URL = "https://example.org/bicycle.png"
PNG_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def sent(server: Server) -> list[Any]:
    """The documents of the only request, as they came in."""
    (received,) = server.received
    documents: list[Any] = received.body["documents"]
    return documents


def paper(**metadata: Any) -> Document:
    """A document with metadata, some of it nobody else's business."""
    return Document("the text", id="secret-id", metadata={"owner": "secret", **metadata})


def test_the_text_alone_is_sent(way: Way, server: Server) -> None:
    """Without rank_fields page_content is sent as it is, and no metadata leaves the process."""
    way.compress(openrouter(server), [paper(title="t")])

    assert sent(server) == ["the text"]
    assert b"secret" not in server.received[0].content


@cases(
    ("rank_fields", "expected"),
    [
        (["text"], "the text"),
        (["title"], "t"),
        (["title", "text"], "title: t\ntext: the text"),
        (["text", "title"], "text: the text\ntitle: t"),
        (("title", "text"), "title: t\ntext: the text"),
        (["title", "missing", "text"], "title: t\ntext: the text"),
        (["about.author.name"], "Ada"),
        (["about.year", "text"], "about.year: 1843\ntext: the text"),
        (["about.missing", "title"], "t"),
        (["title.missing", "title"], "t"),
        (["dotted.key"], "literal"),
        (["flag", "tags"], "flag: true\ntags: a, b"),
        (["nothing", "text"], "the text"),
    ],
)
def test_fields_are_ranked(way: Way, server: Server, rank_fields: list[str], expected: str) -> None:
    """rank_fields names what is ranked, in order: "text" is page_content, "a.b" a nested value."""
    document = paper(
        title="t",
        about={"author": {"name": "Ada"}, "year": 1843},
        flag=True,
        tags=["a", "b"],
        nothing=None,
        **{"dotted.key": "literal"},
    )

    way.compress(openrouter(server, rank_fields=rank_fields), [document])

    assert sent(server) == [expected]
    assert b"secret" not in server.received[0].content


def test_a_text_in_the_metadata_is_not_the_text(way: Way, server: Server) -> None:
    """The field "text" is page_content, also where the metadata has a key of that name."""
    compressor = openrouter(server, rank_fields=["text", "title"])

    way.compress(compressor, [paper(text="secret", title="t")])

    assert sent(server) == ["text: the text\ntitle: t"]


def test_a_document_without_the_fields_is_left_out(way: Way, server: Server) -> None:
    """A document that has none of the fields is not sent and shifts no other."""
    documents = [Document("x", id="1"), Document("y", id="2", metadata={"title": QUERY})]

    (kept,) = way.compress(openrouter(server, rank_fields=["title"]), documents)

    assert kept.id == "2"
    assert sent(server) == [QUERY]


@cases("blank", ["", " \n"])
def test_a_blank_document_is_left_out(way: Way, server: Server, blank: str) -> None:
    """A document without text or image is not sent and shifts no other."""
    documents = [Document(blank, id="1"), *three()]

    kept = way.compress(openrouter(server), documents)

    assert {document.id for document in kept} == {"1", "2", "3"}
    assert len(kept) == len(sent(server)) == 3
    assert blank not in [document.page_content for document in kept]


def test_the_clients_rank_fields_hold(way: Way, server: Server) -> None:
    """Where the adapter has no rank_fields, those of the client say what is ranked."""
    with client_of(server, rank_fields=["title"]) as client:
        way.compress(RerankCompressor(client=client), [paper(title="t")])

    assert sent(server) == ["t"]


def test_rank_fields_of_a_call_win(way: Way, server: Server) -> None:
    """rank_fields of rerank() say what is ranked in that call."""
    way.rerank(openrouter(server), [paper(title="t")], rank_fields=["title"])

    assert sent(server) == ["t"]


def test_a_pages_metadata_type_is_no_matter(way: Way, server: Server) -> None:
    """Nested values are found in any mapping."""
    document = paper(about=MappingProxyType({"title": "t"}))

    way.compress(openrouter(server, rank_fields=["about.title"]), [document])

    assert sent(server) == ["t"]


@cases(
    ("image", "expected"),
    [
        (URL, URL),
        (DATA_URI, DATA_URI),
        (PNG, PNG_URI),
        (bytearray(PNG), PNG_URI),
        ([URL, DATA_URI], URL),
        ((PNG, URL), PNG_URI),
    ],
    ids=["url", "data uri", "bytes", "bytearray", "list", "tuple"],
)
def test_an_image_is_sent(way: Way, server: Server, image: object, expected: str) -> None:
    """metadata["image"] is a URL, a data URI, bytes or a list of which the first counts."""
    way.compress(openrouter(server), [paper(image=image)])

    assert sent(server) == [{"text": "the text", "image": expected}]
    assert b"secret" not in server.received[0].content


@cases("rank_fields", [None, ["text"]])
@cases("image", [None, "", b"", [], (), [None], [""]])
def test_no_image_is_no_image(
    way: Way, server: Server, image: object, rank_fields: list[str] | None
) -> None:
    """None, an empty value and an empty list are no image."""
    way.compress(openrouter(server, rank_fields=rank_fields), [paper(image=image)])

    assert sent(server) == ["the text"]


@cases("image", [URL, PNG, [DATA_URI]], ids=["url", "bytes", "list"])
def test_an_image_alone_is_a_document(way: Way, server: Server, image: object) -> None:
    """A document with an image and no text is ranked by its image."""
    document = Document("", id="1", metadata={"image": image})

    (kept,) = way.compress(openrouter(server), [document])

    (only,) = sent(server)
    assert only.keys() - {"text"} == {"image"}
    assert kept.id == "1"
    assert kept.metadata["image"] is image


def test_texts_and_images_together(way: Way, server: Server) -> None:
    """Documents of text, of an image and of both are sent in one list, and none is left out."""
    documents = [
        Document("text", id="1"),
        Document("", id="2", metadata={"image": URL}),
        Document("both", id="3", metadata={"image": URL}),
    ]

    kept = way.compress(openrouter(server), documents)

    assert len(kept) == len(sent(server)) == 3
    assert sent(server)[2] == {"text": "both", "image": URL}


def test_another_key_may_hold_the_image(way: Way, server: Server) -> None:
    """image_key names the metadata key, and "image" is then an ordinary key."""
    compressor = openrouter(server, image_key="picture")

    way.compress(compressor, [paper(picture=URL, image=DATA_URI)])

    assert sent(server) == [{"text": "the text", "image": URL}]


@cases("rank_fields", [None, ["text"]])
def test_images_can_be_switched_off(way: Way, server: Server, rank_fields: Any) -> None:
    """image_key=None ranks text alone, whatever "image" holds."""
    compressor = openrouter(server, image_key=None, rank_fields=rank_fields)

    way.compress(compressor, [paper(image=URL)])

    assert sent(server) == ["the text"]


def test_an_image_with_fields(way: Way, server: Server) -> None:
    """An image is sent beside the fields that are ranked, and no other field is."""
    way.compress(openrouter(server, rank_fields=["title", "text"]), [paper(title="t", image=[PNG])])

    assert sent(server) == [{"text": "title: t\ntext: the text", "image": PNG_URI}]
    assert b"secret" not in server.received[0].content


@cases("image", ["bicycle.png", 7, {"url": URL}, [{"url": URL}], b"no image"])
def test_what_is_no_image_is_refused(way: Way, server: Server, image: object) -> None:
    """A path, an object or bytes of no known format make a document invalid."""
    with pytest.raises(UnsupportedDocumentError, match="image"):
        way.compress(openrouter(server, on_invalid_document="raise"), [paper(image=image)])
    assert not server.received


@cases("gateway", ["together", "portkey"])
@cases("text", ["the text", ""])
def test_an_image_for_a_text_endpoint_is_refused(
    way: Way, server: Server, gateway: str, text: str
) -> None:
    """An image for an endpoint that takes none makes a document invalid."""
    document = Document(text, metadata={"image": URL})

    with (
        client_of(server, gateway) as client,
        pytest.raises(UnsupportedDocumentError, match="image"),
    ):
        way.compress(RerankCompressor(client=client, on_invalid_document="raise"), [document])
    assert not server.received


def test_text_for_a_text_endpoint_although_there_are_images(way: Way, server: Server) -> None:
    """image_key=None ranks documents with images at an endpoint that takes text alone."""
    with client_of(server, "together") as client:
        way.compress(RerankCompressor(client=client, image_key=None), [paper(image=URL)])

    assert sent(server) == ["the text"]


def shouted(document: Document) -> DocumentInput:
    """A text of a user's own."""
    return f"{document.metadata['owner']}!"


def as_mapping(document: Document) -> Mapping[str, Any]:
    """Fields of a user's own."""
    return {"title": "t", "body": document.page_content}


def as_document(document: Document) -> RerankDocument:
    """A text and an image of a user's own."""
    return RerankDocument(text=document.page_content, image=URL)


@cases(
    ("document_to_input", "rank_fields", "expected"),
    [
        (shouted, None, "secret!"),
        (as_mapping, None, "title: t\nbody: the text"),
        (as_mapping, ["body"], "the text"),
        (as_document, None, {"text": "the text", "image": URL}),
    ],
)
def test_a_function_may_say_what_is_ranked(
    way: Way,
    server: Server,
    document_to_input: Any,
    rank_fields: list[str] | None,
    expected: object,
) -> None:
    """document_to_input makes what is ranked; the result is the document all the same."""
    given = {"document_to_input": document_to_input} | (
        {} if rank_fields is None else {"rank_fields": rank_fields}
    )
    document = paper(image=DATA_URI)

    (kept,) = way.compress(openrouter(server, **given), [document])

    assert sent(server) == [expected]
    assert kept.id == document.id
    assert kept.metadata["owner"] == "secret"


def test_a_function_is_asked_once_for_each(way: Way, server: Server) -> None:
    """document_to_input is called once for each document, in order."""
    asked: list[str | None] = []

    def noted(document: Document) -> str:
        asked.append(document.id)
        return document.page_content

    way.compress(openrouter(server, document_to_input=noted), three())

    assert asked == ["1", "2", "3"]


def test_a_function_that_makes_no_document_is_refused(way: Way, server: Server) -> None:
    """What document_to_input returns must be a document that can be ranked."""
    compressor = openrouter(server, document_to_input=lambda document: 7)

    with pytest.raises(UnsupportedDocumentError, match="not int"):
        way.compress(compressor, three())
    assert not server.received
