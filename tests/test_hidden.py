"""Tests of the box for secrets."""

from __future__ import annotations

import copy
import pickle

import pytest

from rerank_integrations._hidden import Hidden
from support import KEY


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"Authorization": KEY}, "<hidden dict, 1>"),
        (KEY.encode(), "<hidden bytes, 18>"),
        (5, "<hidden int>"),
    ],
)
def test_repr(content: object, expected: str) -> None:
    """The repr tells the kind and size of the content, and nothing of it."""
    assert repr(Hidden(content)) == expected


@pytest.mark.parametrize("form", [str, "{!s}".format, "{}".format, "{!r}".format])
def test_no_form_shows_the_content(form: object) -> None:
    """No way to turn the box into text shows the content."""
    assert callable(form)
    assert KEY not in form(Hidden(KEY))


def test_reveal() -> None:
    """The content comes out as the object that went in."""
    content = {"Authorization": KEY}
    assert Hidden(content).reveal() is content


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Hidden(KEY), Hidden(KEY), True),
        (Hidden(KEY), Hidden("other"), False),
        (Hidden(KEY), KEY, False),
    ],
)
def test_equality(one: object, other: object, expected: bool) -> None:  # noqa: FBT001
    """Boxes are equal by content, and never to the bare content."""
    assert (one == other) is expected


def test_no_hash() -> None:
    """A box has no hash, because its content may have none."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Hidden(KEY))


def test_copies() -> None:
    """A copied or pickled box holds the same content."""
    box = Hidden({"a": "b"})
    assert copy.deepcopy(box) == pickle.loads(pickle.dumps(box)) == box  # noqa: S301
