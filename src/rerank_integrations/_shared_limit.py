"""One rate limit for several processes: slots are reserved in a SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from rerank_integrations._cache import SqliteFile, is_busy, sqlite_address, sqlite_path
from rerank_integrations._rate_limit import RateLimit
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._validation import finite, shown_address

# a minute, plus the time by which a request may be late for its slot: otherwise a late request and
# the punctual ones after it could exceed the limit of a minute
_MINUTE = 60.5
_JUMP = 1.0  # seconds; if the clock goes back by more, somebody has set it
_TABLE = (
    "CREATE TABLE IF NOT EXISTS slots (address TEXT PRIMARY KEY, asked REAL NOT NULL, "
    "request REAL NOT NULL, document REAL NOT NULL) WITHOUT ROWID"
)


@runtime_checkable
class SharedLimit(Protocol):
    """A rate limit that several workers share, such as one of your own in Redis."""

    def reserve(self, requests: int, documents: int) -> float:
        """Take the next slot, and return the seconds until it begins, without waiting for it.

        Args:
            requests: the number of requests to send.
            documents: the number of documents in them.
        """


class Reserve(Protocol):
    """Takes the next slot of an endpoint."""

    def __call__(self, address: str, limit: RateLimit, documents: int, /) -> float | None:
        """Return the seconds until the slot begins; None if the caller must try again soon."""


RateLimitStore: TypeAlias = str | SharedLimit
"""`"sqlite:///path"`, or an object with `reserve(requests, documents)`."""


def check_shared(given: Any) -> None:
    """Validate the argument `rate_limit`.

    Raises:
        ConfigurationError: it is neither "sqlite:///path" nor an object with `reserve`.
    """
    if isinstance(given, str):
        sqlite_path("rate_limit", given)
    elif given is not None and (isinstance(given, type) or not isinstance(given, SharedLimit)):
        raise ConfigurationError(
            "rate_limit must be 'sqlite:///path', or an object with reserve(requests, documents) "
            f"that returns seconds, not {type(given).__name__}"
        )


def absolute(given: Any) -> Any:
    """Make the path absolute, for a process with another current directory."""
    check_shared(given)
    if not isinstance(given, str):
        return given
    return sqlite_address(sqlite_path("rate_limit", given))


def shared_reserve(given: Any, limit: RateLimit) -> Reserve | None:
    """Return the function that takes slots of a shared limit; None without one.

    Raises:
        ConfigurationError: no limit is set, or the file cannot be used.
    """
    check_shared(given)
    if given is None:
        return None
    if not isinstance(given, str):
        return _of_object(given)
    if not any(limit):
        raise ConfigurationError(
            "rate_limit says only where slots are stored; set the limit too, with "
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
    """The slots of endpoints, in a SQLite file that all processes on a machine share.

    The row of an endpoint holds the times at which the next request and the next document may be
    sent. A caller advances both in one short transaction, and then waits outside of it. So slots
    are evenly spaced, and assigned in the order of the calls (a GCRA without bursts).

    Args:
        file: the path of the SQLite file.
        clock: returns seconds on which all processes agree.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # no wait inside of SQLite: a caller that finds the file busy retries, and so does not block
        # its event loop
        self._file = SqliteFile(file, "rate limit", _TABLE, busy=0.0)

    def reserve(self, address: str, limit: RateLimit, documents: int) -> float | None:
        """Take a slot and return the seconds until it begins; None if another process writes.

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
            if is_busy(error):
                return None
            raise ConfigurationError(
                f"cannot use the rate limit {str(self._file.path)!r}: {error}"
            ) from error
        return at - now


def _hidden(address: str) -> str:
    """Replace the query of a URL by a hash, because it may hold a key."""
    shown = shown_address(address)
    if shown == address:
        return shown
    return shown + blake2b(address.encode(), digest_size=16).hexdigest()
