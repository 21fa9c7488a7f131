"""Pace, patience and breaks towards one endpoint, by a clock that the test moves."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings, strategies as st

from fakes import COOLDOWN, IN_A_ROW
from rerank_integrations._rate_limit import RateLimit, RateLimiter

MINUTE = 60.0
ALMOST = 1e-6


class Told:
    """A clock that says what it was told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Reservation(NamedTuple):
    """A request that was let go, at a time, with so many documents."""

    at: float
    documents: int


class Ask(NamedTuple):
    """Somebody who asks for a turn, so many seconds after the one before."""

    later: float = 0.0
    documents: int = 1
    pause: float = 0.0
    latest: float | None = None


seconds = st.floats(0, 90).map(lambda number: round(number, 2))
asks = st.lists(
    st.builds(Ask, seconds, st.integers(1, 40), st.just(0.0) | seconds, st.none() | seconds),
    max_size=40,
)
paces = st.builds(RateLimit, st.none() | st.integers(1, 6), st.none() | st.integers(1, 50))


def let_go(
    pace: RateLimit, asked: list[Ask], traffic: RateLimiter, clock: Told
) -> list[Reservation]:
    """The turns of those who were not refused."""
    turns = []
    for ask in asked:
        clock.now += ask.later
        waits = traffic.reserve(pace, ask.documents, ask.pause, ask.latest)
        if waits is not None:
            assert waits >= ask.pause - ALMOST
            assert ask.latest is None or waits <= ask.latest
            turns.append(Reservation(clock.now + waits, ask.documents))
    return turns


def wait(traffic: RateLimiter, pace: RateLimit, pause: float = 0.0) -> float:
    """The wait of somebody who has the time."""
    seconds = traffic.reserve(pace, 1, pause)
    assert seconds is not None
    return seconds


@pytest.fixture(name="clock")
def clock_fixture() -> Told:
    """A clock that stands still."""
    return Told()


@pytest.fixture(name="traffic")
def traffic_fixture(clock: Told) -> RateLimiter:
    """Traffic on that clock."""
    return RateLimiter(clock)


@settings(deadline=None, max_examples=400)
@given(pace=paces, asked=asks)
@example(pace=RateLimit(2, 10), asked=[Ask(documents=10), Ask(documents=40), Ask(59.99), Ask(0.01)])
def test_no_minute_has_more_than_allowed(pace: RateLimit, asked: list[Ask]) -> None:
    """In no minute go more requests or documents than allowed, but one that is larger alone."""
    clock = Told()
    turns = let_go(pace, asked, RateLimiter(clock), clock)
    for first in turns:
        minute = [turn for turn in turns if first.at <= turn.at < first.at + MINUTE - ALMOST]
        assert pace.requests is None or len(minute) <= pace.requests
        documents = sum(turn.documents for turn in minute)
        assert pace.documents is None or documents <= pace.documents or len(minute) == 1


@settings(deadline=None)
@given(pace=paces, asked=asks)
def test_nobody_overtakes(pace: RateLimit, asked: list[Ask]) -> None:
    """Where there is a limit, who asks first goes first."""
    clock = Told()
    turns = let_go(pace, asked, RateLimiter(clock), clock)
    if pace != RateLimit():
        assert [turn.at for turn in turns] == sorted(turn.at for turn in turns)


@settings(deadline=None)
@given(pace=paces, asked=asks, held=st.none() | st.floats(1, 100))
@example(pace=RateLimit(), asked=[Ask(latest=5.0)] * 40, held=10.0)
def test_a_refused_turn_takes_no_place(
    pace: RateLimit, asked: list[Ask], held: float | None
) -> None:
    """Those who were refused leave the others where they would have been without them."""
    both, alone = (Told(), Told())
    traffic, without = RateLimiter(both), RateLimiter(alone)
    if held is not None:
        traffic.block_for(held)
        without.block_for(held)
    for ask in asked:
        both.now += ask.later
        alone.now = both.now
        waits = traffic.reserve(pace, ask.documents, ask.pause, ask.latest)
        if waits is not None:
            expected = without.reserve(pace, ask.documents, ask.pause, ask.latest)
            assert waits == pytest.approx(expected)


@settings(deadline=None)
@given(limit=st.integers(1, 9), count=st.integers(1, 40))
def test_no_turn_is_wasted(limit: int, count: int) -> None:
    """Those who ask at once go as early as the limit allows, so many a minute."""
    clock = Told()
    turns = let_go(RateLimit(requests=limit), [Ask()] * count, RateLimiter(clock), clock)
    assert [turn.at - 1000 for turn in turns] == [MINUTE * (n // limit) for n in range(count)]


def test_no_limit(traffic: RateLimiter) -> None:
    """Without a limit everybody goes at once, or after the own pause."""
    assert [float(traffic.reserve(RateLimit(), 10**9, pause) or 0) for pause in (0, 7, 0)] == [
        0,
        7,
        0,
    ]


def test_a_minute_passes(clock: Told, traffic: RateLimiter) -> None:
    """What was sent a minute ago no longer counts."""
    pace = RateLimit(requests=1)
    assert wait(traffic, pace) == 0
    clock.now += 59
    assert traffic.reserve(pace, 1, latest=0.5) is None
    clock.now += 1
    assert wait(traffic, pace) == 0


def test_more_documents_than_a_minute_has(clock: Told, traffic: RateLimiter) -> None:
    """A request with more documents than allowed goes alone, instead of never."""
    pace = RateLimit(documents=10)
    waits = [float(traffic.reserve(pace, count) or 0) for count in (5, 25, 5)]
    assert waits == [0, 60, 120]


@pytest.mark.parametrize(("latest", "waits"), [(59.9, None), (60.0, 60.0), (0.0, None)])
def test_who_cannot_wait_is_refused(
    traffic: RateLimiter, latest: float, waits: float | None
) -> None:
    """A turn that comes later than one can wait is refused at once."""
    pace = RateLimit(requests=1)
    traffic.reserve(pace, 1)
    assert traffic.reserve(pace, 1, latest=latest) == waits


def test_a_hold_holds_everybody(clock: Told, traffic: RateLimiter) -> None:
    """While an endpoint has asked for peace nobody sends, and afterwards all return one by one."""
    traffic.block_for(10)
    waits = [wait(traffic, RateLimit()) for _ in range(100)]
    assert waits[0] == pytest.approx(10)
    assert all(0 < late - early < 0.1 for early, late in pairwise(waits))
    assert wait(traffic, RateLimit(), 30.0) >= 30.0


def test_a_hold_ends(clock: Told, traffic: RateLimiter) -> None:
    """After a hold everybody goes at once again."""
    traffic.block_for(10)
    for _ in range(5):
        traffic.reserve(RateLimit(), 1)
    clock.now += 10
    assert [wait(traffic, RateLimit()) for _ in range(3)] == [0, 0, 0]


def test_the_longest_hold_counts(traffic: RateLimiter) -> None:
    """A shorter hold does not end a longer one."""
    traffic.block_for(20)
    traffic.block_for(5)
    assert traffic.reserve(RateLimit(), 1) == pytest.approx(20)


def test_a_second_hold_begins_anew(clock: Told, traffic: RateLimiter) -> None:
    """Those who waited for an earlier hold keep nobody back in a later one."""
    traffic.block_for(10)
    for _ in range(1000):
        traffic.reserve(RateLimit(), 1)
    clock.now += 60
    traffic.block_for(10)
    assert traffic.reserve(RateLimit(), 1) == pytest.approx(10)


def test_holds_that_follow_each_other(clock: Told, traffic: RateLimiter) -> None:
    """Those who have long gone keep nobody back, also where each hold begins in the one before."""
    waits = []
    for _ in range(1000):
        traffic.block_for(2)
        waits.append(wait(traffic, RateLimit()))
        clock.now += 1
    assert max(waits) < 2.1


def test_a_hold_beyond_what_one_can_wait(traffic: RateLimiter) -> None:
    """Who cannot wait for the end of a hold is refused at once."""
    traffic.block_for(10)
    assert traffic.reserve(RateLimit(), 1, latest=9.0) is None


def test_a_hold_and_a_limit(clock: Told, traffic: RateLimiter) -> None:
    """Also those who return from a hold keep to the limit."""
    pace = RateLimit(requests=2)
    traffic.block_for(10)
    waits = sorted(wait(traffic, pace) for _ in range(6))
    assert waits[2] - waits[0] >= MINUTE - ALMOST
    assert waits[4] - waits[2] >= MINUTE - ALMOST


def test_what_is_remembered_is_bounded(clock: Told, traffic: RateLimiter) -> None:
    """A window forgets what was sent more than a minute ago."""
    for _ in range(1000):
        clock.now += 1
        traffic.reserve(RateLimit(1000, 1000), 1)
    assert len(traffic._requests._sent) <= MINUTE + 1
    assert len(traffic._documents._sent) <= MINUTE + 1


outcomes = st.lists(st.sampled_from(["failed", "succeeded"]), max_size=30)


@settings(deadline=None)
@given(outcomes=outcomes)
def test_a_break_follows_a_row(outcomes: list[str]) -> None:
    """An endpoint is left alone exactly when its last calls failed, enough of them in a row."""
    traffic = RateLimiter(Told())
    for outcome in outcomes:
        getattr(traffic, {"failed": "record_failure"}.get(outcome, "record_success"))()
    row = 0
    for outcome in outcomes:
        row = row + 1 if outcome == "failed" else 0
    assert traffic.blocks_call() is (row >= IN_A_ROW)


def test_one_is_told_no_after_a_break(clock: Told, traffic: RateLimiter) -> None:
    """After a break one caller may try, and the next only after as long again."""
    for _ in range(IN_A_ROW):
        traffic.record_failure()
    said = []
    for passed in (0.0, COOLDOWN - 0.1, 0.1, 0.0, COOLDOWN - 0.1, 0.1):
        clock.now += passed
        said.append(traffic.blocks_call())
    assert said == [True, True, False, True, True, False]


def test_a_cancelled_reservation_frees_all_its_documents() -> None:
    """A request that is not sent gives back its place and every document that it counted."""
    limiter, limit = RateLimiter(clock=lambda: 0.0), RateLimit(documents=10)
    limiter.reserve(limit, 10)
    reservation = limiter.reserve(limit, 10)
    assert reservation is not None
    limiter.cancel(reservation, 10)
    assert limiter.reserve(limit, 10) == 60.0
