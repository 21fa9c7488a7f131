"""The cache of scores, in memory or in a SQLite file, and SQLite files that processes share."""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias
from weakref import WeakSet

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._validation import finite

_SCHEME = "sqlite:///"
MEMORY = "memory"
_IN_MEMORY, _IN_FILE = 100_000, 1_000_000  # entries; 23 MB in memory, 70 MB in a file
_AT_ONCE = 500  # keys of one query; SQLite before 3.32 takes 999
_BUSY = 0.05  # seconds that a call waits for another process; then it goes on without the cache
_LONGEST_USE = 1.0  # seconds that a fork waits for a thread that uses a file
# `place` grows with each entry, so the oldest are those with the smallest ones
_TABLE = """
    CREATE TABLE IF NOT EXISTS rerank_scores (
        place INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,
        score REAL NOT NULL, stored REAL NOT NULL
    )
"""
_FIND = "SELECT key, score FROM rerank_scores WHERE stored >= ? AND key IN ({})"
_FIND_ONE = "SELECT key, score FROM rerank_scores WHERE stored >= ? AND key = ?"
_KEEP = "INSERT OR REPLACE INTO rerank_scores (key, score, stored) VALUES (?, ?, ?)"
_DROP = "DELETE FROM rerank_scores WHERE place <= (SELECT max(place) FROM rerank_scores) - ?"

_PACKED = struct.Struct("<d")  # a score of a list, in which one follows another

Score: TypeAlias = float | bytes
"""The score of a document, or the packed scores of a whole list."""


def sqlite_path(name: str, given: str, *, other: str = "") -> Path:
    """Return the path in `"sqlite:///path"`.

    Args:
        name: the name of the setting, for the message.
        given: its value.
        other: the other values that the setting takes, for the message.

    Raises:
        ConfigurationError: the value has another form.
    """
    path = given.removeprefix(_SCHEME)
    if path in (given, ""):
        raise ConfigurationError(
            f"{name} must be {other}'{_SCHEME}path' ('{_SCHEME}/path' for one from the root), "
            f"not {given!r:.100}"
        )
    return Path(path)


def sqlite_address(path: Path) -> str:
    """Return `"sqlite:///path"` with the absolute path of a file."""
    return f"{_SCHEME}{path.absolute()}"


class SqliteFile:
    """A SQLite file that threads, processes and forks share; each process has its own connection.

    Args:
        path: the file; it and its directories are created if they are missing.
        what: the words for the file in an error message.
        tables: the statements that create its tables.
        busy: seconds to wait while another process writes, or rebuilds the file after a crash.

    Attributes:
        lock: held by the thread that uses the connection.

    Raises:
        ConfigurationError: the file cannot be read and written.
    """

    def __init__(self, path: Path, what: str, *tables: str, busy: float = 0.0) -> None:
        self.path = path
        self._what, self._tables, self._busy = what, tables, busy
        self.lock = threading.RLock()  # a run that uses it may be collected inside of it
        self._db: sqlite3.Connection | None = None
        told_of_forks(self)
        with self.lock:
            self.connection()

    def connection(self) -> sqlite3.Connection:
        """Return the connection of this process, for the thread that holds the lock.

        Raises:
            ConfigurationError: the file can no longer be opened.
        """
        if self._db is None:
            self._db = self._connect()
        return self._db

    @contextmanager
    def transaction(self, *, waits: bool = True) -> Iterator[sqlite3.Connection]:
        """Provide the connection in a transaction that writes: all or nothing is stored.

        Args:
            waits: whether to wait while another process writes, for as long as `busy`.

        Raises:
            sqlite3.OperationalError: another process writes, as `is_busy` tells.
        """
        with self.lock:
            db = self.connection()
            if not waits:
                db.execute("PRAGMA busy_timeout=0")
            try:
                db.execute("BEGIN IMMEDIATE")
            finally:
                if not waits:
                    db.execute(self._patience)
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection of this process; the next use opens another."""
        with self.lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()

    def leave_to_parent(self) -> None:
        """Reset the state in a forked child, which must neither use nor close the connection."""
        left_to_parent(self._db)
        self._db, self.lock = None, threading.RLock()

    @property
    def _patience(self) -> str:
        return f"PRAGMA busy_timeout={int(1000 * self._busy)}"

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
                db.execute("BEGIN IMMEDIATE")  # fails now where the file cannot be written
                for table in self._tables:
                    db.execute(table)
                db.execute("COMMIT")
                db.execute(self._patience)
            except BaseException:
                db.close()
                raise
        except (OSError, ValueError, sqlite3.Error) as cause:  # ValueError: a NUL in the path
            raise ConfigurationError(
                f"cannot use the {self._what} {str(self.path)!r}: {cause}"
            ) from cause
        return db

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            self.close()


def is_busy(error: BaseException) -> bool:
    """Return whether SQLite failed because another process has locked the file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class RerankCache:
    """A cache of scores, so that the same query and document are not sent and paid for twice.

    The cache key is a hash of all that decides a score: URL, model and API key of the provider, the
    request body without the documents, and the document as it is sent. No text is stored. Threads
    and event loops can share one object, and processes can share a file. A pickle of a cache with a
    file opens that file again; a pickle of a cache in memory is empty.

    Args:
        path: a SQLite file, which is created if it is missing; None keeps the scores in memory.
        max_age: seconds after which a score is no longer used; None (the default) for no limit.
        max_entries: the maximum number of scores, by default 100,000 in memory and a million in a
            file. Above it, a cache in memory drops the least recently used scores, a file the
            oldest ones.

    Attributes:
        path: the absolute path of the file; None in memory.
        max_age: the argument.
        max_entries: the argument.
        hits: the number of scores found since this object was created.
        misses: the number of scores not found since then.

    Raises:
        ConfigurationError: an argument is invalid, or the file cannot be read and written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_age: float | None = None,
        max_entries: int | None = None,
    ) -> None:
        if not isinstance(path, str | os.PathLike | None):
            raise ConfigurationError(f"path must be that of a file, not {type(path).__name__}")
        if path in (MEMORY, ":memory:"):
            raise ConfigurationError(f"{path!r} is no path; for a cache in memory leave it out")
        if isinstance(path, str) and path.startswith(_SCHEME):
            path = sqlite_path("path", path)
        if max_age is not None and (finite(max_age) or 0.0) <= 0:
            raise ConfigurationError("max_age must be a number of seconds above 0, or None")
        if max_entries is not None and (type(max_entries) is not int or max_entries < 1):
            raise ConfigurationError("max_entries must be an int of at least 1, or None")
        self.path = None if path is None else Path(path).absolute()
        self.max_age = max_age
        self.max_entries = max_entries
        self.hits = self.misses = 0
        self._most = max_entries or (_IN_MEMORY if path is None else _IN_FILE)
        self._lock = threading.Lock()
        self._scores: OrderedDict[bytes, tuple[Score, float]] = OrderedDict()
        self._file: SqliteFile | None = None
        if self.path is not None:
            self._file = SqliteFile(self.path, "cache", _TABLE, busy=_BUSY)
        told_of_forks(self)

    @property
    def address(self) -> str | None:
        """The value of `cache=` for such a cache; None if `max_age` or `max_entries` is set."""
        if self.max_age is not None or self.max_entries is not None:
            return None
        return MEMORY if self.path is None else sqlite_address(self.path)

    def find(self, keys: Sequence[bytes], count: int) -> tuple[list[float | None], str | None]:
        """Look up the scores of documents.

        Args:
            keys: one key for each document, or a single key for the whole list.
            count: the number of documents.

        Returns:
            The score of each document, None if it is not in the cache; and a warning, None if
            nothing went wrong. An unreadable file does not fail a call.
        """
        since = 0.0 if self.max_age is None else time.time() - self.max_age
        try:
            found = self._found(keys, since)
        except (sqlite3.Error, ConfigurationError) as error:
            return [None] * count, f"the cache was not read: {error}"
        scores: list[float | None] = [one if isinstance(one, float) else None for one in found]
        if len(keys) < count:
            scores = [None] * count
            if isinstance(found[0], bytes) and len(found[0]) == _PACKED.size * count:
                scores = [score for (score,) in _PACKED.iter_unpack(found[0])]
        missed = scores.count(None)
        with self._lock:
            self.hits += count - missed
            self.misses += missed
        return scores, None

    def keep(self, keys: Sequence[bytes], scores: Sequence[float]) -> str | None:
        """Store the scores of documents.

        Args:
            keys: one key for each document, or a single key for the whole list.
            scores: one score for each document.

        Returns:
            A warning; None if nothing went wrong. A file that cannot be written does not fail a
            call.
        """
        entries: Sequence[Score] = scores
        if len(keys) < len(scores):
            entries = [b"".join(map(_PACKED.pack, scores))]
        now = time.time()
        if self._file is None:
            with self._lock:
                for key, score in zip(keys, entries, strict=True):
                    self._scores[key] = (score, now)
                    self._scores.move_to_end(key)
                while len(self._scores) > self._most:
                    self._scores.popitem(last=False)
            return None
        try:
            with self._file.transaction() as db:
                rows = [(*pair, now) for pair in zip(keys, entries, strict=True)]
                db.executemany(_KEEP, rows)
                db.execute(_DROP, (self._most,))
        except (sqlite3.Error, ConfigurationError) as error:
            return f"the cache was not written: {error}"
        return None

    def clear(self) -> None:
        """Delete all scores; those of a file are deleted for all processes.

        Raises:
            ConfigurationError: the file cannot be written.
        """
        with self._lock:
            self._scores.clear()
        if self._file is not None:
            try:
                with self._file.transaction() as db:
                    db.execute("DELETE FROM rerank_scores")
            except sqlite3.Error as cause:
                raise ConfigurationError(
                    f"cannot clear the cache {str(self.path)!r}: {cause}"
                ) from cause

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._file is not None:
            self._file.close()

    def leave_to_parent(self) -> None:
        """Replace the lock in a forked child, where another thread may have held it."""
        self._lock = threading.Lock()

    def _found(self, keys: Sequence[bytes], since: float) -> list[Score | None]:
        if self._file is not None:
            found: dict[bytes, Score] = {}
            with self._file.lock:
                db = self._file.connection()
                if len(keys) == 1:
                    found.update(db.execute(_FIND_ONE, (since, keys[0])))
                    return [found.get(keys[0])]
                for first in range(0, len(keys), _AT_ONCE):
                    some = keys[first : first + _AT_ONCE]
                    places = ",".join("?" * len(some))
                    found.update(db.execute(_FIND.format(places), (since, *some)))
            return [found.get(key) for key in keys]
        scores: list[Score | None] = []
        with self._lock:
            for key in keys:
                entry = self._scores.get(key)
                if entry is None or entry[1] < since:
                    scores.append(None)
                    continue
                self._scores.move_to_end(key)
                scores.append(entry[0])
        return scores

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of what it is set on share it

    def __reduce__(self) -> tuple[Any, ...]:
        kind: Any = type(self)
        return partial(kind, self.path, max_age=self.max_age, max_entries=self.max_entries), ()

    def __repr__(self) -> str:
        if not hasattr(self, "_file"):  # shown in a traceback out of __init__
            return "RerankCache(...)"
        path = "" if self.path is None else f"{str(self.path)!r}, "
        return f"RerankCache({path}hits={self.hits}, misses={self.misses})"


CacheSetting: TypeAlias = RerankCache | str
"""A `RerankCache`, `"memory"`, or `"sqlite:///path"`."""


def cache_of(given: Any) -> RerankCache | None:
    """Return the cache for a value of `cache=`.

    Raises:
        ConfigurationError: the value is invalid, or its file cannot be read and written.
    """
    if given is None or isinstance(given, RerankCache):
        return given
    if not isinstance(given, str):
        raise ConfigurationError(
            f"cache must be '{MEMORY}', '{_SCHEME}path', a RerankCache(...) or None, "
            f"not {type(given).__name__}"
        )
    if given == MEMORY:
        return RerankCache()
    return RerankCache(sqlite_path("cache", given, other=f"'{MEMORY}' or "))


class OfProcess(Protocol):
    """An object whose threads and files a forked child must not use."""

    def leave_to_parent(self) -> None:
        """Reset or end the object in a forked child: threads and files belong to the parent."""


_OF_PROCESS: WeakSet[OfProcess] = WeakSet()
_OF_PARENT: list[Any] = []


def told_of_forks(one: OfProcess) -> None:
    """Register an object, so that `leave_to_parent` is called in each forked child.

    If it has a `lock`, a fork waits until no other thread holds the lock, for at most a second.
    """
    _OF_PROCESS.add(one)


def left_to_parent(one: Any) -> None:
    """Keep an object of the parent in a forked child, so that it is not collected and closed."""
    _OF_PARENT.append(one)


_FORKING = threading.Lock()
_HELD: list[Any] = []


def _before_fork() -> None:
    """Wait until no thread is inside SQLite, whose own locks would stay held in the child."""
    if not _FORKING.acquire(timeout=_LONGEST_USE):
        return
    _HELD.append(_FORKING)
    for one in list(_OF_PROCESS):
        lock = getattr(one, "lock", None)
        if lock is not None and lock.acquire(timeout=_LONGEST_USE):
            _HELD.append(lock)


def _after_fork_in_parent() -> None:
    while _HELD:
        _HELD.pop().release()


def _after_fork() -> None:
    global _FORKING  # noqa: PLW0603  # somebody may hold it
    _FORKING = threading.Lock()
    _HELD.clear()
    for one in list(_OF_PROCESS):
        one.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork,
    )
