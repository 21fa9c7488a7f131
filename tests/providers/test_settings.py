"""Tests of keys, addresses and header values."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from cases import cases
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._validation import (
    address_problem,
    header_problem,
    json_problem,
    key_header,
    normalised_base_url,
    secret,
)
from support import KEY, hidden

DEFAULT = "https://openrouter.ai/api/v1"


@cases(
    ("value", "expected"),
    [
        (KEY, SecretStr(KEY)),
        (SecretStr(KEY), SecretStr(KEY)),
        (hidden(KEY), SecretStr(KEY)),
        (f" {KEY}\n", SecretStr(KEY)),
        (SecretStr(f"{KEY} "), SecretStr(KEY)),
        (None, None),
        ("", None),
        (" \n", None),
        (SecretStr(""), None),
        (hidden(None), None),
    ],
)
def test_secret(value: object, expected: SecretStr | None) -> None:
    """A key is hidden and has no spaces around it, and an empty one is none."""
    assert secret(value) == expected


@cases("value", [KEY.encode(), 5, [KEY], {"key": KEY}, hidden(5)])
def test_wrong_secret(value: object) -> None:
    """A key of another type is refused without its value in the message."""
    with pytest.raises(ConfigurationError, match="a key is a str or a SecretStr") as caught:
        secret(value)
    assert KEY not in str(caught.value)


@cases(
    ("arguments", "expected"),
    [
        ((KEY,), {"Authorization": f"Bearer {KEY}"}),
        ((KEY, "Api-Key", ""), {"Api-Key": KEY}),
        ((None,), {}),
        ((" ",), {}),
    ],
)
def test_key_header(arguments: tuple[Any, ...], expected: dict[str, str]) -> None:
    """A key goes out as a bearer token, or as it is in a header of its own; no key, no header."""
    assert key_header(*arguments) == expected


@cases(
    ("headers", "expected"),
    [
        ({}, None),
        ({"X-Title": "My app", "X-Empty": "", "X-Tab": "a\tb"}, None),
        ({"X-Good": "a", "X-Bad": "a\nb"}, "header 'X-Bad' has a line break; remove it"),
        ({"X-Bad": "a\rb"}, "header 'X-Bad' has a line break; remove it"),
        ({"X-Bad": "a\x00b"}, "header 'X-Bad' has a control character; remove it"),
        ({"X-Bad": " a"}, "header 'X-Bad' begins or ends with white space; remove it"),
        ({"X Bad": "a"}, "header 'X Bad' is no header name; use letters, digits and hyphens"),
        ({"X\n": "a"}, "header 'X\\n' has a line break; remove it"),
        ({"X-Bad": "é"}, "header 'X-Bad' has a character outside ASCII; replace it"),
        ({"é": "a"}, "header 'é' has a character outside ASCII; replace it"),
        ({"X-Bad": 5}, "header 'X-Bad' needs a str, not int"),
        ({"X-Bad": None}, "header 'X-Bad' needs a str, not NoneType"),
        ({5: "a"}, "header 5 needs a str, not str"),
    ],
)
def test_header_problem(headers: dict[object, object], expected: str | None) -> None:
    """The first header that HTTP cannot carry is named with its cure."""
    assert header_problem(headers) == expected


@cases(
    "value",
    ["http://localhost", "https://example.com/v1", "https://[::1]:8080/v1/", "HTTPS://host:443"],
)
def test_address(value: str) -> None:
    """An http(s) address with a host has no problem."""
    assert address_problem(value) is None


@cases(
    "value",
    [
        "",
        "example.com/v1",
        "localhost:8080",
        "//example.com",
        "ftp://example.com",
        "file:///etc/hosts",
        "https://",
        "https:///v1",
        "https://host:port",
        "https://host:99999",
        "https://host:0",
        "https://[::1",
        None,
        5,
    ],
)
def test_no_address(value: object) -> None:
    """What is no http(s) address with a host is told the form of one."""
    assert (address_problem(value) or "").startswith("must be an address with http:// or https://")


@cases(
    "value",
    [
        f"https://user:{KEY}@example.com",
        f"https://{KEY}@example.com/v1",
        f"https://example.com/v1?key={KEY}",
        f"https://example.com/v1#{KEY}",
    ],
)
def test_key_in_an_address(value: str) -> None:
    """A key in an address is refused without being repeated."""
    problem = address_problem(value) or ""
    assert (problem[:37], KEY in problem) == ("must have no user, password, query or", False)


@cases(
    ("given", "expected"),
    [
        ("https://openrouter.ai", DEFAULT),
        ("https://openrouter.ai/", DEFAULT),
        ("https://openrouter.ai/api/v1", DEFAULT),
        ("https://openrouter.ai/api/v1/", DEFAULT),
        ("https://openrouter.ai/api/v1/rerank", DEFAULT),
        ("https://openrouter.ai/api/v1/rerank/", DEFAULT),
        ("http://localhost:8080", "http://localhost:8080/api/v1"),
        ("http://localhost:8080/v1", "http://localhost:8080/v1"),
        ("http://localhost:8080/v2/", "http://localhost:8080/v2"),
        ("http://localhost:8080/rerank", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080/api/v1"),
        ("https://host/my/rerank/v1", "https://host/my/rerank/v1"),
        ("https://host/myrerank", "https://host/myrerank"),
    ],
)
def test_base_url(given: str, expected: str) -> None:
    """An address without a path gets the vendor's, and a trailing `/` or `/rerank` is cut."""
    assert normalised_base_url(given, DEFAULT) == expected


def _loop() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    return deep


@cases("value", [None, {"a": [1, 0.5, "é", True, None]}, {1: (2, 3)}])
def test_json(value: object) -> None:
    """What JSON can carry has no problem."""
    assert json_problem(value) is None


@cases(
    ("value", "expected"),
    [
        ({"a": object()}, "holds a value that JSON cannot carry"),
        ({"a": b"x"}, "holds a value that JSON cannot carry"),
        ([float("nan")], "holds a value that JSON cannot carry"),
        ([float("-inf")], "holds a value that JSON cannot carry"),
        (_loop(), "holds a value that JSON cannot carry"),
        (_deep(), "is nested too deeply for JSON"),
    ],
    ids=["object", "bytes", "nan", "inf", "loop", "deep"],
)
def test_no_json(value: object, expected: str) -> None:
    """What JSON cannot carry is told why."""
    assert json_problem(value) == expected
