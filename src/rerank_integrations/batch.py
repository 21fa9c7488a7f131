"""RerankBatch: ranks rows and data frames, also in the workers of Ray, Daft, Dask or Spark."""

from __future__ import annotations

import asyncio
import atexit
import math
import os
import sys
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypeVar, get_args
from uuid import uuid4

from pydantic import SecretStr

from rerank_integrations._cache import CacheSetting, cache_of
from rerank_integrations._checkpoint import SQLITE, check_transform, digest_of
from rerank_integrations._many import FORKED, RowResult
from rerank_integrations._options import (
    NOT_GIVEN,
    AsyncHTTPClient,
    NotGiven,
    OnImage,
    OnInvalidDocument,
    OnPartial,
    Retry,
    ScoreTransform,
    Timeout,
    check_settings,
    checked_arguments,
    given,
)
from rerank_integrations._rate_limit import WAKE_SECONDS
from rerank_integrations._rows import Numbered, Row, aread_rows, checked_row, read_rows
from rerank_integrations._shared_limit import RateLimitStore, absolute
from rerank_integrations._tracing import current_context
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import ConfigurationError, InvalidRequestError, RerankError
from rerank_integrations.images import ImageUrls
from rerank_integrations.models import USAGE_COUNTS
from rerank_integrations.providers.base import Provider

OnBatchError: TypeAlias = Literal["column", "raise"]
"""What happens when a row fails."""

FrameT = TypeVar("FrameT")

_OWN = (
    *("self", "model", "client", "max_concurrency", "on_error", "prefix", "checkpoint"),
    "rate_limit",
)
_NEEDED = ("query", "documents")
_AHEAD = 2  # rows that are read before their turn, for each call at once
_WAKES = 8  # how often the reading thread is woken while it reads one full buffer of rows
_MOST_WORKERS = 16  # of one process; the connections of others are closed
_ENDING = 2.0  # seconds that the exit of the process, and `close`, wait for the loop


class RerankBatch:
    """Ranks the documents of many rows, in one process or in the workers of an engine.

    The object is small and can be pickled. Each process creates one client for it and all its
    copies, so connections are opened once. At most `max_concurrency` calls are in flight in a
    process, regardless of the number of threads that use the object. `close` closes the
    connections, as does the end of a `with` block or of the process.

    Four keys or columns are added to each row: `indices` and `scores`, best document first;
    `usage`, a mapping of `search_units`, `total_tokens`, `prompt_tokens`, `completion_tokens` and
    `cost`; and `error`, a text. If a row failed, the first three are None; otherwise `error` is
    None. A name that is already there is refused: pass `prefix`.

    Args:
        model: "provider:model". Each worker reads the key from its own environment. A key that you
            pass as `api_key` is in clear text in every pickle.
        client: a preconfigured client, in place of `model`. Only the settings of `with_options`
            can be passed together with it.
        max_concurrency: how many calls are in flight at once in one process.
        on_error: "column" puts the error of a row into its column `error`; "raise" raises it.
        prefix: what the names of the new keys or columns start with, such as "rerank_".
        checkpoint: a SQLite file that stores finished rows; all workers on a machine share it.
            Rows that are in the file are not sent again. A row is identified by its `id`, or by its
            query and documents if it has none.
        rate_limit: `"sqlite:///path"`, a file through which all workers on a machine share
            `requests_per_minute` and `documents_per_minute`; or an object with a method
            `reserve(requests, documents)`, which takes a slot and returns the seconds until it
            begins.

    The other arguments are the settings of `RerankClient`.

    Raises:
        ConfigurationError: an argument is invalid; the message says what to set.
        InvalidRequestError: `top_n` or `rank_fields` is invalid.
    """

    @checked_arguments
    def __init__(
        self,
        model: str | None = None,
        *,
        client: RerankClient | None = None,
        max_concurrency: int = 64,
        on_error: OnBatchError = "column",
        prefix: str = "",
        checkpoint: str | os.PathLike[str] | None = None,
        rate_limit: RateLimitStore | None = None,
        provider: Provider | NotGiven | None = NOT_GIVEN,
        api_key: str | SecretStr | NotGiven | None = NOT_GIVEN,
        base_url: str | NotGiven | None = NOT_GIVEN,
        async_http_client: AsyncHTTPClient
        | Callable[[], AsyncHTTPClient]
        | NotGiven
        | None = NOT_GIVEN,
        fallbacks: Sequence[str | RerankClient] | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> None:
        settings = {name: value for name, value in given(locals()).items() if name not in _OWN}
        if "cache" in settings:  # a relative path is one of this process
            settings["cache"] = cache_of(settings["cache"])
        if type(max_concurrency) is not int or max_concurrency < 1:
            raise ConfigurationError(
                f"max_concurrency must be an int of at least 1, not {max_concurrency!r}"
            )
        if on_error not in get_args(OnBatchError):
            raise ConfigurationError(f"on_error must be 'column' or 'raise', not {on_error!r}")
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix must be a str, not {type(prefix).__name__}")
        if client is None:
            if model is None:
                raise ConfigurationError("pass a model, 'provider:model', or client=")
            check_settings({"model": model, **settings})
        else:
            if not isinstance(client, RerankClient):
                raise ConfigurationError(
                    f"client must be a RerankClient, not {type(client).__name__}"
                )
            changes = settings if model is None else {"model": model, **settings}
            client = client.with_options(**changes) if changes else client
        self._model, self._client, self._settings = model, client, settings
        self._max_concurrency, self._on_error = max_concurrency, on_error
        self._prefix, self._names = prefix, {name: f"{prefix}{name}" for name in _NEW}
        self._is_copy = False
        self._checkpoint = _checked_checkpoint(checkpoint)
        if checkpoint is not None:
            own = None if client is None else client._options.score_transform  # noqa: SLF001
            check_transform(settings.get("score_transform", own))
        self._rate_limit = absolute(rate_limit)
        self._id = uuid4().hex  # copies in one process have it in common, and so one client

    def __call__(self, batch: FrameT) -> FrameT:
        """Rank the rows of a batch.

        Args:
            batch: a mapping of columns (lists or numpy arrays), a frame of pandas or polars, or a
                table or record batch of pyarrow, with the columns `query` and `documents`.

        Returns:
            A batch of the same type with the four new columns. Their types do not depend on the
            values. A batch without rows sends nothing, so an engine can use one to find out the
            columns.

        Raises:
            InvalidRequestError: a column is missing, a new one exists already, or `batch` has
                another type.
            RerankError: a row failed, with `on_error="raise"`.
        """
        kind = _kind_of(batch)
        self._check_names(kind.names(batch), "the batch", "column")
        columns = kind.columns(batch, self._wanted())
        rows = [
            Numbered(number, f"row {number}", dict(zip(columns, values, strict=True)))
            for number, values in enumerate(zip(*columns.values(), strict=True), 1)
        ]
        found = self._ranked(rows) if rows else []
        new = {name: [one[name] for one in found] for name in _NEW}
        joined: FrameT = kind.joined(batch, new, self._prefix)
        return joined

    def rows(
        self, rows: Iterable[Mapping[str, Any]] | str | os.PathLike[str]
    ) -> Generator[dict[str, Any], None, None]:
        """Yield the rows in their order, with the four new keys; rows are read as needed.

        They are read in a thread, so that a slow source does not delay the rows before.

        Args:
            rows: mappings with `query` and `documents`, or the path of a JSONL file of such rows.

        Raises:
            InvalidRequestError: `rows` is neither an iterable of rows nor a file, or a row has a
                new key already.
            RerankError: a row failed, with `on_error="raise"`.
        """
        return self._rows(read_rows(rows))

    def _rows(self, rows: Generator[Numbered, None, None]) -> Generator[dict[str, Any], None, None]:
        reading = _Reading(self._asked, rows, _AHEAD * self._max_concurrency)
        try:
            while (asked := reading.next()) is not None:
                asked.answer.wait()
                yield self._finished(asked)
        finally:
            reading.leave()

    def arows(
        self,
        rows: AsyncIterable[Mapping[str, Any]]
        | Iterable[Mapping[str, Any]]
        | str
        | os.PathLike[str],
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Async version of `rows`; its argument may be an async iterable too."""
        return self._arows(aread_rows(rows))

    async def _arows(
        self, rows: AsyncGenerator[Numbered, None]
    ) -> AsyncGenerator[dict[str, Any], None]:
        reading = _AsyncReading(self._asked, rows, _AHEAD * self._max_concurrency)
        try:
            while (asked := await reading.next()) is not None:
                await asked.answer.awaited()
                yield self._finished(asked)
        finally:
            await reading.leave()

    def close(self) -> None:
        """Close the connections and the checkpoint of this process; a later call opens them again.

        They are shared with all copies in this process. Rows in flight fail. An object that is
        collected is closed too, unless copies of it were unpickled in this process.
        """
        closed = _closed(self)
        if closed is not None:
            with suppress(TimeoutError):
                closed.result(_ENDING)

    async def aclose(self) -> None:
        """Async version of `close`."""
        closed = _closed(self)
        if closed is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(closed), _ENDING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._is_copy = True  # of which engines make one for each task

    def __repr__(self) -> str:
        if not hasattr(self, "_id"):  # shown in a traceback out of __init__
            return "RerankBatch(...)"
        what = repr(self._model) if self._client is None else f"client={self._client!r}"
        return f"RerankBatch({what}, max_concurrency={self._max_concurrency})"

    def _wanted(self) -> Sequence[str]:
        """Return the columns to read; an id is used only with a checkpoint."""
        return _NEEDED if self._checkpoint is None else (*_NEEDED, "id")

    def _ranked(self, rows: Sequence[Numbered]) -> list[dict[str, Any]]:
        answer = self._ask(rows)
        try:
            answer.wait()
            return [self._new(result) for result in answer.result()]
        finally:
            answer.cancel()

    def _asked(self, numbered: Numbered) -> _Asked:
        """Ask for a row."""
        row = numbered.given
        if isinstance(row, Mapping):
            self._check_names(row, numbered.where, "key")
        return _Asked(row, self._ask([numbered]))

    def _check_names(self, names: Any, where: str, what: str) -> None:
        """Refuse to overwrite what the caller has."""
        for name in self._names.values():
            if name in names:
                raise InvalidRequestError(
                    f"{where} already has a {what} {name!r}; pass prefix='rerank_', or another "
                    "text that the new names start with"
                )

    def _finished(self, asked: _Asked) -> dict[str, Any]:
        """Return a row with its new keys."""
        [result] = asked.answer.result()
        new = {self._names[name]: value for name, value in self._new(result).items()}
        return {**(asked.row if isinstance(asked.row, Mapping) else {}), **new}

    def _ask(self, rows: Sequence[Numbered]) -> _Answer:
        return _ask(self, [self._row(numbered) for numbered in rows])

    def _row(self, numbered: Numbered) -> Numbered | InvalidRequestError:
        """Convert a row to the form that `arerank_many` takes, or return why it is invalid."""
        row = numbered.given
        try:
            if isinstance(row, Mapping) and "documents" in row:
                whole = {**row, "id": None, "documents": _documents(row["documents"])}
                numbered = numbered._replace(given=whole)
            checked = checked_row(numbered)
        except InvalidRequestError as error:
            text = str(error)
            where = "" if text.startswith(numbered.where) else f"{numbered.where}: "
            return InvalidRequestError(f"{where}{text}")
        found = {"query": checked.query, "documents": checked.documents}
        if self._checkpoint is not None:
            found["id"] = _id_of(row.get("id"), found)
        return numbered._replace(given=found)

    def _new(self, result: RowResult) -> dict[str, Any]:
        """Return the new keys of a row with their values."""
        if result.error is not None and self._on_error == "raise":
            raise result.error
        response = result.response
        if response is None:
            return dict.fromkeys(_NEW) | {"error": _described(result.error)}
        return {
            "indices": [one.index for one in response],
            "scores": [one.relevance_score for one in response],
            "usage": {name: getattr(response.usage, name) for name in USAGE_COUNTS},
            "error": None,
        }


class _Answer(Future[list[RowResult]]):
    """The future results of rows that were requested together, with the process that waits."""

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    @property
    def is_of_parent(self) -> bool:
        """Whether this process is a fork of the one that has asked, whose loop is not here."""
        return self._process != os.getpid()

    def wait(self) -> None:
        """Wait for the results.

        Raises:
            ConfigurationError: this process was forked from the one that requested them.
        """
        self.check_process()
        while not self.done():
            with suppress(TimeoutError):  # raised by the wait alone, not what the run has raised
                self.exception(WAKE_SECONDS)

    async def awaited(self) -> None:
        """The same on an event loop."""
        self.check_process()
        await asyncio.wrap_future(self)

    def check_process(self) -> None:
        """Raise ConfigurationError in a fork of the process that has asked."""
        if self.is_of_parent:
            raise ConfigurationError(FORKED)


class _Asked(NamedTuple):
    """A row that was asked for, as it was given."""

    row: Any
    answer: _Answer


class _Reading:
    """Reads rows in a thread and asks for each at once, some rows ahead of what is given out.

    Args:
        ask: asks for a row.
        rows: the rows.
        ahead: how many are read before their turn.
    """

    def __init__(
        self,
        ask: Callable[[Numbered], _Asked],
        rows: Generator[Numbered, None, None],
        ahead: int,
    ) -> None:
        self._ask, self._rows = ask, rows
        self._came: SimpleQueue[_Asked | BaseException | None] = SimpleQueue()
        self._room, self._is_left = threading.Semaphore(ahead), False
        self._at_once, self._taken = max(1, ahead // _WAKES), 0
        self._last: _Asked | None = None
        self._process = os.getpid()
        # it sees the caller's context variables: traces nest by them
        read = copy_context().run
        threading.Thread(target=read, args=(self._read,), name="rerank-rows", daemon=True).start()

    def next(self) -> _Asked | None:
        """Return the next row; None at the end.

        Raises:
            BaseException: what the rows have raised, after all rows before it.
        """
        while True:
            if self._process != os.getpid():
                raise ConfigurationError(FORKED)
            with suppress(Empty):
                came = self._came.get(timeout=WAKE_SECONDS)
                break
        if isinstance(came, BaseException):
            raise came
        self._last = came
        self._taken += 1
        if self._taken % self._at_once == 0:  # it is not woken for each row
            self._room.release(self._at_once)
        return came

    def leave(self) -> None:
        """Read no more, and let the rows that nobody waits for any more be left out."""
        if self._process != os.getpid():  # a thread may have held a lock
            return
        self._is_left = True
        self._room.release()
        with suppress(ValueError):  # the thread is in the middle of a row
            self._rows.close()
        _give_up(self._last)
        with suppress(Empty):
            while True:
                _give_up(self._came.get_nowait())

    def _read(self) -> None:
        try:
            while True:
                self._room.acquire()
                numbered = None if self._is_left else next(self._rows, None)
                if numbered is None or self._is_left:
                    break
                asked = self._ask(numbered)
                self._came.put(asked)
                if self._is_left:  # perhaps after the look into the queue
                    _give_up(asked)
        except BaseException as error:  # noqa: BLE001  # raised where rows are given out
            self._came.put(error)
        self._came.put(None)


class _AsyncReading:
    """The same with a task of the running event loop."""

    def __init__(
        self, ask: Callable[[Numbered], _Asked], rows: AsyncGenerator[Numbered, None], ahead: int
    ) -> None:
        self._ask, self._rows = ask, rows
        self._came: asyncio.Queue[_Asked | BaseException | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(ahead)
        self._last: _Asked | None = None
        self._process = os.getpid()
        self._task = asyncio.create_task(self._read())

    async def next(self) -> _Asked | None:
        """Async version of `_Reading.next`."""
        if self._process != os.getpid():
            raise ConfigurationError(FORKED)
        came = await self._came.get()
        if isinstance(came, BaseException):
            raise came
        self._last = came
        self._room.release()
        return came

    async def leave(self) -> None:
        """Async version of `_Reading.leave`."""
        if self._process != os.getpid():
            return
        self._task.cancel()
        _give_up(self._last)
        while not self._came.empty():
            _give_up(self._came.get_nowait())
        await asyncio.gather(self._task, return_exceptions=True)
        await self._rows.aclose()

    async def _read(self) -> None:
        try:
            while True:
                await self._room.acquire()
                numbered = await anext(self._rows, None)
                if numbered is None:
                    break
                self._came.put_nowait(self._ask(numbered))
        except BaseException as error:  # raised where rows are given out
            self._came.put_nowait(error)
            if not isinstance(error, Exception):
                raise
        self._came.put_nowait(None)


def _give_up(came: _Asked | BaseException | None) -> None:
    """Let a row that nobody waits for any more be left out."""
    if isinstance(came, _Asked):
        came.answer.cancel()


def _described(error: RerankError | None) -> str:
    return f"{type(error).__name__}: {error}"


def _checked_checkpoint(given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or Path(given).suffix not in SQLITE:
        raise ConfigurationError(
            "checkpoint must be the path of a SQLite file, such as 'run.sqlite', which several "
            f"workers can share, not {given!r}"
        )
    return str(Path(given).absolute())  # a worker may have another current directory


def _documents(value: Any) -> Any:
    """Convert documents from the types that engines pass: numpy arrays and structs of Arrow."""
    if _is_missing(value):
        return []
    if isinstance(value, str):
        raise InvalidRequestError(
            "documents must be a list of documents, not one str; Dask makes text of lists unless "
            "dask.config.set({'dataframe.convert-string': False}) comes before the frame"
        )
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_document(one) for one in value]
    return value


def _document(value: Any) -> Any:
    """Remove the fields of a document that are None, as in a struct of Arrow."""
    if isinstance(value, Mapping) and any(part is None for part in value.values()):
        return {name: part for name, part in value.items() if part is not None}
    return value


def _id_of(value: Any, row: Mapping[str, Any]) -> str | int:
    """Return the id of a row in the checkpoint; without an id, a hash of query and documents."""
    if hasattr(value, "item"):
        value = value.item()  # a number of numpy
    if _is_missing(value):
        return digest_of(Row(0, row["query"], row["documents"]))
    if isinstance(value, float) and value.is_integer():
        return int(value)  # pandas makes floats of a column in which one is missing
    return value if isinstance(value, str | int) else str(value)


def _is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN, or the NA of pandas."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ == "NAType"


# --- kinds of batches; no engine and no library of frames is imported


class _Columns:
    """A mapping of columns."""

    def columns(self, batch: Any, wanted: Sequence[str]) -> dict[str, Sequence[Any]]:
        """Return the wanted columns as lists."""
        names = self.names(batch)
        found = {name: self.values(batch, name) for name in wanted if name in names}
        return _checked_columns(found, names)

    def names(self, batch: Any) -> Any:
        """Return the names of the columns."""
        return batch.keys()

    def values(self, batch: Any, name: str) -> Sequence[Any]:
        """Return the values of a column."""
        column = batch[name]
        for method in ("to_pylist", "to_list", "tolist"):
            if hasattr(column, method):
                found: Sequence[Any] = getattr(column, method)()
                return found
        return list(column)

    def joined(self, batch: Any, new: Mapping[str, list[Any]], prefix: str) -> Any:
        """Return the batch with the new columns, whose names start with the prefix."""
        return {**batch, **{f"{prefix}{name}": values for name, values in new.items()}}


class _Pandas(_Columns):
    """A frame of pandas; the new columns have Arrow types if pyarrow is loaded."""

    def names(self, batch: Any) -> Any:
        return batch.columns

    def values(self, batch: Any, name: str) -> Sequence[Any]:
        return list(batch[name])

    def joined(self, batch: Any, new: Mapping[str, list[Any]], prefix: str) -> Any:
        pandas, arrow = sys.modules["pandas"], sys.modules.get("pyarrow")
        dtypes: dict[str, Any] = {"error": "string"}
        if arrow is not None:
            dtypes = {name: pandas.ArrowDtype(_arrow_type(arrow, name)) for name in new}
        return batch.assign(
            **{
                f"{prefix}{name}": pandas.Series(
                    values, index=batch.index, dtype=dtypes.get(name, "object")
                )
                for name, values in new.items()
            }
        )


class _Polars(_Columns):
    """A frame of polars."""

    def names(self, batch: Any) -> Any:
        return batch.columns

    def joined(self, batch: Any, new: Mapping[str, list[Any]], prefix: str) -> Any:
        polars = sys.modules["polars"]
        counts = polars.Struct(dict.fromkeys(USAGE_COUNTS, polars.Float64))
        dtypes = {
            "indices": polars.List(polars.Int64),
            "scores": polars.List(polars.Float64),
            "usage": counts,
            "error": polars.String,
        }
        return batch.with_columns(
            [
                polars.Series(f"{prefix}{name}", values, dtype=dtypes[name])
                for name, values in new.items()
            ]
        )


class _Arrow(_Columns):
    """A table or record batch of pyarrow."""

    def names(self, batch: Any) -> Any:
        return batch.schema.names

    def values(self, batch: Any, name: str) -> Sequence[Any]:
        found: Sequence[Any] = batch.column(name).to_pylist()
        return found

    def joined(self, batch: Any, new: Mapping[str, list[Any]], prefix: str) -> Any:
        arrow = sys.modules["pyarrow"]
        columns = {name: batch.column(name) for name in batch.schema.names}
        for name, values in new.items():
            columns[f"{prefix}{name}"] = arrow.array(values, type=_arrow_type(arrow, name))
        return type(batch).from_pydict(columns)


_NEW = ("indices", "scores", "usage", "error")
_KINDS: dict[tuple[str, str], type[_Columns]] = {
    ("pandas", "DataFrame"): _Pandas,
    ("polars", "DataFrame"): _Polars,
    ("pyarrow", "Table"): _Arrow,
    ("pyarrow", "RecordBatch"): _Arrow,
}


def _arrow_type(arrow: Any, name: str) -> Any:
    """Return the Arrow type of a new column."""
    counts = arrow.struct([(count, arrow.float64()) for count in USAGE_COUNTS])
    types = {
        "indices": arrow.list_(arrow.int64()),
        "scores": arrow.list_(arrow.float64()),
        "usage": counts,
        "error": arrow.string(),
    }
    return types[name]


def _kind_of(batch: Any) -> _Columns:
    """Return what reads and writes a batch, by the module of its class."""
    if isinstance(batch, Mapping):
        return _Columns()
    for base in type(batch).__mro__:
        kind = _KINDS.get((base.__module__.partition(".")[0], base.__name__))
        if kind is not None:
            return kind()
    raise InvalidRequestError(
        "a batch is a mapping of columns, or a frame of pandas, polars or pyarrow, not "
        f"{type(batch).__name__}; for rows use rows() or arows()"
    )


def _checked_columns(
    found: dict[str, Sequence[Any]], names: Iterable[Any]
) -> dict[str, Sequence[Any]]:
    for name in _NEEDED:
        if name not in found:
            has = ", ".join(map(str, names)) or "none"
            raise InvalidRequestError(f"there is no column {name!r}; the columns are {has}")
    lengths = {len(values) for values in found.values()}
    if len(lengths) > 1:
        raise InvalidRequestError(f"the columns {', '.join(found)} are not of the same length")
    return found


# --- what a process has once: the event loop, and a worker for each RerankBatch with its copies.
# It is in this module and not in the object: engines pickle a class of a script with its state.


class _Sent(dict[str, Any]):
    """A row whose result is awaited."""

    def __init__(self, numbered: Numbered, place: int, group: _Group) -> None:
        super().__init__(numbered.given)
        self.numbered, self.place, self.group = numbered, place, group
        self.trace_context = group.trace_context


class _Group:
    """The rows that were requested together."""

    def __init__(self, count: int, future: _Answer) -> None:
        self.future = future
        self.trace_context = current_context()  # made where they are asked for, not in the loop
        self._results: list[Any] = [None] * count
        self._left = count

    def answer(self, place: int, result: RowResult) -> None:
        """Record the result of a row."""
        self._results[place] = result
        self._left -= 1
        if not self._left and self.future.set_running_or_notify_cancel():
            self.future.set_result(self._results)

    def fail(self, error: BaseException) -> None:
        """Record that the run has ended with an error."""
        with suppress(Exception):  # it is done, or cancelled
            self.future.set_exception(error)


class _Worker:
    """One run of `arerank_many`, shared by all callers, until the process ends."""

    def __init__(self, batch: RerankBatch, loop: asyncio.AbstractEventLoop) -> None:
        # the batch itself is not held, for it is closed when it is collected
        self._name = batch._id  # noqa: SLF001
        self._model, self._settings = batch._model, batch._settings  # noqa: SLF001
        self._client = batch._client  # noqa: SLF001
        self._max_concurrency = batch._max_concurrency  # noqa: SLF001
        self._checkpoint = batch._checkpoint  # noqa: SLF001
        self._rate_limit = batch._rate_limit  # noqa: SLF001
        self._loop, self._process = loop, os.getpid()
        self._new: deque[tuple[Sequence[Numbered | InvalidRequestError], _Group]] = deque()
        self._is_woken = False
        self._waiting: asyncio.Queue[_Sent | None] = asyncio.Queue()
        self._open: set[_Group] = set()
        self._run: asyncio.Task[None] | None = None
        self.has_copies = False

    def ask(self, rows: Sequence[Numbered | InvalidRequestError]) -> _Answer:
        """Request rows, from any thread."""
        future = _Answer()
        self._new.append((rows, _Group(len(rows), future)))
        if not self._is_woken:  # the loop is woken once for all rows that come before it looks
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._add_new)
        return future

    def close(self) -> Future[None]:
        """End the run; the future is done when its connections and files are closed."""
        closed: Future[None] = Future()
        closed.set_running_or_notify_cancel()
        try:
            if self._process == os.getpid():
                self._loop.call_soon_threadsafe(self._close, closed)
                return closed
        except RuntimeError:  # the loop is closed, and so is all that it had
            pass
        closed.set_result(None)
        return closed

    def collected(self) -> None:
        """Close what an object had that was collected; this takes no lock."""
        if not self.has_copies:
            self.close()

    def _close(self, closed: Future[None]) -> None:
        with _LOCK:  # nobody asks this worker any more
            if _WORKERS.get(self._name) is self:
                del _WORKERS[self._name]
        self._add_new()
        groups, self._open = self._open, set()
        for group in groups:
            group.fail(ConfigurationError("the RerankBatch was closed while this was in flight"))
        run, self._run = self._run, None
        if run is not None and not run.done():
            run.cancel()
            run.add_done_callback(lambda _: closed.set_result(None))
        else:
            closed.set_result(None)
            _stop_if_idle(self._loop)

    def end(self) -> None:
        """End the run after the rows requested so far; a later request starts another run."""
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._run = None
        self._waiting.put_nowait(None)

    def _add_new(self) -> None:
        self._is_woken = False  # first: who comes from now on wakes the loop again
        while self._new:
            self._add(*self._new.popleft())

    def _add(self, rows: Sequence[Numbered | InvalidRequestError], group: _Group) -> None:
        if self._run is None or self._run.done():
            self._waiting = asyncio.Queue()
            self._run = self._loop.create_task(self._go_on(self._waiting))
            _RUNS.add(self._run)  # the loop itself would not keep it
            self._run.add_done_callback(self._run_ended)
        self._open.add(group)
        for place, row in enumerate(rows):
            if isinstance(row, InvalidRequestError):
                group.answer(place, RowResult(place, None, row, None))
            else:
                self._waiting.put_nowait(_Sent(row, place, group))
        if group.future.done():
            self._open.discard(group)

    def _run_ended(self, run: asyncio.Task[None]) -> None:
        _RUNS.discard(run)
        _stop_if_idle(self._loop)

    async def _go_on(self, waiting: asyncio.Queue[_Sent | None]) -> None:
        client: RerankClient | None = None
        try:
            client = self._client
            if client is None:
                assert self._model is not None  # noqa: S101  # checked by the batch
                client = RerankClient(self._model, **self._settings)
            results = client.arerank_many(
                self._rows(waiting),
                max_concurrency=self._max_concurrency,
                on_error="keep",
                checkpoint=self._checkpoint,
                rate_limit=self._rate_limit,
            )
            async with results:
                async for result in results:
                    asked: _Sent = result.row
                    asked.group.answer(asked.place, result)
                    if asked.group.future.done():
                        self._open.discard(asked.group)
        except BaseException as error:
            if self._waiting is waiting:
                self._run = None  # who asks from now on needs another one
            groups, self._open = self._open, set()
            for group in groups:
                group.fail(error if isinstance(error, Exception) else CancelledError())
            if not isinstance(error, Exception):
                raise
        finally:
            if client is not None and client is not self._client:
                await client.aclose()

    async def _rows(self, waiting: asyncio.Queue[_Sent | None]) -> AsyncGenerator[_Sent, None]:
        """Yield the rows whose results are awaited, without those of cancelled requests."""
        while (asked := await waiting.get()) is not None:
            if asked.group.future.cancelled():
                self._open.discard(asked.group)
            else:
                yield asked


_LOCK = threading.Lock()
_WORKERS: OrderedDict[str, _Worker] = OrderedDict()
_LOOPS: list[tuple[asyncio.AbstractEventLoop, threading.Thread]] = []  # one, once there is one
_RUNS: set[asyncio.Task[None]] = set()
_OF_PARENT: list[Any] = []


def _ask(batch: RerankBatch, rows: Sequence[Numbered | InvalidRequestError]) -> _Answer:
    """Ask the worker of this process for a batch and its copies."""
    name, is_copy = batch._id, batch._is_copy  # noqa: SLF001
    with _LOCK:
        worker = _WORKERS.get(name)
        if worker is None:
            worker = _WORKERS[name] = _Worker(batch, _loop())
            if not is_copy:
                weakref.finalize(batch, worker.collected).atexit = False
            if len(_WORKERS) > _MOST_WORKERS:
                _WORKERS.popitem(last=False)[1].end()
        worker.has_copies |= is_copy
        _WORKERS.move_to_end(name)
        return worker.ask(rows)


def _closed(batch: RerankBatch) -> Future[None] | None:
    """Close the worker of this process for a batch and its copies; None if there is none."""
    with _LOCK:
        worker = _WORKERS.get(batch._id)  # noqa: SLF001
    return None if worker is None else worker.close()


def _stop_if_idle(loop: asyncio.AbstractEventLoop) -> None:
    """End the loop, from its own thread, if no worker is left."""
    with _LOCK:
        if _WORKERS or _RUNS or not _LOOPS or _LOOPS[0][0] is not loop:
            return
        _LOOPS.clear()
    loop.stop()


def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process, which runs in a thread of its own."""
    if not _LOOPS:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(loop,), name="batches", daemon=True)
        thread.start()
        _LOOPS.append((loop, thread))
    return _LOOPS[0][0]


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@atexit.register
def _end() -> None:
    """Close connections and files in order."""
    with _LOCK:
        loops = list(_LOOPS)
        _LOOPS.clear()
        _WORKERS.clear()
    for loop, thread in loops:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_ENDING)


def _after_fork() -> None:
    """Reset the state in a forked child: loop, thread and connections belong to the parent."""
    global _LOCK  # noqa: PLW0603  # somebody may hold it
    _LOCK = threading.Lock()
    # kept, so that nothing is closed here
    _OF_PARENT.append((list(_LOOPS), dict(_WORKERS), set(_RUNS)))
    _RUNS.clear()
    _LOOPS.clear()
    _WORKERS.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
