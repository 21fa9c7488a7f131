"""Where a run keeps finished rows: a SQLite file, or the JSONL file of its results."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from rerank_integrations._many import Row, Store
from rerank_integrations._options import Options
from rerank_integrations.errors import (
    CheckpointMismatchError,
    ConfigurationError,
    InvalidRequestError,
    RerankError,
)
from rerank_integrations.models import RerankResponse, RerankResult, Usage

_SQLITE = (".sqlite", ".sqlite3", ".db")
_JSONL = (".jsonl", ".ndjson")
_SYNC_EVERY = 1.0  # seconds; what a loss of power can cost
# what decides the results of a run; not how it is sent
_DECISIVE = (
    *("model", "top_n", "rank_fields", "instruction", "score_threshold", "extra_body"),
    *("max_document_chars", "on_image", "on_invalid_document"),
)


def open_store(path: str | os.PathLike[str], options: Options) -> Store:
    """The store at a path; its ending says its kind.

    Raises:
        ConfigurationError: another ending, or a file that cannot be opened.
        CheckpointMismatchError: the file is of another run.
    """
    file = Path(path)
    if file.suffix not in (*_SQLITE, *_JSONL):
        raise ConfigurationError(
            f"checkpoint must end in {', '.join((*_SQLITE, *_JSONL))}, not {file.name!r}"
        )
    made = fingerprint(options)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(file, made) if file.suffix in _SQLITE else JsonlStore(file, made)
    except (OSError, sqlite3.Error) as cause:
        raise ConfigurationError(f"cannot use the checkpoint {str(file)!r}: {cause}") from cause


def fingerprint(options: Options) -> dict[str, Any]:
    """What decides the results of a run, as JSON can hold it; no key is in it."""
    found = {name: getattr(options, name) for name in _DECISIVE}
    found["provider"] = options.provider.name
    found["address"] = options.address().partition("?")[0]
    found["body"] = options.provider.body()
    transform = options.score_transform
    found["score_transform"] = getattr(transform, "__qualname__", transform)
    plain: dict[str, Any] = json.loads(json.dumps(found, default=repr, sort_keys=True))
    return plain


def _check_fingerprint(file: Path, stored: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    differs = [name for name in made if stored.get(name) != made[name]]
    if differs:
        what = "; ".join(
            f"{name} was {stored.get(name)!r:.80}, and is {made[name]!r:.80}" for name in differs
        )
        raise CheckpointMismatchError(
            f"the checkpoint {str(file)!r} is of another run: {what}. Use another file, or the "
            "settings of that run"
        )


def _digest(row: Row) -> bytes:
    """A hash of the query and the documents, which must not change between two runs."""
    content = to_json(
        [row.query, list(row.documents)],
        fallback=repr,
        inf_nan_mode="strings",
        bytes_mode="base64",  # images are bytes
    )
    return blake2b(content, digest_size=16).digest()


def _saved(row: Row, response: RerankResponse) -> dict[str, Any]:
    """A row as JSONL has it."""
    return {
        "id": row.id,
        "results": [
            {"index": one.index, "relevance_score": one.relevance_score} for one in response
        ],
        "model": response.model,
        "usage": response.usage.counts(),
        "cost": response.usage.cost,
    }


def _restored(saved: Mapping[str, Any], documents: Sequence[Any], provider: str) -> RerankResponse:
    """The response that was saved, with the documents of the row."""
    results = saved["results"]
    counts = {name: value for name, value in saved.get("usage", {}).items() if value is not None}
    return RerankResponse(
        tuple(
            RerankResult(one["index"], one["relevance_score"], documents[one["index"]])
            for one in results
        ),
        model=saved["model"],
        provider=saved.get("provider", provider),
        id=saved.get("response_id"),
        request_id=saved.get("request_id"),
        usage=Usage(**counts),
        skipped=tuple(saved.get("skipped", ())),
        missing=tuple(saved.get("missing", ())),
        warnings=tuple(saved.get("warnings", ())),
        score_kind=saved.get("score_kind", "unknown"),
    )


class SqliteStore:
    """A SQLite file: an index by id, safe for several processes at once."""

    def __init__(self, file: Path, made: Mapping[str, Any]) -> None:
        self._file, self._provider = file, str(made["provider"])
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS run (fingerprint TEXT NOT NULL)")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS rows "
            "(id TEXT PRIMARY KEY, digest BLOB NOT NULL, saved TEXT NOT NULL) WITHOUT ROWID"
        )
        self._db.execute("BEGIN IMMEDIATE")
        stored = self._db.execute("SELECT fingerprint FROM run").fetchone()
        if stored is None:
            self._db.execute("INSERT INTO run VALUES (?)", (json.dumps(dict(made)),))
        self._db.execute("COMMIT")
        if stored is not None:
            try:
                _check_fingerprint(file, json.loads(stored[0]), made)
            except CheckpointMismatchError:
                self._db.close()
                raise

    def find(self, row: Row) -> RerankResponse | None:
        """The response of a row that has one.

        Raises:
            InvalidRequestError: the id was used for another query or other documents.
        """
        with self._lock:
            stored = self._db.execute(
                "SELECT digest, saved FROM rows WHERE id = ?", (json.dumps(row.id),)
            ).fetchone()
        if stored is None:
            return None
        if stored[0] != _digest(row):
            raise InvalidRequestError(
                f"id {row.id!r} is in the checkpoint {str(self._file)!r} with another query or "
                "other documents; each row needs an id of its own"
            )
        return _restored(json.loads(stored[1]), row.documents, self._provider)

    def keep(self, row: Row, response: RerankResponse) -> None:
        """Keep a response: a commit that a killed process has made is not lost."""
        saved = _saved(row, response) | {
            "provider": response.provider,
            "response_id": response.id,
            "request_id": response.request_id,
            "skipped": response.skipped,
            "missing": response.missing,
            "warnings": response.warnings,
            "score_kind": response.score_kind,
        }
        values = (json.dumps(row.id), _digest(row), json.dumps(saved))
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", values)

    def fail(self, row_id: str | int, error: RerankError) -> None:
        """Nothing: what is not stored is asked again."""

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


class JsonlStore:
    """The JSONL file of the results is the checkpoint; failed rows go beside it.

    The index by id is held in memory, about 150 bytes a row; for many millions of rows a SQLite
    file is better.
    """

    def __init__(self, file: Path, made: Mapping[str, Any]) -> None:
        self._file, self._provider = file, str(made["provider"])
        self._lock = threading.Lock()
        about = file.with_name(f"{file.name}.run.json")
        places, end = _index_of(file)
        if about.exists():
            _check_fingerprint(file, from_json(about.read_bytes()), made)
        elif places:
            raise CheckpointMismatchError(
                f"{str(file)!r} has results, and {about.name!r}, which says of which run, is not "
                "there; use another file"
            )
        about.write_text(json.dumps(dict(made), indent=1) + "\n", encoding="utf-8")
        self._places = places
        self._out = file.open("ab")
        self._out.truncate(end)  # a line that a killed process has not finished
        self._reads = file.open("rb")
        self._errors = file.with_name(f"{file.stem}.errors.jsonl").open("wb")
        self._synced = time.monotonic()

    def find(self, row: Row) -> RerankResponse | None:
        """The response of a row that has one."""
        place = self._places.get(row.id)
        if place is None:
            return None
        with self._lock:
            self._reads.seek(place)
            saved = from_json(self._reads.readline())
        if any(one["index"] >= len(row.documents) for one in saved["results"]):
            raise InvalidRequestError(
                f"id {row.id!r} is in {str(self._file)!r} with more documents than the row has; "
                "each row needs an id of its own"
            )
        return _restored(saved, row.documents, self._provider)

    def keep(self, row: Row, response: RerankResponse) -> None:
        """Add a line."""
        line = to_json(_saved(row, response)) + b"\n"
        with self._lock:
            self._places[row.id] = self._out.tell()
            self._out.write(line)
            self._out.flush()
            if time.monotonic() - self._synced >= _SYNC_EVERY:
                self._sync()

    def fail(self, row_id: str | int, error: RerankError) -> None:
        """Add a line to the file of errors, which each run makes anew."""
        line = {"id": row_id, "error": type(error).__name__, "message": str(error)}
        with self._lock:
            self._errors.write(to_json(line) + b"\n")
            self._errors.flush()

    def close(self) -> None:
        """Write all, and close the files; no file of errors is left without an error."""
        with self._lock:
            self._sync()
            empty = not self._errors.tell()
            for file in (self._out, self._reads, self._errors):
                file.close()
            if empty:
                with suppress(OSError):
                    Path(self._errors.name).unlink()

    def _sync(self) -> None:
        with suppress(OSError):  # a file system without it
            os.fsync(self._out.fileno())
        self._synced = time.monotonic()


def _index_of(file: Path) -> tuple[dict[str | int, int], int]:
    """Where the line of each id begins, and where the last whole line ends."""
    places: dict[str | int, int] = {}
    end = 0
    if not file.exists():
        return places, end
    with file.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                row = from_json(line)
                places.setdefault(row["id"], end)
            except (ValueError, TypeError, KeyError) as cause:
                raise ConfigurationError(
                    f"{str(file)!r} is no file of results: the line at byte {end} is no row with "
                    "an id"
                ) from cause
            end += len(line)
    return places, end
