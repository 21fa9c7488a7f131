"""Tests of documents, results, the response and its usage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cases import cases
from rerank_integrations.errors import Attempt, ConfigurationError, UnsupportedDocumentError
from rerank_integrations.models import (
    RerankDocument,
    RerankResponse,
    RerankResult,
    Usage,
)
from support import DATA_URI, PIXELS, PNG

RESULTS = (RerankResult(1, 0.9, "b"), RerankResult(0, 0.1, "a"))
RESPONSE = RerankResponse(RESULTS, "some/model", "openrouter")


@cases("given", [{"text": "a"}, {"image": PNG}, {"fields": {"title": "t"}}, {"text": ""}])
def test_one_part_is_enough(given: dict[str, Any]) -> None:
    """A document needs only one of text, image and fields."""
    document = RerankDocument(**given)
    assert {name: getattr(document, name) for name in given} == given


@cases(
    ("given", "why"),
    [
        ({}, "needs text, image or fields"),
        ({"text": 5}, "text must be a str, not int"),
        ({"text": b"a"}, "text must be a str, not bytes"),
        ({"fields": "title"}, "not str"),
        ({"fields": [("title", "t")]}, "not list"),
    ],
)
def test_what_is_no_document(given: dict[str, Any], why: str) -> None:
    """A document without content, or with content of a wrong type, is refused."""
    with pytest.raises(UnsupportedDocumentError, match=why):
        RerankDocument(**given)


@cases(
    ("given", "meant"),
    [
        ("metadata", "fields"),
        ("content", "text"),
        ("page_content", "text"),
        ("image_url", "image"),
        ("score", "retrieval_score"),
        ("txt", "text"),
        ("feilds", "fields"),
    ],
)
def test_a_wrong_argument_of_a_document(given: str, meant: str) -> None:
    """An unknown argument is refused with the one that was meant, as everywhere else."""
    wrong: dict[str, Any] = {given: "b"}
    with pytest.raises(ConfigurationError, match=rf"{given!r}; did you mean {meant!r}"):
        RerankDocument("a", **wrong)


def test_document_does_not_change() -> None:
    """A document cannot be changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        RerankDocument(text="a").text = "b"  # type: ignore[misc]


@cases("kind", [str, Path])
def test_from_file(tmp_path: Path, kind: type[str | Path]) -> None:
    """A local image is read when the document is made."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    document = RerankDocument.from_file(kind(path), text="a cat", fields={"title": "t"})
    path.unlink()
    assert document == RerankDocument(text="a cat", image=PNG, fields={"title": "t"})


@cases("name", ["missing.png", "."])
def test_from_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """A file that cannot be read is refused with its path and the cause."""
    with pytest.raises(UnsupportedDocumentError, match="cannot read the image file") as caught:
        RerankDocument.from_file(tmp_path / name)
    assert isinstance(caught.value.__cause__, OSError)


@cases(
    ("document", "expected"),
    [
        (RerankDocument(text="a cat"), "RerankDocument(text='a cat')"),
        (RerankDocument(image=PNG), "RerankDocument(image=<13 bytes>)"),
        (RerankDocument(image=DATA_URI), "RerankDocument(image=<data URI of 54 characters>)"),
        (
            RerankDocument(image="https://example.com/a.png?signature=s"),
            "RerankDocument(image='https://example.com/a.png')",
        ),
        (RerankDocument(image="cat.png"), "RerankDocument(image='cat.png')"),
        (
            RerankDocument(text="a", fields={"title": "secret", "year": 1}),
            "RerankDocument(text='a', fields=<mapping of title, year>)",
        ),
        (RerankDocument(text="x" * 61), f"RerankDocument(text='{'x' * 59}…')"),
        (RerankDocument(text="x" * 60), f"RerankDocument(text='{'x' * 60}')"),
    ],
)
def test_repr_of_a_document(document: RerankDocument, expected: str) -> None:
    """A document's repr is short and shows neither image data nor the signature of a URL."""
    assert repr(document) == expected


@cases("start", ["data:image/png;base64,", "DATA:image/png;base64,"])
def test_repr_hides_every_data_uri(start: str) -> None:
    """A repr shows no image data, however the data URI is spelled."""
    assert PIXELS[:8] not in repr(RerankDocument(image=start + PIXELS))


@cases(
    ("document", "expected"),
    [
        ("a cat", "'a cat'"),
        ({"text": "a", "image": DATA_URI}, "<mapping of text, image>"),
        (RerankDocument(text="a"), "RerankDocument(text='a')"),
        (object(), "<object>"),
    ],
)
def test_repr_of_a_result(document: object, expected: str) -> None:
    """A result's repr outlines its document."""
    result = RerankResult(2, 0.5, document)
    assert repr(result) == f"RerankResult(index=2, relevance_score=0.5, document={expected})"


def test_usage_shows_what_was_said() -> None:
    """Usage names only the counts that the provider gave, a zero included."""
    usage = Usage(total_tokens=0, cost=0.001, raw={"x": "y"})
    assert repr(usage) == "Usage(total_tokens=0, cost=0.001)"


def test_usage_counts() -> None:
    """The counts leave out what the provider did not say, and `raw`."""
    assert Usage(search_units=1, raw={"x": 1}).counts() == {"search_units": 1}


def test_response_iterates() -> None:
    """Iterating over a response goes over its results in order."""
    assert tuple(RESPONSE) == RESULTS


def test_response_length() -> None:
    """The length of a response is the number of its results."""
    assert len(RESPONSE) == 2


def test_response_position() -> None:
    """A position of a response is a place in the ranking, not an index of the input."""
    assert RESPONSE[0].index == 1


def test_empty_response() -> None:
    """A response without results is falsy and holds nothing else by default."""
    empty = RerankResponse((), "m", "p")
    assert (bool(empty), empty.usage, empty.skipped, empty.warnings, empty.attempts) == (
        False,
        Usage(),
        (),
        (),
        (),
    )


def test_attempt_without_error() -> None:
    """An attempt without an error is one that succeeded."""
    assert Attempt("openrouter", "some/model").error is None


def test_from_base64() -> None:
    """from_base64 takes base64 text or bytes, also in lines, and tells the format."""
    for encoded in (PIXELS, PIXELS.encode(), f"{PIXELS[:8]}\n{PIXELS[8:]}\n"):
        document = RerankDocument.from_base64(encoded, text="a cat", fields={"title": "t"})
        assert document == RerankDocument(text="a cat", image=DATA_URI, fields={"title": "t"})


@cases("encoded", ["no base64!", "é", b"\xff", "JVBERi0xLjc=", ""])
def test_from_base64_of_no_image(encoded: str | bytes) -> None:
    """What is no base64, or none of an image, is refused at once."""
    with pytest.raises(UnsupportedDocumentError, match=r"base64|takes|no bytes"):
        RerankDocument.from_base64(encoded)


def test_from_file_that_never_ends() -> None:
    """A device is not read."""
    with pytest.raises(UnsupportedDocumentError, match="not a regular file"):
        RerankDocument.from_file("/dev/zero")
