"""One rate limit for several processes: slots are reserved in a SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from rerank_integrations._cache import SqliteFile, sqlite_address, sqlite_path
from rerank_integrations._rate_limit import RateLimit
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._validation import finite, shown_address

# a minute, and by how much a request may be late for its slot: a late one and those that follow in
# time would else be more in a minute than the limit allows
_MINUTE = 60.5
_JUMP = 1.0  # seconds by which the clock must go back to be taken for a clock that was set
_TABLE = (
    "CREATE TABLE IF NOT EXISTS slots (address TEXT PRIMARY KEY, asked REAL NOT NULL, "
    "request REAL NOT NULL, document REAL NOT NULL) WITHOUT ROWID"
)


@runtime_checkable
class SharedLimit(Protocol):
    """A rate limit that several workers share, such as one of your own in Redis."""

    def reserve(self, requests: int, documents: int) -> float:
        """Take the next slot, and return the seconds until it begins; must not wait for it."""


class Reserve(Protocol):
    """Takes the next slot of an endpoint; None where it has to be tried again soon."""

    def __call__(self, address: str, limit: RateLimit, documents: int, /) -> float | None:
        """Seconds until the slot begins."""


RateLimitStore: TypeAlias = str | SharedLimit
"""`"sqlite:///path"`, or an object with `reserve(requests, documents)`."""


def check_shared(given: Any) -> None:
    """Check what was given as `rate_limit`.

    Raises:
        ConfigurationError: neither an address of a SQLite file nor an object with `reserve`.
    """
    if isinstance(given, str):
        sqlite_path("rate_limit", given)
    elif given is not None and (isinstance(given, type) or not isinstance(given, SharedLimit)):
        raise ConfigurationError(
            "rate_limit must be 'sqlite:///path', or an object with reserve(requests, documents) "
            f"that returns seconds, not {type(given).__name__}"
        )


def absolute(given: Any) -> Any:
    """The same with the whole path, for a process with another current directory."""
    check_shared(given)
    if not isinstance(given, str):
        return given
    return sqlite_address(sqlite_path("rate_limit", given))


def shared_reserve(given: Any, limit: RateLimit) -> Reserve | None:
    """What takes slots of a shared limit; None where there is none.

    Raises:
        ConfigurationError: nothing says how much may be sent, or a file that cannot be used.
    """
    check_shared(given)
    if given is None:
        return None
    if not isinstance(given, str):
        return _of_object(given)
    if not any(limit):
        raise ConfigurationError(
            "rate_limit says where slots are kept; say how many there are, with "
            "requests_per_minute=, documents_per_minute= or both"
        )
    return SqliteLimit(sqlite_path("rate_limit", given)).reserve


def _of_object(given: SharedLimit) -> Reserve:
    def reserve(_address: str, _limit: RateLimit, documents: int) -> float:
        seconds = finite(given.reserve(1, documents))
        if seconds is None:
            raise ConfigurationError(
                f"reserve() of {type(given).__name__} must return a number of seconds"
            )
        return seconds

    return reserve


class SqliteLimit:
    """The slots of endpoints, in a SQLite file that all processes of a machine share.

    A row for each endpoint holds when the next request, and the next document, may go. Who wants
    to send moves both on, in one short transaction, and waits outside of it: so slots are evenly
    spaced and given out in the order of asking (a GCRA without a burst).

    Args:
        clock: seconds on which all processes agree.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # who finds the file busy tries again without blocking its event loop
        self._file = SqliteFile(file, "rate limit", _TABLE, busy=0.0)

    def reserve(self, address: str, limit: RateLimit, documents: int) -> float | None:
        """Seconds until the slot that was taken; None where another process holds the file.

        Raises:
            ConfigurationError: the file can no longer be used.
        """
        address = _hidden(address)
        try:
            with self._file.transaction() as db:
                now = self._clock()
                found = db.execute(
                    "SELECT asked, request, document FROM slots WHERE address = ?", (address,)
                ).fetchone()
                asked, request, document = found or (now, 0.0, 0.0)
                back = asked - now if asked - now > _JUMP else 0.0  # the clock was set
                at = max(now, request - back, document - back)
                if limit.requests is not None:
                    request = at + _MINUTE / limit.requests
                if limit.documents is not None:
                    document = at + documents * _MINUTE / limit.documents
                db.execute(
                    "INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?)",
                    (address, now, request, document),
                )
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return None
            raise ConfigurationError(
                f"cannot use the rate limit {str(self._file.path)!r}: {error}"
            ) from error
        return at - now


def _hidden(address: str) -> str:
    """The address as a file may hold it: of a query, which may have a key, a hash."""
    shown = shown_address(address)
    if shown == address:
        return shown
    return shown + blake2b(address.encode(), digest_size=16).hexdigest()
