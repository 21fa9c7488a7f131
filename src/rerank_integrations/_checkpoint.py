"""Stores the finished rows of a run: in a SQLite file, or in a JSONL file of results."""

from __future__ import annotations

import errno
import json
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import orjson
from pydantic_core import from_json, to_json

from rerank_integrations._cache import SqliteFile, is_busy, left_to_parent, told_of_forks
from rerank_integrations._many import Store
from rerank_integrations._options import Options
from rerank_integrations._response import without_secrets
from rerank_integrations._rows import Row, is_id
from rerank_integrations._secrets import Secret
from rerank_integrations.errors import (
    CheckpointMismatchError,
    ConfigurationError,
    InvalidRequestError,
    RerankError,
)
from rerank_integrations.images import is_picture, picture_to_data_uri
from rerank_integrations.models import RerankResponse, RerankResult, Usage
from rerank_integrations.providers._validation import shown_address

SQLITE = (".sqlite", ".sqlite3", ".db")
_JSONL = (".jsonl", ".ndjson")
# how the file of failed rows says an error; the command line has other words for settings
error_words: ContextVar[Callable[[RerankError], str]] = ContextVar("error_words", default=str)
_SYNC_EVERY = 1.0  # seconds; what a loss of power can cost
_BUSY = 5.0  # seconds that a look-up waits for a process that rebuilds the file after a crash
_LONGEST_LOCK = 30.0  # seconds that a finished row waits for a process that has locked the file
_TABLES = (
    "CREATE TABLE IF NOT EXISTS run (fingerprint TEXT NOT NULL)",
    # not WITHOUT ROWID: large rows are then added at the end, and not in the index
    "CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, saved TEXT NOT NULL)",
)
_IN_MEMORY = re.compile(r" at 0x[0-9a-f]+", re.IGNORECASE)
# what decides the results of a run; not how it is sent
_DECISIVE = (
    *("model", "top_n", "rank_fields", "instruction", "score_threshold", "extra_body"),
    *("max_document_chars", "on_image", "on_invalid_document"),
)


def open_store(path: str | os.PathLike[str], options: Options) -> Store:
    """Open the store at a path; the file extension decides its type.

    Raises:
        ConfigurationError: the extension is unknown, or the file cannot be opened or is in use.
        CheckpointMismatchError: the file belongs to another run.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(f"checkpoint is the path of a file, not {type(path).__name__}")
    file = Path(path)
    if file.suffix not in (*SQLITE, *_JSONL):
        raise ConfigurationError(
            f"checkpoint must end in {', '.join((*SQLITE, *_JSONL))}, not {file.name!r}"
        )
    _refuse_other_kinds(file)
    check_transform(options.score_transform)
    made = fingerprint(options)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(file, made) if file.suffix in SQLITE else JsonlStore(file, made)
    except (OSError, sqlite3.Error) as cause:
        raise ConfigurationError(f"cannot use the checkpoint {str(file)!r}: {cause}") from cause


def check_transform(transform: Any) -> None:
    """Refuse a `score_transform` that a later run could not tell from another one.

    Raises:
        ConfigurationError: it is neither a name nor a function of a module.
    """
    if transform is None or isinstance(transform, str):
        return
    name = getattr(transform, "__qualname__", "<")
    of_module = isinstance(transform, BuiltinFunctionType) and isinstance(
        transform.__self__, ModuleType | None
    )
    if "<" in name or not (of_module or isinstance(transform, FunctionType)):
        raise ConfigurationError(
            "with checkpoint=, score_transform must be a function that is defined with def at the "
            "top level of a module, because the file identifies it by its name; not "
            f"{_stable_repr(transform):.80}"
        )


def remove_results(file: Path) -> None:
    """Remove a JSONL file of results, and the files next to it.

    Raises:
        ConfigurationError: another run writes to it, or it is not a regular file.
    """
    _refuse_other_kinds(file)
    with suppress(FileNotFoundError), file.open("r+b", buffering=0) as out:
        _refuse_second_run(out, file)
    # a link stays, for it may lead to another disk
    for one in (os.path.realpath(file), _about_run(file), errors_file(file)):
        Path(one).unlink(missing_ok=True)


def _refuse_other_kinds(file: Path) -> None:
    """Refuse a directory, a pipe or a device, which cannot be read again from the beginning."""
    if file.exists() and not file.is_file():
        link = f", as a link to {file.readlink()}" if file.is_symlink() else ""
        raise ConfigurationError(
            f"the checkpoint {str(file)!r} is not a regular file{link}; use another path"
        )


def errors_file(file: Path) -> Path:
    """Return the path of the file with the rows that failed, next to a JSONL file of results."""
    return file.with_name(f"{file.stem}.errors.jsonl")


def _about_run(file: Path) -> Path:
    return file.with_name(f"{file.name}.run.json")


def fingerprint(options: Options) -> dict[str, Any]:
    """Return the settings that decide the results of a run, as JSON values without keys."""
    found = {name: getattr(options, name) for name in _DECISIVE}
    found["provider"] = options.provider.name
    found["address"] = shown_address(options.address())
    found |= {f"body.{name}": value for name, value in options.provider.body().items()}
    transform = options.score_transform
    if callable(transform):
        found["score_transform"] = f"{transform.__module__}.{transform.__qualname__}"
    else:
        found["score_transform"] = transform
    plain: dict[str, Any] = json.loads(json.dumps(found, default=_stable_repr, sort_keys=True))
    secrets = sorted(options.provider.secrets(), key=len, reverse=True)
    return dict(without_secrets(plain, Secret(secrets)))


def _stable_repr(value: object) -> str:
    """Return a repr without memory addresses, which differ in each process."""
    return _IN_MEMORY.sub("", repr(value))


def _check_fingerprint(file: Path, stored: str | bytes, made: Mapping[str, Any]) -> None:
    try:
        was: dict[str, Any] = dict(json.loads(stored))
    except (ValueError, TypeError) as cause:
        raise ConfigurationError(
            f"the checkpoint {str(file)!r} has no readable settings; use another file"
        ) from cause
    differs = sorted(name for name in was.keys() | made if was.get(name) != made.get(name))
    if differs:
        what = "; ".join(
            f"{name} was {was.get(name)!r:.80}, and is {made.get(name)!r:.80}" for name in differs
        )
        raise CheckpointMismatchError(
            f"the checkpoint {str(file)!r} belongs to a run with other settings: {what}. "
            "Use another file, or the settings of that run"
        )


def digest_of(row: Row) -> str:
    """Return a hash of the query and the documents, which is the same in each run."""
    given = [row.query, row.documents]
    try:
        if type(row.query) is str and set(map(type, row.documents)) == {str}:
            content = orjson.dumps(given)  # the same bytes as below, in a fourth of the time
        else:
            content = to_json(given, bytes_mode="base64", inf_nan_mode="strings", fallback=_plain)
    except (ValueError, TypeError):  # half of a surrogate pair, which only the slower way can write
        try:
            content = json.dumps(given, default=_plain).encode()
        except (ValueError, TypeError, RecursionError):  # it holds itself, or has odd keys
            content = _stable_repr(given).encode("utf-8", "surrogatepass")
    return blake2b(content, digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    """Convert a value of a type that JSON does not have."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return dict(value)
    if is_picture(value):
        return picture_to_data_uri(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return value.tolist() if hasattr(value, "tolist") else _stable_repr(value)


def _saved(row: Row, response: RerankResponse, cost: float | None) -> dict[str, Any]:
    """Convert a row and its response to what is stored; empty optional values are left out."""
    said = {
        "response_id": response.id,
        "request_id": response.request_id,
        "skipped": response.skipped,
        "missing": response.missing,
        "warnings": response.warnings,
    }
    return {
        "id": row.id,
        "results": [
            {"index": one.index, "relevance_score": one.relevance_score} for one in response
        ],
        "model": response.model,
        "provider": response.provider,
        "score_kind": response.score_kind,
        "usage": response.usage.counts(),
        "cost": cost,
        **{name: value for name, value in said.items() if value},
        "digest": row.digest,
    }


def _restored(file: Path, saved: Mapping[str, Any], row: Row) -> RerankResponse:
    """Restore a stored response, with the documents of the row.

    Raises:
        InvalidRequestError: the row has another query or other documents.
    """
    if saved.get("digest") != row.digest:
        raise InvalidRequestError(
            f"id {row.id!r} is in the checkpoint {str(file)!r} with another query or other "
            "documents; each row needs an id of its own, and a changed one another file"
        )
    return RerankResponse(
        tuple(
            RerankResult(one["index"], one["relevance_score"], row.documents[one["index"]])
            for one in saved["results"]
        ),
        model=saved["model"],
        provider=saved["provider"],
        id=saved.get("response_id"),
        request_id=saved.get("request_id"),
        usage=Usage(**saved.get("usage", {})),
        skipped=tuple(saved.get("skipped", ())),
        missing=tuple(saved.get("missing", ())),
        warnings=tuple(saved.get("warnings", ())),
        score_kind=saved["score_kind"],
    )


def _line(value: Mapping[str, Any]) -> bytes:
    """Encode a line of a file; a lone surrogate, which UTF-8 cannot encode, becomes "?"."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # there is one, or an int of more than 64 bits; the other is slower
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _key_of(row: Row) -> str:
    """An id as JSON, so that a number is no text."""
    return str(row.id) if type(row.id) is int else json.dumps(row.id)


@dataclass(slots=True, eq=False)
class _Entry:
    """A row of a SQLite file, on its way there.

    Attributes:
        until: how long it waits for another process that has locked the file.
        problem: why it was not written.
    """

    row: Row
    key: str
    saved: str
    until: float
    is_done: bool = False
    problem: BaseException | None = None


class SqliteStore:
    """Stores rows in a SQLite file, indexed by id; several processes can use it at once."""

    def __init__(self, file: Path, made: Mapping[str, Any]) -> None:
        self._is_open = True
        self._given: deque[_Entry] = deque()  # not written yet
        self._file = SqliteFile(file, "checkpoint", *_TABLES, busy=_BUSY)
        try:
            with self._file.transaction() as db:
                stored = db.execute("SELECT fingerprint FROM run").fetchone()
                if stored is None:
                    db.execute("INSERT INTO run VALUES (?)", (json.dumps(dict(made)),))
                else:
                    _check_fingerprint(file, stored[0], made)
        except BaseException:
            self._file.close()
            raise
        told_of_forks(self)

    digest = staticmethod(digest_of)
    holds_ids = False

    def find(self, row: Row) -> RerankResponse | None:
        """Return the stored response of a row; None if there is none.

        Raises:
            InvalidRequestError: the id is stored with another query or other documents.
        """
        with self._file.lock:
            return self._find(row) if self._is_open else None

    def keep(self, row: Row, response: RerankResponse, cost: float | None) -> Callable[[], bool]:
        """Take a response, to be stored in a commit, which is not lost if the process is killed.

        Returns:
            A function that commits it, in one transaction with all others taken until then, and
            returns False if another process has locked the file. It raises an InvalidRequestError
            if the id is stored with another query or documents.
        """
        saved = _line(_saved(row, response, cost)).decode()
        entry = _Entry(row, _key_of(row), saved, time.monotonic() + _LONGEST_LOCK)
        self._given.append(entry)
        return partial(self._commit, entry)

    def fail(self, row_id: str | int, error: RerankError) -> None:
        """Do nothing: a row that is not stored is sent again."""

    def close(self) -> None:
        """Write what is not written yet, since it is paid for, and close the file."""
        with self._file.lock:
            if self._is_open:
                with suppress(sqlite3.Error):
                    self._write()
                self._is_open = False
                self._file.close()

    def leave_to_parent(self) -> None:
        """Close the store in a forked child, which must neither use nor close the connection."""
        self._is_open = False

    def _commit(self, entry: _Entry) -> bool:
        """Write an entry, and all others, unless another thread or task has written it by now."""
        with self._file.lock:
            if self._is_open and not entry.is_done:
                try:
                    # the wait is outside of SQLite, where it would stop the event loop
                    self._write(waits=False)
                except sqlite3.OperationalError as error:
                    if entry.is_done or not is_busy(error) or time.monotonic() > entry.until:
                        raise
                    return False
        if entry.problem is not None:
            raise entry.problem
        return True

    def _write(self, *, waits: bool = True) -> None:
        """Write what was given, in one transaction: all of it or nothing."""
        entries: list[_Entry] = []
        try:
            with self._file.transaction(waits=waits) as db:
                while self._given:
                    entries.append(self._given.popleft())
                for entry in entries:
                    self._add(db, entry)
        except BaseException as error:
            for entry in entries:
                entry.problem = error
            raise
        finally:
            for entry in entries:
                entry.is_done = True

    def _add(self, db: sqlite3.Connection, entry: _Entry) -> None:
        values = (entry.key, entry.saved)
        added = db.execute("INSERT OR IGNORE INTO rows VALUES (?, ?)", values)
        if not added.rowcount:  # the id is there, of this row or of another
            try:
                self._find(entry.row)
            except InvalidRequestError as error:
                entry.problem = error

    def _find(self, row: Row) -> RerankResponse | None:
        db, key = self._file.connection(), (_key_of(row),)
        stored = db.execute("SELECT saved FROM rows WHERE id = ?", key).fetchone()
        return None if stored is None else _restored(self._file.path, from_json(stored[0]), row)


class JsonlStore:
    """Stores rows in the JSONL file of results; failed rows are in a file next to it.

    Only one run at a time can use the file. The index by id is held in memory, about 250 bytes per
    row; for many millions of rows a SQLite file is better.
    """

    def __init__(self, file: Path, made: Mapping[str, Any]) -> None:
        self._file = file
        self._lock = threading.RLock()  # a run may be collected inside of it
        self._failed, self._words = errors_file(file), error_words.get()
        self._out = file.open("ab", buffering=0)
        try:
            _refuse_second_run(self._out, file)
            self._places, self._end = _index_of(file)
            self._check_run(_about_run(file), made)
            self._out.truncate(self._end)  # a line that a killed process has not finished
            self._reads = file.open("rb")
            self._failed.unlink(missing_ok=True)
        except BaseException:
            self._out.close()
            raise
        self._synced = time.monotonic()
        self._syncing: threading.Thread | None = None
        told_of_forks(self)

    digest = staticmethod(digest_of)
    holds_ids = True

    def find(self, row: Row) -> RerankResponse | None:
        """Return the stored response of a row; None if there is none.

        Raises:
            InvalidRequestError: the id is stored with another query or other documents.
        """
        with self._lock:
            return None if self._out.closed else self._find(row)

    def keep(self, row: Row, response: RerankResponse, cost: float | None) -> None:
        """Append a line.

        Raises:
            InvalidRequestError: the id is stored with another query or other documents.
        """
        line, written = _line(_saved(row, response, cost)), 0
        with self._lock:
            if self._out.closed or self._find(row) is not None:
                return
            try:
                written = self._out.write(line)
            finally:
                if written < len(line):  # the disk is full: no half of a line stays
                    self._out.truncate(self._end)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file))
            self._places[row.id] = self._end
            self._end += len(line)
            if time.monotonic() - self._synced >= _SYNC_EVERY:
                self._sync_aside()

    def fail(self, row_id: str | int, error: RerankError) -> None:
        """Append a line to the file of errors, which starts empty in each run."""
        line = _line({"id": row_id, "error": type(error).__name__, "message": self._words(error)})
        with self._lock:
            if not self._out.closed:
                with self._failed.open("ab") as file:
                    file.write(line)

    def close(self) -> None:
        """Write everything to the disk, and close the files."""
        with self._lock:
            if not self._out.closed:
                if self._syncing is not None:
                    self._syncing.join()
                self._sync()
                self._out.close()
                self._reads.close()

    def leave_to_parent(self) -> None:
        """Close the store in a forked child, which would otherwise hold the parent's file lock."""
        left_to_parent(self._reads)  # a thread of the parent may have been reading
        self._out.close()
        self._lock = threading.RLock()

    def _find(self, row: Row) -> RerankResponse | None:
        place = self._places.get(row.id)
        if place is None:
            return None
        self._reads.seek(place)
        return _restored(self._file, from_json(self._reads.readline()), row)

    def _check_run(self, about: Path, made: Mapping[str, Any]) -> None:
        """Check that the results in the file belong to this run; store the settings if new."""
        if not self._places and (about.exists() or not self._file.stat().st_size):
            new = about.with_name(f"{about.name}.new")
            new.write_text(json.dumps(dict(made), indent=1) + "\n", encoding="utf-8")
            new.replace(about)  # never half of it
        elif about.exists():
            _check_fingerprint(self._file, about.read_bytes(), made)
        else:
            raise CheckpointMismatchError(
                f"{str(self._file)!r} is not empty, but its settings file {about.name!r} is "
                "missing; use another file"
            )

    def _sync_aside(self) -> None:
        """Write to the disk in a thread, for a slow disk would stop the event loop."""
        self._synced = time.monotonic()
        if self._syncing is None or not self._syncing.is_alive():
            thread = threading.Thread(target=self._sync, name="rerank-sync", daemon=True)
            with suppress(RuntimeError):  # the system has no more threads: the next row tries again
                thread.start()
                self._syncing = thread

    def _sync(self) -> None:
        with suppress(OSError):  # a file system without it
            os.fsync(self._out.fileno())


def _refuse_second_run(out: FileIO, file: Path) -> None:
    """Lock a file, if the system supports it; the lock ends with the process, even if killed.

    Raises:
        ConfigurationError: another run has the lock.
    """
    try:
        import fcntl  # noqa: PLC0415  # Windows has none
    except ImportError:
        return
    try:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        raise ConfigurationError(
            f"another run writes to {str(file)!r}; use another file, or a .sqlite file, which "
            "several runs can share"
        ) from cause
    except OSError:  # a file system without locks
        return


def _index_of(file: Path) -> tuple[dict[str | int, int], int]:
    """Return where the line of each id begins, and where the last complete line ends."""
    places: dict[str | int, int] = {}
    end = 0
    with file.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                found = from_json(line)
            except ValueError:
                found = None
            if not isinstance(found, dict) or not is_id(found.get("id")):
                raise ConfigurationError(
                    f"{str(file)!r} is not a file of results: the line at byte {end} is not a "
                    "row with an id"
                )
            places.setdefault(found["id"], end)
            end += len(line)
    return places, end
