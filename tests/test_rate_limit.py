"""Rate limit, Retry-After and circuit breaker of one endpoint, by a clock that the test moves."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings, strategies as st

from cases import cases
from fakes import COOLDOWN, IN_A_ROW
from rerank_integrations._rate_limit import Availability, RateLimit, RateLimiter, States, key_of
from rerank_integrations._secrets import Secret

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
    latest: float | None = None


seconds = st.floats(0, 90).map(lambda number: round(number, 2))
asks = st.lists(
    st.builds(Ask, seconds, st.integers(1, 40), st.none() | seconds),
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
        free = traffic.seconds_until_free(pace, ask.documents)
        waits = traffic.reserve(pace, ask.documents, ask.latest)
        if waits is None:
            assert ask.latest is not None
            assert free > ask.latest
        else:
            assert waits == free
            assert ask.latest is None or waits <= ask.latest + ALMOST
            turns.append(Reservation(clock.now + waits, ask.documents))
    return turns


def wait(traffic: RateLimiter, pace: RateLimit) -> float:
    """The wait of somebody who has the time."""
    seconds = traffic.reserve(pace, 1)
    assert seconds is not None
    return seconds


def resumes(server: Availability, latest: float | None = None) -> float:
    """The wait for the end of a Retry-After."""
    return server.wait(0, latest)[1]


@pytest.fixture(name="clock")
def clock_fixture() -> Told:
    """A clock that stands still."""
    return Told()


@pytest.fixture(name="traffic")
def traffic_fixture(clock: Told) -> RateLimiter:
    """Traffic on that clock."""
    return RateLimiter(clock)


@pytest.fixture(name="endpoint")
def endpoint_fixture(clock: Told) -> Availability:
    """An endpoint on that clock, without jitter."""
    return Availability(clock, lambda: 0.0)


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
@given(pace=paces, asked=asks)
def test_a_refused_turn_takes_no_place(pace: RateLimit, asked: list[Ask]) -> None:
    """Those who were refused leave the others where they would have been without them."""
    both, alone = (Told(), Told())
    traffic, without = RateLimiter(both), RateLimiter(alone)
    for ask in asked:
        both.now += ask.later
        alone.now = both.now
        waits = traffic.reserve(pace, ask.documents, ask.latest)
        if waits is not None:
            expected = without.reserve(pace, ask.documents, ask.latest)
            assert waits == pytest.approx(expected)


@settings(deadline=None)
@given(limit=st.integers(1, 9), count=st.integers(1, 40))
def test_no_turn_is_wasted(limit: int, count: int) -> None:
    """Those who ask at once go as early as the limit allows, so many a minute."""
    clock = Told()
    turns = let_go(RateLimit(requests=limit), [Ask()] * count, RateLimiter(clock), clock)
    assert [turn.at - 1000 for turn in turns] == [MINUTE * (n // limit) for n in range(count)]


def test_no_limit(traffic: RateLimiter) -> None:
    """Without a limit everybody goes at once."""
    assert [float(traffic.reserve(RateLimit(), 10**9) or 0) for _ in range(3)] == [0, 0, 0]


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


def test_a_retry_after_is_for_all(clock: Told, endpoint: Availability) -> None:
    """After a Retry-After nobody sends until its end, and then all resume one by one."""
    endpoint.block_for(10)
    waits = [resumes(endpoint) for _ in range(100)]
    assert waits[0] == pytest.approx(10)
    assert all(0 < late - early < 0.1 for early, late in pairwise(waits))


def test_a_retry_after_ends(clock: Told, endpoint: Availability) -> None:
    """After its end everybody goes at once again."""
    endpoint.block_for(10)
    for _ in range(5):
        resumes(endpoint)
    clock.now += 10
    assert [resumes(endpoint) for _ in range(3)] == [0, 0, 0]


def test_the_longest_retry_after_counts(endpoint: Availability) -> None:
    """A shorter Retry-After does not end a longer one."""
    endpoint.block_for(20)
    endpoint.block_for(5)
    assert resumes(endpoint) == pytest.approx(20)


def test_a_second_retry_after_begins_anew(clock: Told, endpoint: Availability) -> None:
    """Those who waited for an earlier one keep nobody back in a later one."""
    endpoint.block_for(10)
    for _ in range(1000):
        resumes(endpoint)
    clock.now += 60
    endpoint.block_for(10)
    assert resumes(endpoint) == pytest.approx(10)


def test_a_retry_after_is_waited_for_once(clock: Told, endpoint: Availability) -> None:
    """Who has waited for a Retry-After waits again only for another."""
    endpoint.block_for(10)
    known, seconds = endpoint.wait(0)
    assert (seconds, endpoint.wait(known)[1]) == (10, 0)
    endpoint.block_for(20)
    assert endpoint.wait(known)[1] == pytest.approx(20)


def test_those_that_follow_each_other(clock: Told, endpoint: Availability) -> None:
    """Those who have long gone keep nobody back, also where each begins in the one before."""
    waits = []
    for _ in range(1000):
        endpoint.block_for(2)
        waits.append(resumes(endpoint))
        clock.now += 1
    assert max(waits) < 2.1


def test_a_retry_after_beyond_what_one_can_wait(endpoint: Availability) -> None:
    """Who cannot wait is told the time, and keeps nobody back who can."""
    endpoint.block_for(10)
    assert [resumes(endpoint, latest=9.0) for _ in range(100)] == [10] * 100
    assert resumes(endpoint, latest=10.0) == 10


@cases(("seconds", "most"), [(1.0, 0.3), (10.0, 1.0), (60.0, 6.0)])
def test_clients_resume_with_jitter(clock: Told, seconds: float, most: float) -> None:
    """Clients that were told the same time resume over a tenth of it, and before a deadline."""
    waits, bounded = [], []
    for number in range(40):
        server = Availability(clock, lambda place=number: place / 40)  # type: ignore[misc]
        server.block_for(seconds)
        waits.append(resumes(server))
        bounded.append(resumes(server, latest=seconds + 0.1))
    assert min(waits) >= seconds
    assert max(waits) - min(waits) == pytest.approx(most, rel=0.1)
    assert max(bounded) <= seconds + 0.1


def test_a_limit_after_a_delay(clock: Told, traffic: RateLimiter) -> None:
    """Somebody who will ask later is told what would be free then, and takes nothing."""
    pace = RateLimit(requests=1)
    traffic.reserve(pace, 1)
    assert [traffic.seconds_until_free(pace, 1, after) for after in (0, 50, 70)] == [60, 60, 70]
    assert traffic.reserve(pace, 1) == 60.0


def test_what_a_client_remembers_is_bounded(clock: Told) -> None:
    """The least recently used goes first; what is in use, or limits the last minute, stays."""
    servers = States(lambda: Availability(clock), 3)
    held = servers["held"]
    held.block_for(30)
    used = servers["used"]
    for number in range(1000):
        servers[number].record_failure()
        assert servers["held"] is held
    assert len(servers) == 3
    assert servers["used"] is used

    limiters = States(lambda: RateLimiter(clock), 3, only_idle=True)
    for number in range(10):
        limiters[number].reserve(RateLimit(requests=1), 1)
    assert all(limiters[n].reserve(RateLimit(requests=1), 1, 59.0) is None for n in range(10))
    clock.now += 120
    for number in range(10, 100):
        limiters[number].reserve(RateLimit(), 1)
    assert len(limiters) <= 10


def test_keys_are_hashed() -> None:
    """What a client remembers is found by URL, model and credentials, and shows none of them."""
    key = key_of("https://a.ai/rerank", "m", Secret(["the-secret"]))
    assert key == key_of("https://a.ai/rerank", "m", Secret(["the-secret"]))
    assert b"secret" not in key
    others = [
        ("https://b.ai/rerank", "m", "the-secret"),
        ("https://a.ai/rerank", "n", "the-secret"),
    ]
    others.append(("https://a.ai/rerank", "m", "other"))
    assert key not in {key_of(url, model, Secret([secret])) for url, model, secret in others}


def test_what_is_remembered_is_bounded(clock: Told, traffic: RateLimiter) -> None:
    """A window forgets what was sent more than a minute ago."""
    for _ in range(1000):
        clock.now += 1
        traffic.reserve(RateLimit(1000, 1000), 1)
    assert len(traffic._requests._times) <= MINUTE + 1
    assert len(traffic._documents._times) <= MINUTE + 1


outcomes = st.lists(st.sampled_from(["failed", "succeeded"]), max_size=30)


@settings(deadline=None)
@given(outcomes=outcomes)
def test_a_break_follows_a_row(outcomes: list[str]) -> None:
    """An endpoint is left alone exactly when its last calls failed, enough of them in a row."""
    traffic = Availability(Told())
    for outcome in outcomes:
        getattr(traffic, {"failed": "record_failure"}.get(outcome, "record_success"))()
    row = 0
    for outcome in outcomes:
        row = row + 1 if outcome == "failed" else 0
    assert traffic.blocks_call() is (row >= IN_A_ROW)


def test_one_is_told_no_after_a_break(clock: Told, endpoint: Availability) -> None:
    """After a break one caller may try, and the next only after as long again."""
    for _ in range(IN_A_ROW):
        endpoint.record_failure()
    said = []
    for passed in (0.0, COOLDOWN - 0.1, 0.1, 0.0, COOLDOWN - 0.1, 0.1):
        clock.now += passed
        said.append(endpoint.blocks_call())
    assert said == [True, True, False, True, True, False]


def test_a_cancelled_reservation_frees_all_its_documents() -> None:
    """A request that is not sent gives back its place and every document that it counted."""
    limiter, limit = RateLimiter(clock=lambda: 0.0), RateLimit(documents=10)
    limiter.reserve(limit, 10)
    reservation = limiter.reserve(limit, 10)
    assert reservation is not None
    limiter.cancel(reservation)
    assert limiter.reserve(limit, 10) == 60.0
