"""Tests of fields: which fields of a document count, and as what text."""

from __future__ import annotations

import math
from collections import UserString, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntFlag
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from pydantic import BaseModel

from cases import cases
from rerank_integrations.errors import UnsupportedDocumentError
from rerank_integrations.fields import fields_of, ranked_values, rendered, shortened
from rerank_integrations.models import RerankDocument
from support import DATA_URI

pd: Any = pytest.importorskip("pandas")

MISSING = [
    *(math.nan, np.nan, np.float32("nan"), np.datetime64("NaT"), Decimal("NaN"), Decimal("sNaN")),
    *(pd.NaT, pd.NA, np.array([]), pd.Series([math.nan])),
]
LLAMA = {"title": "Llama", "text": "A camelid.", "year": 2020}


def texts_of(document: object, rank_fields: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """The fields as pairs of name and text, for a comparison that minds the order."""
    return [(name, rendered({name: value})) for name, value in values_of(document, rank_fields)]


def values_of(document: object, rank_fields: Sequence[str] | None = None) -> list[tuple[str, Any]]:
    """The fields as pairs of name and value."""
    return list(ranked_values(fields_of(document), rank_fields).items())


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
        ({0: "a", 1: 5}, None, [("0", "a"), ("1", "5")]),
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
    assert texts_of(document, rank_fields) == expected


def test_attributes_win() -> None:
    """In a RerankDocument the attributes win over fields of the same name."""
    fields = {"text": "other", "image": "https://other.example/b.png"}
    document = RerankDocument(text="own", image="https://own.example/a.png", fields=fields)
    assert fields_of(document) == {"text": "own", "image": "https://own.example/a.png"}


@cases(
    "empty",
    [None, "", " ", "\n\t", [], {}.keys(), set(), {}, [None, ""], {"a": None}, *MISSING],
)
def test_empty_field_is_left_out(empty: object) -> None:
    """A field that is None, empty, only spaces, or what pandas and numpy call missing is none."""
    assert texts_of({"title": empty, "text": "x"}) == [("text", "x")]


def test_text_keeps_its_spaces() -> None:
    """A text goes out as it stands, spaces around it included."""
    assert texts_of(" a\n") == [("text", " a\n")]


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
    assert texts_of(document, ["a.b.c"]) == expected


@cases("rank_fields", [None, ["image", "text"], ["text"]])
def test_image_is_no_text_field(rank_fields: list[str] | None) -> None:
    """The image is sent as an image whatever rank_fields says, and never as text."""
    document = {"image": DATA_URI, "text": "x"}
    assert texts_of(document, rank_fields) == [("text", "x")]


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
        ([1, "a"], "1, a"),
        ([2, 1.5, True], "2, 1.5, true"),
        (["a", None, math.nan, "", "b"], "a, b"),
        ([[1, 2], "a"], '[[1,2],"a"]'),
        ({10, 9}, "9, 10"),
        ({1, "a"}, "1, a"),
        (deque(["a"]), "a"),
        (range(3), "0, 1, 2"),
        (math.inf, "inf"),
        ({"k": "vicuña"}, '{"k":"vicuña"}'),
        ({"price": Decimal("1.50")}, '{"price":"1.50"}'),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_text_of_a_value(value: object, expected: str) -> None:
    """Every kind of value has one text form, the same on each run."""
    assert texts_of({"field": value}) == [("field", expected)]


class Colour(Enum):
    """An enumeration of strings."""

    RED = "red"


DAY = "2026-01-02"


class Level(str, Enum):  # noqa: UP042  # StrEnum has another str()
    """An enumeration whose members are strings."""

    HIGH = "high"


class Flag(IntFlag):
    """An enumeration of bits."""

    A = 1
    B = 2


@dataclass
class Author:
    """A record."""

    name: str
    born: date | None = None


class Source(BaseModel):
    """A record."""

    url: str
    on: date
    level: Level = Level.HIGH


@cases(
    ("value", "json", "text"),
    [
        (Colour.RED, "red", "red"),
        (Level.HIGH, "high", "high"),
        (Flag.A | Flag.B, 3, "3"),
        (Author("R. Red"), {"name": "R. Red", "born": None}, '{"name":"R. Red","born":null}'),
        (
            Source(url="u", on=date(2026, 1, 2)),
            {"url": "u", "on": "2026-01-02", "level": "high"},
            '{"url":"u","on":"2026-01-02","level":"high"}',
        ),
        ([Colour.RED, Level.HIGH], ["red", "high"], "red, high"),
        ({Colour.RED: date(2026, 1, 2), 5: math.nan}, None, '{"red":"2026-01-02","5":null}'),
        (np.array([1, 2]), [1, 2], "1, 2"),
        (np.array([[1.5, 2.0]]), [[1.5, 2.0]], "[[1.5,2.0]]"),
        (np.array(["2026-01-02", "NaT"], "M8[D]"), ["2026-01-02", None], "2026-01-02"),
        (np.int64(3), 3, "3"),
        (np.float32(1.5), 1.5, "1.5"),
        (np.bool_(1), True, "true"),
        (np.str_("s"), "s", "s"),
        (np.datetime64("2026-01-02T00:00", "ns"), None, "2026-01-02T00:00:00.000000000"),
        (pd.Timestamp("2026-01-02"), None, "2026-01-02T00:00:00"),
        (pd.Series([1, 2]), [1, 2], "1, 2"),
        (pd.Series(pd.to_datetime(["2026-01-02", None], utc=True)), None, f"{DAY}T00:00:00+00:00"),
        (np.longdouble(1.5), 1.5, "1.5"),
        (UserString("s"), "s", "s"),
        ({True: 1, None: 2, date(2026, 1, 2): 3}, None, f'{{"true":1,"null":2,"{DAY}":3}}'),
        (10**30, 10**30, str(10**30)),
        (1999, 1999, "1999"),
        (["a", "b"], ["a", "b"], "a, b"),
        ({"b", "a"}, ["a", "b"], "a, b"),
        (True, True, "true"),
    ],
)
def test_values_of_real_metadata(value: object, json: object, text: str) -> None:
    """An endpoint that ranks fields gets JSON values; any other their text."""
    [(_, found)] = values_of({"field": value})
    assert json is None or (found, type(found)) == (json, type(json))
    assert texts_of({"field": value}) == [("field", text)]


@cases(
    ("text", "most", "expected"),
    [
        ("a red bicycle", 13, "a red bicycle"),
        ("a red bicycle", 12, "a red"),
        ("a red bicycle", 5, "a red"),
        ("a red  bicycle", 7, "a red"),
        ("a red bicycle", 1, "a"),
        ("bicycle", 3, "bic"),
        ("  bicycle", 4, "  bi"),
        ("    bicycle", 3, "bic"),
        (" " * 90 + "a car", 60, "a car"),
        ("a " + "b" * 200, 100, "a " + "b" * 98),
        ("自行车很红", 3, "自行车"),
    ],
)
def test_a_text_is_cut_at_a_word_boundary(text: str, most: int, expected: str) -> None:
    """A text ends after a whole word, unless the word that is cut is longer than any real one."""
    assert shortened(text, most) == expected


def _loop() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


class Broken:
    """Has no text."""

    def __str__(self) -> str:
        raise OSError("gone")


@cases(
    "value",
    [
        *(b"bytes", bytearray(b"b"), memoryview(b"m"), [b"\xff"], {"a": b"a"}, np.bytes_(b"a")),
        *(_loop(), pytest.param(10**5000, id="5,000 digits"), Broken(), [Broken()]),
        *(object(), (one for one in "ab"), iter([1]), [].append, lambda: None, {"a": object()}),
    ],
)
def test_value_without_text_form(value: object) -> None:
    """Bytes, an endless value, and what is only an address in memory are refused by name."""
    with pytest.raises(UnsupportedDocumentError, match="'cover'"):
        values_of({"cover": value})


def test_field_outside_rank_fields_is_not_read() -> None:
    """A field that is not ranked may hold anything."""
    assert texts_of({"text": "x", "cover": b"bytes"}, ["text"]) == [("text", "x")]


@cases("document", [None, 5, b"a cat", ["a cat"], object()])
def test_no_document(document: object) -> None:
    """What is no str, mapping or RerankDocument is refused with its type."""
    with pytest.raises(UnsupportedDocumentError, match=f"not {type(document).__name__}"):
        fields_of(document)


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
