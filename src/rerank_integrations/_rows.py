"""Reads the rows of many calls, one by one, from an iterable or a JSONL file, and checks them."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from pydantic_core import from_json

from rerank_integrations.errors import InvalidRequestError
from rerank_integrations.models import as_list

_MOST_ID = 10**4000  # Python converts an int of more than 4,300 digits neither to text nor back
_BOM = b"\xef\xbb\xbf"


class Numbered(NamedTuple):
    """A row as it was passed.

    Attributes:
        number: the number of the row, from 1; in a file its line number.
        where: the words for the row in an error message.
        given: the row; the text of a line that is not JSON.
        problem: why the line is not JSON.
    """

    number: int
    where: str
    given: Any
    problem: InvalidRequestError | None = None


class Row(NamedTuple):
    """A valid row.

    Attributes:
        id: its own id, else its number.
        query: the query.
        documents: the documents.
        digest: a hash of the query and the documents, if finished rows are stored.
        trace_context: the parent context of the call's span; None for the context of the run.
    """

    id: str | int
    query: Any
    documents: Sequence[Any]
    digest: str = ""
    trace_context: Any = None


def read_rows(rows: Any) -> Generator[Numbered, None, None]:
    """Yield the rows as they are needed; a file is read line by line.

    Raises:
        InvalidRequestError: `rows` is neither an iterable of rows nor a file; raised immediately.
    """
    if isinstance(rows, str | os.PathLike):
        if not os.path.exists(rows):  # noqa: PTH110  # a str is a path as well
            raise InvalidRequestError(
                f"there is no file {os.fspath(rows)!r:.200}; rows must be the path of a JSONL "
                "file, or an iterable of {'id': ..., 'query': ..., 'documents': [...]}"
            )
        return _lines(rows)
    if type(rows).__name__ == "DataFrame":
        raise InvalidRequestError(
            "rows must be an iterable of rows, not a DataFrame, which yields column names; pass "
            "frame.to_dict('records') (pandas), frame.iter_rows(named=True) (polars), or use "
            "RerankBatch"
        )
    if isinstance(rows, Mapping | bytes) or not isinstance(rows, Iterable):
        other = "; arerank_many takes it" if isinstance(rows, AsyncIterable) else ""
        raise InvalidRequestError(
            "rows must be an iterable of {'id': ..., 'query': ..., 'documents': [...]}, or the "
            f"path of a JSONL file, not {type(rows).__name__}{other}"
        )
    return (Numbered(number, f"row {number}", row) for number, row in enumerate(rows, 1))


def aread_rows(rows: Any) -> AsyncGenerator[Numbered, None]:
    """Async version of `read_rows`, which also takes async iterables."""
    if isinstance(rows, AsyncIterable):
        return _anumbered(rows)
    return _awaited(read_rows(rows))


async def _anumbered(rows: AsyncIterable[Any]) -> AsyncGenerator[Numbered, None]:
    number = 0
    async for row in rows:
        number += 1
        numbered = getattr(row, "numbered", None)  # set by a RerankBatch, whose run is shared
        yield (
            Numbered(number, f"row {number}", row)
            if numbered is None
            else numbered._replace(given=row)
        )


async def _awaited(rows: Generator[Numbered, None, None]) -> AsyncGenerator[Numbered, None]:
    try:
        for row in rows:
            yield row
    finally:
        rows.close()


def _lines(path: str | os.PathLike[str]) -> Generator[Numbered, None, None]:
    name = os.fspath(path)
    try:
        file = open(path, "rb")  # noqa: SIM115, PTH123  # closed below; a str is a path as well
    except OSError as cause:
        raise InvalidRequestError(f"cannot read {name!r}: {cause.strerror}") from cause
    with file:
        for number, line in enumerate(file, 1):
            text = (line.removeprefix(_BOM) if number == 1 else line).strip()
            if not text:
                continue
            where = f"{name}, line {number}"
            try:
                row = Numbered(number, where, from_json(text))
            except ValueError as cause:
                problem = InvalidRequestError(f"{where}: not valid JSON: {cause}")
                row = Numbered(number, where, text.decode("utf-8", "replace"), problem)
            yield row


def checked_row(numbered: Numbered) -> Row:
    """Validate a row.

    Raises:
        InvalidRequestError: the row is invalid; the message says why, and which row it is.
    """
    number, where, given, problem = numbered
    if problem is not None:
        raise problem
    if not isinstance(given, Mapping):
        raise InvalidRequestError(
            f"{where}: a row must be {{'query': ..., 'documents': [...]}}, not "
            f"{type(given).__name__}"
        )
    for name in ("query", "documents"):
        if name not in given:
            has = ", ".join(map(repr, given)) or "none"
            raise InvalidRequestError(
                f"{where}: the row has no key {name!r}; its keys are {has:.300}"
            )
    own = given.get("id")
    if own is not None and hasattr(own, "item"):
        own = own.item()  # a number of numpy
    if own is not None and not is_id(own):
        too_long = isinstance(own, int) and not isinstance(own, bool)
        what = "an int of more than 4,000 digits" if too_long else f"{own!r:.80}"
        raise InvalidRequestError(f"{where}: id must be a str or an int, not {what}")
    try:
        documents = as_list(given["documents"])
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{where}: {error}") from None
    row = Row(number if own is None else own, given["query"], documents)
    context = getattr(given, "trace_context", None)  # set by a RerankBatch, whose run is shared
    return row if context is None else row._replace(trace_context=context)


def id_of(numbered: Numbered) -> str | int:
    """Return the id of a row that may be invalid: its own id, else its number."""
    own = numbered.given.get("id") if isinstance(numbered.given, Mapping) else None
    return own if is_id(own) else numbered.number


def is_id(value: Any) -> TypeGuard[str | int]:
    """Return whether a value can be the id of a row, so that a file can store it."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST_ID
