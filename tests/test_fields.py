"""Tests of fields: which fields of a document count, and as what text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from cases import cases
from rerank_integrations.errors import InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.fields import Parts, parts_of, rendered
from rerank_integrations.images import wire_image
from rerank_integrations.models import RerankDocument
from support import DATA_URI

LLAMA = {"title": "Llama", "text": "A camelid.", "year": 2020}


def fields_of(document: object, rank_fields: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """The fields as pairs, for a comparison that minds the order."""
    return list(parts_of(document, rank_fields).fields.items())


@cases(
    ("document", "rank_fields", "expected"),
    [
        ("a cat", None, [("text", "a cat")]),
        ("a cat", ["title", "text"], [("text", "a cat")]),
        ("a cat", ["title"], []),
        (LLAMA, None, [("title", "Llama"), ("text", "A camelid."), ("year", "2020")]),
        (LLAMA, ["text", "title"], [("text", "A camelid."), ("title", "Llama")]),
        (LLAMA, ["author", "title"], [("title", "Llama")]),
        (LLAMA, ["author"], []),
        ({}, None, []),
        (RerankDocument(text="a cat"), None, [("text", "a cat")]),
        (RerankDocument(fields={"title": "t"}), None, [("title", "t")]),
        (RerankDocument(text="x", fields={"title": "t"}), ["title"], [("title", "t")]),
        (RerankDocument(fields={"text": "inner"}), ["text"], [("text", "inner")]),
    ],
)
def test_the_fields_that_count(
    document: object, rank_fields: list[str] | None, expected: list[tuple[str, str]]
) -> None:
    """A document counts with the fields that rank_fields names, in that order, else with all."""
    assert fields_of(document, rank_fields) == expected


def test_attributes_win() -> None:
    """In a RerankDocument the attributes win over fields of the same name."""
    fields = {"text": "other", "image": "https://other.example/b.png"}
    document = RerankDocument(text="own", image="https://own.example/a.png", fields=fields)
    assert parts_of(document, None) == Parts(
        {"text": "own"}, wire_image("https://own.example/a.png")
    )


@cases("empty", [None, "", " ", "\n\t", [], {}.keys(), set()])
def test_empty_field_is_left_out(empty: object) -> None:
    """A field that is None, empty or only spaces does not count."""
    assert fields_of({"title": empty, "text": "x"}) == [("text", "x")]


def test_text_keeps_its_spaces() -> None:
    """A text goes out as it stands, spaces around it included."""
    assert fields_of(" a\n") == [("text", " a\n")]


@cases(
    ("document", "expected"),
    [
        ({"a": {"b": {"c": "deep"}}}, [("a.b.c", "deep")]),
        ({"a.b.c": "flat", "a": {"b": {"c": "deep"}}}, [("a.b.c", "flat")]),
        ({"a": {"b": "no mapping"}}, []),
        ({"a": {"x": 1}}, []),
    ],
)
def test_dotted_name(document: object, expected: list[tuple[str, str]]) -> None:
    """A dotted name reads a field of a field, unless a field bears that very name."""
    assert fields_of(document, ["a.b.c"]) == expected


@cases("rank_fields", [None, ["image", "text"], ["text"]])
def test_image_is_no_text_field(rank_fields: list[str] | None) -> None:
    """The image is sent as an image whatever rank_fields says, and never as text."""
    document = {"image": DATA_URI, "text": "x"}
    assert parts_of(document, rank_fields) == Parts({"text": "x"}, wire_image(DATA_URI))


@cases(
    ("value", "expected"),
    [
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-1.5, "-1.5"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00+00:00"),
        (time(3, 4), "03:04:00"),
        (["red", "blue"], "red, blue"),
        (("red", "blue"), "red, blue"),
        ({"b", "a", "c"}, "a, b, c"),
        (frozenset({2, 1}), "1, 2"),
        ([1, "a"], '[1,"a"]'),
        ({"k": "vicuña"}, '{"k":"vicuña"}'),
        ({"price": Decimal("1.50")}, '{"price":"1.50"}'),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_text_of_a_value(value: object, expected: str) -> None:
    """Every kind of value has one text form, the same on each run."""
    assert fields_of({"field": value}) == [("field", expected)]


def _loop() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@cases("value", [b"bytes", bytearray(b"b"), memoryview(b"m"), [b"\xff"], [1, "\ud800"], _loop()])
def test_value_without_text_form(value: object) -> None:
    """A field that has no text form is refused by name."""
    with pytest.raises(InvalidRequestError, match="'cover'"):
        parts_of({"cover": value}, None)


def test_field_outside_rank_fields_is_not_read() -> None:
    """A field that is not ranked may hold anything."""
    assert fields_of({"text": "x", "cover": b"bytes"}, ["text"]) == [("text", "x")]


@cases("document", [None, 5, b"a cat", ["a cat"], object()])
def test_no_document(document: object) -> None:
    """What is no str, mapping or RerankDocument is refused with its type."""
    with pytest.raises(UnsupportedDocumentError, match=f"not {type(document).__name__}"):
        parts_of(document, None)


@cases(
    ("fields", "expected"),
    [
        ({"text": "a cat"}, "a cat"),
        ({"title": "Cats"}, "Cats"),
        ({"title": "Cats", "text": "a cat"}, "title: Cats\ntext: a cat"),
        ({}, ""),
    ],
)
def test_rendered(fields: dict[str, str], expected: str) -> None:
    """Several fields are written `name: value` a line, a single one as its bare value."""
    assert rendered(fields) == expected
