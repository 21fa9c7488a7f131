"""Rate limits, Retry-After and a circuit breaker for one endpoint, for all threads and tasks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_MINUTE = 60.0
FAILURE_THRESHOLD = 5  # in a row, before the circuit breaker opens
COOLDOWN = 30.0  # seconds for which it is left alone, and after which one call tries again
_GAP = 0.01  # seconds between those who return after a hold


class RateLimit(NamedTuple):
    """How much may be sent in any minute; None for no limit."""

    requests: int | None = None
    documents: int | None = None


class Reservation(float):
    """Seconds to wait, and what is needed to wait on or to give the place back."""

    at: float
    holds: int


class RateLimiter:
    """The rate limit, Retry-After and circuit breaker of one endpoint.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._requests, self._documents = _Window(), _Window()
        self._held_until = 0.0
        self._holds = 0
        self._behind = 0  # how many wait for the hold in force
        self._failures = 0
        self._out_until = 0.0

    def reset_lock(self) -> None:
        """Start with a lock that nobody holds, in a forked child."""
        self._lock = threading.Lock()

    def reserve(
        self, pace: RateLimit, documents: int, pause: float = 0.0, latest: float | None = None
    ) -> Reservation | None:
        """Seconds until a request with so many documents may go; its place is taken.

        At least `pause`; None where it would be later than in `latest` seconds, and then no
        place is taken.
        """
        with self._lock:
            now = self._clock()
            goes, behind = self._after_hold(now, now + pause)
            goes = self._requests.free(now, goes, 1, pace.requests)
            goes = self._documents.free(now, goes, documents, pace.documents)
            if latest is not None and goes - now > latest:
                return None
            self._behind = behind
            if pace.requests is not None:
                self._requests.take(goes, 1)
            if pace.documents is not None:
                self._documents.take(goes, documents)
            turn = Reservation(goes - now)
            turn.at, turn.holds = goes, self._holds
            return turn

    def cancel(self, turn: Reservation, documents: int) -> None:
        """The place of a turn is free again: its request will not be sent."""
        with self._lock:
            self._requests.drop(turn.at, 1)
            self._documents.drop(turn.at, documents)

    def extra_wait(self, turn: Reservation, latest: float | None = None) -> float | None:
        """Seconds to wait on, after a turn's own wait, for a hold that has begun meanwhile.

        None where it ends later than in `latest` seconds.
        """
        with self._lock:
            if turn.holds == self._holds:
                return 0.0
            turn.holds = self._holds
            now = self._clock()
            goes, self._behind = self._after_hold(now, now)
            return None if latest is not None and goes - now > latest else goes - now

    def block_for(self, seconds: float) -> None:
        """Send nothing for so many seconds: the server sent Retry-After."""
        with self._lock:
            until = self._clock() + seconds
            if until > self._held_until:
                self._held_until, self._behind = until, 0
                self._holds += 1

    def _after_hold(self, now: float, goes: float) -> tuple[float, int]:
        """When one may go who would go then, and how many wait for the hold with that one."""
        if self._held_until <= now:
            return goes, self._behind
        return max(goes, self._held_until) + self._behind * _GAP, self._behind + 1

    def record_failure(self) -> None:
        """A call failed in a way that a fallback may fix."""
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURE_THRESHOLD:
                self._out_until = self._clock() + COOLDOWN

    def record_success(self) -> None:
        """A call succeeded."""
        with self._lock:
            self._failures = 0
            self._out_until = 0.0

    def is_open(self) -> bool:
        """Whether the circuit breaker is open."""
        with self._lock:
            return self._failures >= FAILURE_THRESHOLD and self._clock() < self._out_until

    def blocks_call(self) -> bool:
        """Whether the breaker blocks this call; after the cooldown one call may pass as a probe."""
        with self._lock:
            if self._failures < FAILURE_THRESHOLD:
                return False
            now = self._clock()
            if now < self._out_until:
                return True
            self._out_until = now + COOLDOWN
            return False


class _Window:
    """What was sent in the last minute, and what is about to be, in order of time."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()
        self._total = 0

    def free(self, now: float, goes: float, count: int, limit: int | None) -> float:
        """When so much more may be sent, not before `goes`."""
        if limit is None:
            return goes
        while self._sent and self._sent[0][0] <= now - _MINUTE:
            self._total -= self._sent.popleft()[1]
        if self._sent:
            goes = max(goes, self._sent[-1][0])  # nobody overtakes who waits already
        total = self._total
        for at, sent in self._sent:
            if at > goes - _MINUTE and total + min(count, limit) <= limit:
                break
            goes = max(goes, at + _MINUTE)
            total -= sent
        return goes

    def drop(self, at: float, count: int) -> None:
        if (at, count) in self._sent:
            self._sent.remove((at, count))
            self._total -= count

    def take(self, goes: float, count: int) -> None:
        self._sent.append((goes, count))
        self._total += count
