"""Rate limits, Retry-After and circuit breakers of a client, shared by its threads and tasks.

The rate limiter is written here because pyrate-limiter 4.5 and limits 5.8 do not refuse a wait that
cannot succeed, and do not keep the order of waiting callers.
"""

from __future__ import annotations

import os
import random
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from rerank_integrations._secrets import Secret

_MINUTE = 60.0
FAILURE_THRESHOLD = 5  # in a row, before the circuit breaker opens
COOLDOWN = 30.0  # seconds for which it is open; then one call is a probe
_GAP = 0.01  # seconds between the calls of one client that resume after a Retry-After
_SPREAD, _LEAST_SPREAD, _MOST_SPREAD = 0.1, 0.3, 10.0  # a part of the wait; bounds in seconds
MOST_STATES = 256  # endpoints, or endpoints with key and model, that a client remembers
ROUNDING = 1e-6  # seconds; two clock readings and a minute may differ by less
WAKE_SECONDS = 0.5
"""How many seconds the caller's thread waits at a time.

A signal does not end a wait if it arrives between Python's last check for signals and the start of
the wait; on Windows no signal ends a wait. So each wait is short, and Python checks for signals
after it.
"""
_HASH_KEY = os.urandom(32)


def spread(seconds: float, jitter: float) -> float:
    """Return the jitter to add to a Retry-After, so that clients do not resume at the same time.

    Up to a tenth of the wait, but up to 0.3 s for a short wait, and at most 10 s.
    """
    return jitter * min(max(_SPREAD * seconds, _LEAST_SPREAD), _MOST_SPREAD)


class RateLimit(NamedTuple):
    """How much may be sent in any minute; None for no limit."""

    requests: int | None = None
    documents: int | None = None

    def __str__(self) -> str:
        names = {"requests_per_minute": self.requests, "documents_per_minute": self.documents}
        return ", ".join(f"{name}={limit}" for name, limit in names.items() if limit is not None)


class Reservation(float):
    """The seconds until a slot begins, and what is needed to release the slot."""

    at: float
    requests: int
    documents: int


class RateLimiter:
    """The slots of one endpoint in any minute, assigned in the order of the calls.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._requests, self._documents = _Window(), _Window()

    def reset_lock(self) -> None:
        """Replace the lock in a forked child, where another thread may have held it."""
        self._lock = threading.Lock()

    def is_idle(self) -> bool:
        """Return whether this object can be dropped: no slot in the last minute or later."""
        with self._lock:
            since = self._clock() - _MINUTE
            return all(window.last() <= since for window in (self._requests, self._documents))

    def seconds_until_free(self, limit: RateLimit, documents: int, after: float = 0.0) -> float:
        """Return the seconds until a slot is free, at least `after`, without taking it."""
        with self._lock:
            now = self._clock()
            return self._free(now, now + after, limit, documents) - now

    def seconds_until_last(self, limit: RateLimit, documents: Iterable[int]) -> float:
        """Return the seconds until the last of several requests has a slot, without taking any."""
        with self._lock:
            now = self._clock()
            taken = [self._take(self._free(now, now, limit, n), now, limit, n) for n in documents]
            for one in reversed(taken):
                self._drop(one)
            return max(taken, default=0.0)

    def reserve(
        self, limit: RateLimit, documents: int, latest: float | None = None
    ) -> Reservation | None:
        """Take the next slot for a request with this many documents.

        Returns:
            The slot; None if it would begin later than in `latest` seconds, and is not taken.
        """
        with self._lock:
            now = self._clock()
            at = self._free(now, now, limit, documents)
            if latest is not None and at - now > latest + ROUNDING:
                return None
            return self._take(at, now, limit, documents)

    def cancel(self, reservation: Reservation) -> None:
        """Release a slot whose request is not sent."""
        with self._lock:
            self._drop(reservation)

    def _take(self, at: float, now: float, limit: RateLimit, documents: int) -> Reservation:
        reservation = Reservation(at - now)
        reservation.at = at
        reservation.requests = 0 if limit.requests is None else 1
        reservation.documents = 0 if limit.documents is None else documents
        self._requests.take(at, reservation.requests)
        self._documents.take(at, reservation.documents)
        return reservation

    def _drop(self, reservation: Reservation) -> None:
        self._requests.drop(reservation.at, reservation.requests)
        self._documents.drop(reservation.at, reservation.documents)

    def _free(self, now: float, at: float, limit: RateLimit, documents: int) -> float:
        at = self._requests.free(now, at, 1, limit.requests)
        return self._documents.free(now, at, documents, limit.documents)


class Availability:
    """The Retry-After and the circuit breaker of one endpoint, for one key and model.

    Args:
        clock: returns monotonic seconds.
        jitter: returns random numbers from 0 up to 1.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._blocked_until = 0.0
        self._blocks = 0
        self._asked = 0.0  # seconds of the Retry-After in force
        self._why: object = None
        self._behind = 0  # how many callers wait for its end
        self._failures = 0
        self._open_until = 0.0

    def reset_lock(self) -> None:
        """Replace the lock in a forked child, where another thread may have held it."""
        self._lock = threading.Lock()

    def is_idle(self) -> bool:
        """Return whether this object can be dropped: no Retry-After and no open breaker."""
        with self._lock:
            return max(self._blocked_until, self._open_until) <= self._clock()

    def block_for(self, seconds: float, why: object = None) -> None:
        """Send nothing for these seconds: the server sent Retry-After, as `why` says."""
        with self._lock:
            until = self._clock() + seconds
            if until > self._blocked_until:
                self._blocked_until, self._asked, self._behind = until, seconds, 0
                self._blocks += 1
                self._why = why

    @property
    def why(self) -> Any:
        """The `why` of the Retry-After in force."""
        return self._why

    def wait(self, known: int = 0, latest: float | None = None) -> tuple[int, float]:
        """Return the number of the last Retry-After, and the seconds to wait for its end.

        Callers resume one after another and with jitter, but not later than in `latest` seconds.

        Args:
            known: the number of a Retry-After that the caller has already waited for; 0 for none.
            latest: the longest wait that the caller can make; if the Retry-After ends later, the
                caller is not counted as waiting.
        """
        with self._lock:
            seconds = self._blocked_until - self._clock()
            if known == self._blocks or seconds <= 0:
                return self._blocks, 0.0
            if latest is not None and seconds > latest:
                return self._blocks, seconds
            later = seconds + self._behind * _GAP + spread(self._asked, self._jitter())
            self._behind += 1
            return self._blocks, later if latest is None else min(later, latest)

    def record_failure(self) -> None:
        """Record that the endpoint failed to serve a call."""
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURE_THRESHOLD:
                self._open_until = self._clock() + COOLDOWN

    def record_success(self) -> None:
        """Record that the endpoint served a call, or refused it although it works."""
        with self._lock:
            self._failures = 0
            self._open_until = 0.0

    def is_open(self) -> bool:
        """Return whether the circuit breaker is open."""
        with self._lock:
            return self._failures >= FAILURE_THRESHOLD and self._clock() < self._open_until

    def blocks_call(self) -> bool:
        """Return whether the breaker blocks this call; after the cooldown one probe passes."""
        with self._lock:
            if self._failures < FAILURE_THRESHOLD:
                return False
            now = self._clock()
            if now < self._open_until:
                return True
            self._open_until = now + COOLDOWN
            return False


StateT = TypeVar("StateT", RateLimiter, Availability)


class States(Generic[StateT]):
    """The states of a client by key, with a maximum number (LRU).

    Above the maximum, the least recently used idle state is dropped; without an idle one, the least
    recently used. A call that refers to a dropped state still finds it until the call ends.

    Args:
        make: creates the state of a new key.
        most: the maximum number of states.
        only_idle: whether states that are not idle are never dropped, even above the maximum.
    """

    def __init__(
        self, make: Callable[[], StateT], most: int = MOST_STATES, *, only_idle: bool = False
    ) -> None:
        self._make: Callable[[], StateT] = make
        self._most = most
        self._only_idle = only_idle
        self._kept: OrderedDict[object, StateT] = OrderedDict()
        self._in_use: WeakValueDictionary[object, StateT] = WeakValueDictionary()
        self._lock = threading.Lock()

    def __getitem__(self, key: object) -> StateT:
        with self._lock:
            state = self._kept.get(key)
            if state is not None:
                self._kept.move_to_end(key)
                return state
            state = self._in_use.get(key)
            if state is None:
                state = self._in_use[key] = self._make()
            self._kept[key] = state
            if len(self._kept) > self._most:
                others = list(self._kept)[:-1]
                idle = (one for one in others if self._kept[one].is_idle())
                goes = next(idle, None if self._only_idle else others[0])
                if goes is not None:
                    del self._kept[goes]
            return state

    def __len__(self) -> int:
        return len(self._kept)

    def reset_locks(self) -> None:
        """Replace the locks in a forked child, where other threads may have held them."""
        self._lock = threading.Lock()
        for state in list(self._in_use.values()):
            state.reset_lock()


def key_of(url: str, model: str, credentials: Secret[object]) -> bytes:
    """Return a key for `States`, a hash that hides the credentials and differs in each process."""
    return blake2b(
        # str(url): the repr of an address would hide a key in its query
        repr((str(url), model, credentials.get_secret_value())).encode("utf-8", "surrogatepass"),
        key=_HASH_KEY,
        digest_size=16,
    ).digest()


class _Window:
    """What was sent in the last minute, and what is about to be sent, in order of time.

    In the running sums of the counts, a binary search finds what must be a minute old, also in a
    long queue. A sum behind an entry that was dropped is computed again when it is needed.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._counts: list[int] = []
        self._sums: list[int] = []  # of all counts up to each time; the last ones may be missing
        self._gone = 0  # the sum of the counts that are older

    def last(self) -> float:
        """Return when the last one is or was sent."""
        return self._times[-1] if self._times else float("-inf")

    def free(self, now: float, goes: float, count: int, limit: int | None) -> float:
        """Return when `count` more may be sent, at `goes` or later."""
        if limit is None:
            return goes
        self._forget_until(now - _MINUTE)
        if not self._times:
            return goes
        goes = max(goes, self._times[-1])  # nobody overtakes those who wait already
        self._add_sums()
        must_be_gone = self._sums[-1] - (limit - min(count, limit))
        if must_be_gone <= self._gone:
            return goes
        return max(goes, self._times[bisect_left(self._sums, must_be_gone)] + _MINUTE)

    def drop(self, at: float, count: int) -> None:
        """Remove what was about to be sent, if it is not older than a minute."""
        for place in range(bisect_left(self._times, at), bisect_right(self._times, at)):
            if self._counts[place] == count:
                del self._times[place], self._counts[place], self._sums[place:]
                return

    def take(self, goes: float, count: int) -> None:
        """Add what is about to be sent."""
        if count:
            self._times.append(goes)
            self._counts.append(count)

    def _add_sums(self) -> None:
        total = self._sums[-1] if self._sums else self._gone
        for count in self._counts[len(self._sums) :]:
            total += count
            self._sums.append(total)

    def _forget_until(self, then: float) -> None:
        old = bisect_right(self._times, then)
        if old:
            self._gone += sum(self._counts[:old])
            del self._times[:old], self._counts[:old], self._sums[:old]
