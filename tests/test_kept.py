"""Free connections: which one is used next, and which are closed."""

from __future__ import annotations

from rerank_integrations._kept import MOST_KEPT, Kept


class Line:
    """A connection that knows whether it stands."""

    def __init__(self, *, is_reusable: bool = True) -> None:
        self.is_reusable = is_reusable
        self.is_open = True

    def stands(self) -> bool:
        """Whether it was not closed."""
        return self.is_open

    def close(self) -> None:
        """Close it."""
        self.is_open = False


def filled(*lines: Line) -> Kept[Line]:
    """Keeps these, given back in order."""
    kept: Kept[Line] = Kept()
    for line in lines:
        kept.give_back("here", line)
    return kept


def test_the_last_used_is_used_next() -> None:
    """The connection that was given back last is taken first, and by one caller only."""
    first, last = Line(), Line()
    kept = filled(first, last)
    assert [kept.take("here") for _ in range(3)] == [last, first, None]


def test_a_place_has_its_own() -> None:
    """No connection is taken for another place than the one it leads to."""
    assert filled(Line()).take("there") is None


def test_one_that_has_fallen_is_passed_over() -> None:
    """A connection that the far side has closed is closed here too, and the next one taken."""
    standing, fallen = Line(), Line()
    kept = filled(standing, fallen)
    fallen.is_open = False
    assert kept.take("here") is standing
    assert len(kept) == 0


def test_one_of_no_more_use_is_closed() -> None:
    """What cannot serve another request is not kept."""
    used = Line(is_reusable=False)
    assert len(filled(used)) == 0
    assert not used.is_open


def test_no_more_are_kept_than_are_of_use() -> None:
    """Above the most, the one that was free the longest is closed."""
    lines = [Line() for _ in range(MOST_KEPT + 2)]
    kept = filled(*lines)
    assert len(kept) == MOST_KEPT
    assert [line.is_open for line in lines[:3]] == [False, False, True]


def test_none_is_kept_after_the_end() -> None:
    """Closing closes those that are free now, and the others when they are given back."""
    free, busy = Line(), Line()
    kept = filled(free)
    assert kept.close() == [free]
    kept.give_back("here", busy)
    assert not free.is_open
    assert not busy.is_open
    assert len(kept) == 0
