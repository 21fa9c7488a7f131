"""Tests of the box for secrets."""

from __future__ import annotations

import copy
import pickle

import pytest

from cases import cases
from rerank_integrations._secrets import Secret
from support import KEY


@cases(
    ("content", "expected"),
    [
        ({"Authorization": KEY}, "<hidden dict, 1>"),
        (KEY.encode(), "<hidden bytes, 18>"),
        (5, "<hidden int>"),
    ],
)
def test_repr(content: object, expected: str) -> None:
    """The repr tells the kind and size of the content, and nothing of it."""
    assert repr(Secret(content)) == expected


@cases("form", [str, "{!s}".format, "{}".format, "{!r}".format])
def test_no_form_shows_the_content(form: object) -> None:
    """No way to turn the box into text shows the content."""
    assert callable(form)
    assert KEY not in form(Secret(KEY))


def test_reveal() -> None:
    """The content comes out as the object that went in."""
    content = {"Authorization": KEY}
    assert Secret(content).get_secret_value() is content


@cases(
    ("one", "other", "expected"),
    [
        (Secret(KEY), Secret(KEY), True),
        (Secret(KEY), Secret("other"), False),
        (Secret(KEY), KEY, False),
    ],
)
def test_equality(one: object, other: object, expected: bool) -> None:  # noqa: FBT001
    """Boxes are equal by content, and never to the bare content."""
    assert (one == other) is expected


def test_no_hash() -> None:
    """A box has no hash, because its content may have none."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(KEY))


def test_copies() -> None:
    """A copied or pickled box holds the same content."""
    box = Secret({"a": "b"})
    assert copy.deepcopy(box) == pickle.loads(pickle.dumps(box)) == box  # noqa: S301
