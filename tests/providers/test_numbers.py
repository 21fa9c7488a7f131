"""Tests of numbers that a far side sent."""

from __future__ import annotations

import math

import pytest

from cases import cases
from rerank_integrations.providers._validation import finite, seconds_in


@cases(
    ("value", "expected"),
    [
        (1, 1.0),
        (0, 0.0),
        (-0.5, -0.5),
        (True, None),
        ("1", None),
        (None, None),
        ([1], None),
        (math.nan, None),
        (math.inf, None),
        pytest.param(10**400, None, id="huge"),
    ],
)
def test_finite(value: object, expected: float | None) -> None:
    """A number is one that is finite, and neither a bool nor a text."""
    assert finite(value) == expected


def test_finite_is_a_float() -> None:
    """A whole number becomes a float."""
    assert type(finite(1)) is float


@cases(
    ("text", "expected"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_seconds(text: str | None, expected: float | None) -> None:
    """Seconds are a finite number of at least zero."""
    assert seconds_in(text) == expected
